"""From where inputs may be fetched: what the operator names, and no other address of a network that only this server can reach."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

from fhir_server.config import Settings
from fhir_server.files.contract import checked
from smart_auth.client_keys.addresses import Allowed
from smart_auth.client_keys.jwks_uri import Resolver, numeric

LONGEST = 4_000

INCOMING = "incoming"
"""The folder in the place of files that imports may read. Those of jobs have other names."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What `FHIR_IMPORT_SOURCES` names. `allowed` are the addresses that may be connected to beside the public Internet, `authority` is a
    file of certificates that are trusted beside the system's."""

    prefixes: tuple[SplitResult, ...]
    allowed: Allowed
    authority: Path | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings allow. A host that stands in them by number is meant, whatever network it is in."""
        prefixes = tuple(urlsplit(each) for each in settings.import_sources.split())
        hosts = [each.hostname or "" for each in prefixes]
        own = [f"{host}/{ip_address(host).max_prefixlen}" for host in hosts if numeric(host)]
        return cls(
            prefixes, Allowed.read(" ".join((settings.import_allow, *own)), loopback="localhost" in hosts), settings.import_ca_file
        )

    def check(self, url: str) -> SplitResult:
        """The URL's parts. Raises ValueError, with what follows the URL in a sentence, for one that is not allowed."""
        if not self.prefixes:
            raise ValueError("cannot be fetched: this server imports from nowhere until FHIR_IMPORT_SOURCES names prefixes of URLs")
        if len(url) > LONGEST or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise ValueError(f"is no URL of at most {LONGEST} characters")
        parts = urlsplit(url)
        if is_placed(url):
            return self._check_placed(parts)
        if not parts.hostname or parts.username is not None or parts.fragment or port_of(parts) == 0:
            raise ValueError("must be an absolute URL without user name and fragment")
        if {".", ".."} & set(unquote(parts.path).split("/")):
            raise ValueError("must not have . or .. in its path")
        if not any(_within(parts, prefix) for prefix in self.prefixes):
            raise ValueError("does not begin with one of the prefixes that FHIR_IMPORT_SOURCES names")
        return parts

    def _check_placed(self, parts: SplitResult) -> SplitResult:
        """A file in the place of files: below `incoming`, where no job has any."""
        if parts.netloc or parts.query or parts.fragment or not any(_within(parts, prefix) for prefix in self.prefixes):
            raise ValueError("does not begin with one of the prefixes that FHIR_IMPORT_SOURCES names")
        if not parts.path.startswith(f"/{INCOMING}/"):
            raise ValueError(f"is no file below files:/{INCOMING}/")
        checked(parts.path.removeprefix("/"))
        return parts

    async def address(self, parts: SplitResult, resolver: Resolver) -> str:
        """The address to connect to: the one that was checked, so that a name that changes meanwhile gains nothing. Raises ValueError,
        OSError."""
        host = parts.hostname or ""
        found = [ip_address(each.partition("%")[0]) for each in await resolver(host, port_of(parts))]
        if not found or not all(self.allowed.may_connect(host, each) for each in found):
            raise ValueError("leads to an address that is not one of the public Internet, and FHIR_IMPORT_ALLOW does not name it")
        return str(found[0])


def is_placed(url: str) -> bool:
    """Whether it is a file in the place of files (FHIR_FILES_URL)."""
    return url.startswith("files:")


def port_of(parts: SplitResult) -> int:
    """The port of a URL. Raises ValueError."""
    if parts.port is not None:
        return parts.port
    if parts.scheme == "files":
        return 0
    return 443 if parts.scheme == "https" else 80


def _within(parts: SplitResult, prefix: SplitResult) -> bool:
    folder = prefix.path.rstrip("/") + "/"
    same = (parts.scheme, parts.hostname, port_of(parts)) == (prefix.scheme, prefix.hostname, port_of(prefix))
    return same and (parts.path.startswith(folder) or parts.path == prefix.path)
