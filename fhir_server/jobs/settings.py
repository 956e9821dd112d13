"""The settings of jobs, each once: `fhir_server.config.Settings` is made of these and more."""

from typing import Literal, Self

from pydantic import model_validator

from fhir_server.files.settings import FilesSettings
from smart_auth.outside.settings import setting


class JobsSettings(FilesSettings):
    """Fields of `fhir_server.config.Settings`; the setting `jobs_kept` is the environment variable `FHIR_JOBS_KEPT`."""

    jobs: Literal["server", "workers"] = setting(
        "server",
        "What works on exports, imports and other jobs. `server`: the server processes. `workers`: processes of their own, any number of"
        " `fhir-server worker`, which need `FHIR_REDIS_URL`.",
    )
    worker_parts: int = setting(1, "Parts of jobs that one `fhir-server worker` works on at a time.", ge=1, le=64)
    worker_port: int = setting(
        0,
        "Port at which a `fhir-server worker` answers `/livez`, `/readyz` and `/metrics`, on `FHIR_HOST`; 0: none.",
        ge=0,
        le=65535,
    )
    jobs_at_once: int = setting(
        20, "Exports and other jobs that one client may have under way at a time; more are refused (429).", ge=1
    )
    jobs_kept_at_once: int = setting(
        1_000,
        "Jobs of one client that are kept, under way or ended, with their files; more are refused (429) until it deletes some, or some"
        " expire.",
        ge=1,
    )
    jobs_lease: float = setting(
        15.0,
        "Seconds after its last sign of life that a process which works on a job counts as gone, and another one goes on with its work.",
        ge=1,
        le=300,
    )
    jobs_kept: float = setting(24.0, "Hours for which the result of a job, and its files, are kept after its end.", gt=0)

    @model_validator(mode="after")
    def _jobs_fit(self) -> Self:
        if self.jobs == "workers" and not self.redis_url:
            raise ValueError("FHIR_JOBS=workers needs FHIR_REDIS_URL: the server tells workers of jobs there")
        return self
