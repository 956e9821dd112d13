"""The settings of imports, each once: `fhir_server.config.Settings` is made of these and more."""

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ByteSize, field_validator

from fhir_server.jobs.settings import JobsSettings
from smart_auth.client_keys.addresses import Allowed
from smart_auth.client_keys.jwks_uri import loopback
from smart_auth.outside.settings import setting


class ImportSettings(JobsSettings):
    """Fields of `fhir_server.config.Settings`; the setting `import_sources` is the environment variable `FHIR_IMPORT_SOURCES`."""

    import_sources: str = setting(
        "",
        "What the URLs of files to be imported may begin with, separated by blanks: `https://files.example.org/exports/`;"
        " `files:/incoming/` for those in that folder of the place of files (`FHIR_FILES_URL`). Empty: `$import` fetches nothing.",
    )
    import_allow: str = setting(
        "",
        "Hosts and networks, separated by blanks, that imports may connect to though their addresses are not of the public Internet:"
        " `files.clinic.internal 10.1.0.0/16`.",
    )
    import_ca_file: Path | None = setting(
        None, "Certificates (PEM) of authorities that vouch for sources of imports, beside those that the system trusts."
    )
    import_max_size: ByteSize = setting(1_000_000_000_000, "Largest file that is imported, unpacked, in bytes.", ge=1_000)

    import_defer: ByteSize = setting(
        500_000_000,
        "Bytes from which on the first documents of a type that are imported are indexed once all are there, not one by one. Until then"
        " searches that look at the type answer 503.",
    )

    @field_validator("import_sources")
    @classmethod
    def _prefixes(cls, value: str) -> str:
        for each in value.split():
            if each.startswith("files:/incoming/"):
                continue
            parts = urlsplit(each)
            secure = parts.scheme == "https" or (parts.scheme == "http" and loopback(parts.hostname or ""))
            if not secure or not parts.hostname or parts.username is not None or parts.query or parts.fragment:
                raise ValueError(
                    "prefixes look like https://files.example.org/exports/ (http:// on this machine only) or files:/incoming/"
                )
        return value

    @field_validator("import_allow")
    @classmethod
    def _addresses(cls, value: str) -> str:
        Allowed.read(value)
        return value
