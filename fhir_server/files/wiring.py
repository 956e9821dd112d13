"""The place of files that the settings choose."""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from fhir_server.config import Settings, SettingsError
from fhir_server.files.contract import Files
from fhir_server.files.folder import Folder
from smart_auth.client_keys.jwks_uri import loopback

if TYPE_CHECKING:
    from fhir_server.files.place import Place


def open_files(settings: Settings) -> Files:
    """The place of files. Nothing is asked of it yet. Raises SettingsError where a file of certificates cannot be read, or the environment
    names an address without TLS."""
    if settings.files_bucket is None:
        return Folder(files_folder(settings), int(settings.files_room))
    from fhir_server.files.bucket import Bucket

    return Bucket(_place(settings))


def files_folder(settings: Settings) -> Path:
    """The folder of `file:///PATH`, or the default one."""
    if settings.files_url:
        return Path(unquote(settings.files_url.removeprefix("file://")))
    return settings.data_dir / "files"


def _place(settings: Settings) -> "Place":
    from fhir_server.files.place import Place

    assert settings.files_bucket is not None
    bucket, prefix = settings.files_bucket
    endpoint = settings.files_endpoint or _from_environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL").rstrip("/")
    plain = endpoint.startswith("http://")
    if plain and not settings.files_plain_http and not loopback(urlsplit(endpoint).hostname or ""):
        raise SettingsError("AWS_ENDPOINT_URL: records would travel unencrypted; use https://, or say FHIR_FILES_PLAIN_HTTP=true")
    secret = settings.files_secret_key
    return Place(
        bucket=bucket,
        prefix=prefix,
        endpoint=endpoint,
        region=settings.files_region or _from_environment("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1",
        access_key=settings.files_access_key,
        secret_key=secret.get_secret_value() if secret is not None else "",
        path_style=settings.files_path_style,
        plain_http=plain,
        certificates=_certificates(settings.files_ca_file),
        links=settings.files_link_endpoint if settings.files_links == "on" else None,
    )


def _from_environment(*names: str) -> str:
    return next((os.environ[name] for name in names if os.environ.get(name)), "")


def _certificates(file: Path | None) -> str:
    try:
        return file.read_text(encoding="ascii") if file is not None else ""
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingsError(f"FHIR_FILES_CA_FILE={file} cannot be read: {problem}") from None
