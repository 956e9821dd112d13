"""The settings of where the files of jobs lie, each once: `fhir_server.config.Settings` is made of these and more."""

import re
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import ByteSize, SecretStr, field_validator, model_validator

from fhir_server.files.contract import checked
from fhir_server.protection.settings import ProtectionSettings
from smart_auth.client_keys.jwks_uri import loopback
from smart_auth.outside.settings import setting

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


class FilesSettings(ProtectionSettings):
    """Fields of `fhir_server.config.Settings`; the setting `files_url` is the environment variable `FHIR_FILES_URL`."""

    files_url: str = setting(
        "",
        "Where the files of exports and of other jobs lie: `file:///PATH`, a folder, or `s3://BUCKET/PREFIX`, S3-compatible storage. Empty:"
        " the folder `files` in the data folder. Servers and workers that share a store share this place too.",
    )
    files_endpoint: str = setting(
        "",
        "S3 storage other than Amazon's: its address, as `https://storage.example.org`. Empty: what `AWS_ENDPOINT_URL_S3` or"
        " `AWS_ENDPOINT_URL` says, else Amazon's.",
    )
    files_region: str = setting(
        "", "The region of the bucket. Empty: what `AWS_REGION` says, else `us-east-1`.", pattern=r"^[a-z0-9-]{0,40}$"
    )
    files_access_key: str = setting(
        "",
        "Access key for the bucket. Empty: AWS' own variables (`AWS_ACCESS_KEY_ID` …), web identity, or the role of the container or"
        " machine.",
        max_length=200,
    )
    files_secret_key: SecretStr | None = setting(None, "The secret of that access key.")
    files_path_style: bool = setting(
        True, "Whether the bucket stands in the path of addresses, or (`false`) in front of the name of the host."
    )
    files_ca_file: Path | None = setting(
        None, "File with certificates (PEM) that the S3 storage is checked by, beside the usual ones."
    )
    files_plain_http: bool = setting(
        False,
        "Whether the S3 storage may be spoken to without TLS although it is on another machine: for a network that you trust.",
    )
    files_room: ByteSize = setting(
        500_000_000,
        "Bytes that stay free on the disk of a folder of files, which may be the database's too: with less, jobs begin no file (507).",
        ge=0,
    )
    files_links: Literal["off", "on"] = setting(
        "off",
        "`on`: who fetches a file of an export is given a signed link to S3 storage, good for `FHIR_FILES_LINK_SECONDS`. `off`: files go"
        " through this server, which asks for a token and records each.",
    )
    files_link_seconds: int = setting(3_600, "Seconds for which such a link is good, whoever has it.", ge=1, le=604_800)
    files_link_endpoint: str = setting(
        "", "The address of the S3 storage as clients reach it, in those links. Empty: the one that this server uses."
    )

    @field_validator("files_url")
    @classmethod
    def _known_place(cls, value: str) -> str:
        if value.startswith("s3://"):
            bucket, _, prefix = value.removeprefix("s3://").partition("/")
            if not _BUCKET.fullmatch(bucket):
                raise ValueError("files lie in s3://BUCKET/PREFIX; keys belong in FHIR_FILES_ACCESS_KEY and FHIR_FILES_SECRET_KEY")
            if prefix:
                checked(prefix.removesuffix("/"))
        elif value and not (value.startswith("file:///") and len(value) > len("file:///")):
            raise ValueError("files lie in file:///PATH or s3://BUCKET/PREFIX")
        return value

    @field_validator("files_endpoint", "files_link_endpoint")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and not (parts.scheme in ("http", "https") and parts.hostname and value == f"{parts.scheme}://{parts.netloc}"):
            raise ValueError("it has the form https://HOST or https://HOST:PORT")
        if "@" in parts.netloc:
            raise ValueError("keys belong in FHIR_FILES_ACCESS_KEY and FHIR_FILES_SECRET_KEY")
        return value

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        if bool(self.files_access_key) != bool(self.files_secret_key):
            raise ValueError("FHIR_FILES_ACCESS_KEY and FHIR_FILES_SECRET_KEY belong together: give both or neither")
        for name, url in (("FHIR_FILES_ENDPOINT", self.files_endpoint), ("FHIR_FILES_LINK_ENDPOINT", self.files_link_endpoint)):
            if url.startswith("http://") and not self.files_plain_http and not loopback(urlsplit(url).hostname or ""):
                raise ValueError(f"{name}: records would travel unencrypted; use https://, or say FHIR_FILES_PLAIN_HTTP=true")
        if self.files_links == "on" and self.files_bucket is None:
            raise ValueError("FHIR_FILES_LINKS=on needs FHIR_FILES_URL=s3://…: files of a folder go through this server")
        return self

    @property
    def files_bucket(self) -> tuple[str, str] | None:
        """Bucket and prefix, without slashes around it; None where files lie in a folder."""
        if not self.files_url.startswith("s3://"):
            return None
        bucket, _, prefix = self.files_url.removeprefix("s3://").partition("/")
        return bucket, prefix.removesuffix("/")
