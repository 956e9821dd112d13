"""Every setting, once: its name, its default, one line of help.

The setting `data_dir` is the environment variable `FHIR_DATA_DIR`; a file `.env` in the working folder is read too, and the
environment wins over it. Command line options win over both. `docs/configuration.md` is generated from this class, whose parts lie in the
`settings.py` of what they are about.
"""

import difflib
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import ByteSize, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from fhir_server.exporting.deidentified.settings import ExportSettings
from smart_auth.client_keys.jwks_uri import loopback
from smart_auth.outside.settings import setting

PREFIX = "FHIR_"
ENV_FILE = ".env"

SECRETS = ("secret", "search_api_key", "smtp_url", "oidc_client_secret", "auth_client_secret", "files_secret_key")
"""Settings whose value is never shown."""

OF_COMMANDS = ("FHIR_MOVE_FROM", "FHIR_MOVE_TO", "FHIR_FROM_TOKEN", "FHIR_FROM_USER", "FHIR_FROM_PASSWORD")
"""Variables that stand for an option of one command, so that a password need not be on its command line."""


class SettingsError(Exception):
    """Settings that cannot be used. The text is one line that names the variable and says what to do."""


class Settings(ExportSettings):
    """The effective settings, fixed at start. Made by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True, env_prefix=PREFIX, env_file=ENV_FILE, env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore"
    )

    data_dir: Path = setting(Path("data"), "Folder for everything the server keeps: database, load journal, secret.")
    store_url: str = setting(
        "",
        "Where documents are kept: `sqlite:///fhir.db` (`sqlite:////srv/fhir.db`, with a slash more, where the path is absolute),"
        " `mongodb://…`, `postgresql://…`; `memory://` forgets all. Empty: `fhir.db` in the data folder. MongoDB and PostgreSQL need"
        " an Elasticsearch beside them (`FHIR_SEARCH_URL`).",
    )
    mongo_driver: Literal["pymongo", "motor"] = setting("pymongo", "Which driver talks to MongoDB; `motor` must be installed.")
    search_url: str = setting(
        "sqlite",
        "The search index. `sqlite`: in the same file as the documents. `http(s)://…`: an Elasticsearch, user and password in the URL or"
        " `FHIR_SEARCH_API_KEY`.",
    )
    search_api_key: SecretStr | None = setting(None, "API key for Elasticsearch, in the encoded form that it gives out.")
    search_ca_file: Path | None = setting(
        None, "File with the certificates that Elasticsearch is checked by, beside the usual ones."
    )
    search_prefix: str = setting(
        "fhir",
        "What the names of the indices in Elasticsearch begin with; one store has one prefix.",
        pattern=r"^[a-z][a-z0-9_]{0,31}$",
    )
    search_wait: float = setting(
        5.0,
        "Seconds that a search waits for Elasticsearch to have everything that was answered before; then it answers without and says so.",
        ge=0,
    )
    base_url: str = setting(
        "",
        "FHIR base URL as clients see it. Empty: links name the host that was asked; absolute references are this server's own only with"
        " `HOST`, `localhost`, `127.0.0.1` or `[::1]` and `PORT`. After a change `fhir-server reindex` has absolute references found"
        " as this server's own, or no longer so.",
    )
    host: str = setting("127.0.0.1", "Address to listen on.")
    port: int = setting(8000, "Port to listen on; 0 takes a free one.", ge=0, le=65535)
    workers: int = setting(1, "Server processes. They share one database file.", ge=1, le=64)
    auth: Literal["smart", "off"] = setting(
        "smart", "`smart`: SMART on FHIR sign-in. `off`: nobody is asked; loopback addresses only."
    )
    unauthenticated_address: str = setting(
        "",
        "The one other address where `auth` may be `off`: in a container whose port is published on loopback only.",
    )
    secret: SecretStr | None = setting(
        None,
        "Signs paging links, 16 characters or more. Empty: made at first start, kept in the data folder.",
        min_length=16,
    )
    synchronous: Literal["FULL", "NORMAL"] = setting(
        "FULL", "When a write counts as done. `FULL`: it survives a power cut. `NORMAL`: it survives a crash of the server; faster."
    )
    max_body: ByteSize = setting(50_000_000, "Largest request body, unpacked, in bytes (`50MB` is understood).", ge=1_000)
    max_bundle_entries: int = setting(10_000, "Most entries in a batch or transaction.", ge=1)
    max_query_length: int = setting(
        60_000, "Longest query string or search form, in bytes. A URL has 65,000 at most, whatever is set here.", ge=256
    )
    default_count: int = setting(20, "Matches on a page when `_count` is not given.", ge=1)
    max_count: int = setting(1_000, "Most matches on a page, whatever `_count` says.", ge=1)
    include_limit: int = setting(1_000, "Most resources that `_include` and `_revinclude` add to a page.", ge=1)
    search_timeout: float = setting(10.0, "Seconds that one search may take before it is refused as too costly.", gt=0)
    conditional_delete: Literal["single", "multiple"] = setting(
        "single", "Whether a conditional delete may delete several matches (`multiple`) or refuses to (`single`)."
    )
    idempotency_ttl: int = setting(86_400, "Seconds for which the answer to a request with an `Idempotency-Key` is kept.", ge=1)
    reference_existence: Literal["off", "on"] = setting(
        "off", "`on`: a write is refused when one of its references to this server points to nothing."
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "What is logged; of libraries warnings only.")
    audit_key: Path | None = setting(
        None,
        "A PEM file with the Ed25519 key that signs checkpoints of the audit. Empty: one is made, and kept in the store, sealed with"
        " `FHIR_SECRET`.",
    )
    audit_checkpoint_seconds: float = setting(
        60.0,
        "Seconds between two checkpoints of the audit: for so long its newest events could be cut off unseen.",
        ge=1,
        le=86_400,
    )
    audit_archive: Path | None = setting(
        None,
        "A folder into which servers archive AuditEvents by themselves, in files with signed manifests. Empty: none are archived.",
    )
    audit_retention_days: int = setting(
        0,
        "Days after which AuditEvents are archived and then removed from the store. 0: they stay for ever, and are archived at once where"
        " `audit_archive` names a folder.",
        ge=0,
        le=36_500,
    )

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        known = value in ("", "memory://") or any(
            value.startswith(start) and len(value) > len(start) for start in ("sqlite:///", *_MONGODB, *_POSTGRESQL)
        )
        if not known:
            raise ValueError("documents are kept in sqlite:///PATH, mongodb://…, postgresql://… (or memory:// for tests)")
        return value

    @field_validator("search_url")
    @classmethod
    def _known_index(cls, value: str) -> str:
        if value != "sqlite" and not (value.startswith(("http://", "https://")) and urlsplit(value).hostname):
            raise ValueError("the search index is sqlite, or an Elasticsearch at http://… or https://…")
        return value

    @field_validator("base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("it must begin with http:// or https://")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.auth == "off" and not loopback(self.host) and self.host != self.unauthenticated_address:
            raise ValueError(
                f"FHIR_AUTH=off is refused on {self.host}: without sign-in, listen on loopback only (FHIR_HOST=127.0.0.1)"
            )
        if self.default_count > self.max_count:
            raise ValueError(f"FHIR_DEFAULT_COUNT={self.default_count} is more than FHIR_MAX_COUNT={self.max_count}")
        if self.store in ("mongodb", "postgresql") and not self.elastic:
            name = {"mongodb": "MongoDB", "postgresql": "PostgreSQL"}[self.store]
            raise ValueError(
                f"FHIR_SEARCH_URL: documents in {name} are searched by Elasticsearch; give its URL (http://… or https://…)"
            )
        if self.auth == "smart" and not self.auth_issuer and self.base_url and urlsplit(self.base_url)[2:] != ("/fhir", "", ""):
            raise ValueError(
                "FHIR_BASE_URL: with sign-in it has the form https://HOST/fhir, for the pages of sign-in are beside it, at the root of HOST"
            )
        if self.audit_retention_days and self.audit_archive is None:
            raise ValueError("FHIR_AUDIT_RETENTION_DAYS needs FHIR_AUDIT_ARCHIVE: AuditEvents are archived before they are removed")
        if self.workers > 1 and self.in_memory:
            raise ValueError("FHIR_WORKERS: the store memory:// lives in one process; use FHIR_WORKERS=1 or a sqlite:/// store")
        if self.jobs == "workers" and self.in_memory:
            raise ValueError("FHIR_JOBS: the store memory:// lives in one process; use FHIR_JOBS=server or another store")
        return self

    @property
    def in_memory(self) -> bool:
        """Whether nothing outlives the process."""
        return self.store_url == "memory://"

    @property
    def store(self) -> Literal["memory", "sqlite", "mongodb", "postgresql"]:
        """What keeps the documents."""
        if self.in_memory:
            return "memory"
        if self.store_url.startswith(_MONGODB):
            return "mongodb"
        return "postgresql" if self.store_url.startswith(_POSTGRESQL) else "sqlite"

    @property
    def elastic(self) -> bool:
        """Whether Elasticsearch is the search index."""
        return self.search_url != "sqlite"

    @property
    def database(self) -> Path:
        """The database file. PATH of `sqlite:///PATH` is taken as it is: relative to the working folder, or absolute."""
        path = self.store_url.removeprefix("sqlite:///")
        return Path(path).expanduser().absolute() if path and self.store == "sqlite" else self.data_dir / "fhir.db"

    @property
    def documents(self) -> str:
        """What tells one place of documents from another: the database file, or the URL without a password."""
        return str(self.database) if self.store == "sqlite" else without_password(self.store_url)

    @property
    def base(self) -> str:
        """The FHIR base URL, without a slash at the end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.base_url or f"{'https' if self.tls_cert else 'http'}://{host}:{self.port}/fhir"

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """All URLs that mean this server where a resource or a search refers to one absolutely: `base`, over http and https, and without
        FHIR_BASE_URL also by the names of this machine's loopback interface."""
        _, _, rest = self.base.partition("://")
        names = [rest] if self.base_url else [rest, *(f"{name}:{self.port}/fhir" for name in _LOOPBACK)]
        urls = [self.base, *(f"{scheme}://{name}" for name in names for scheme in _PORTS)]
        usual = [url.replace(f":{port}/", "/") for url in urls for scheme, port in _PORTS.items() if url.startswith(f"{scheme}:")]
        return tuple(dict.fromkeys((*urls, *usual)))


_MONGODB = ("mongodb://", "mongodb+srv://")
_POSTGRESQL = ("postgresql://", "postgres://")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_PORTS = {"http": 80, "https": 443}


def without_password(url: str) -> str:
    """A URL fit to be shown: scheme, hosts and path. User, password and the query, which may hold passwords too, are replaced.

    What is no proper URL (an `@`, `/` or `?` stands bare in a password) shows less, never more.
    """
    scheme, mark, rest = url.partition("://")
    place, asked, query = rest.partition("?")
    if not mark:
        return url
    if "@" in query:
        return f"{scheme}://***"
    _, at, hosts = place.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{hosts}{'?***' if asked else ''}"


def variable(name: str) -> str:
    """The environment variable of a setting: data_dir -> FHIR_DATA_DIR."""
    return PREFIX + name.upper()


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings from `overrides` (by field name; None: not given), else the environment, else `.env`, else the defaults.

    Raises SettingsError for an unknown FHIR_ variable, a bad value, or values that do not go together.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    _refuse_unknown()
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_problem(details, given) for details in error.errors())) from None


def _refuse_unknown() -> None:
    known = {*(variable(name) for name in Settings.model_fields), *OF_COMMANDS}
    for source, names in (("the environment", os.environ), (ENV_FILE, _env_file())):
        for name in names:
            if name.upper().startswith(PREFIX) and name.upper() not in known:
                close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.6)
                hint = f"did you mean {close[0]}?" if close else "`fhir-server check-config` lists the settings"
                raise SettingsError(f"{name} (from {source}) is not a setting; {hint}")


def _env_file() -> Mapping[str, str | None]:
    path = Path(ENV_FILE)
    try:
        return dotenv_values(path, encoding="utf-8") if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{ENV_FILE} cannot be read: {error}") from None


def _problem(details: Any, given: Mapping[str, Any]) -> str:
    text = details["msg"].removeprefix("Value error, ")
    if not details["loc"]:
        return str(text)
    name = str(details["loc"][0])
    shown = "" if name in SECRETS else f"={without_password(str(details['input']))}"
    option = f" (--{name.replace('_', '-')})" if name in given else ""
    if name == "port" and str(details["input"]).startswith("tcp://"):
        text = "Kubernetes sets this for a Service named `fhir`; put `enableServiceLinks: false` in the pod"
    return f"{variable(name)}{shown}{option}: {text}"
