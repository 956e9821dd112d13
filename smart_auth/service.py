"""What the endpoints of the authorization server work with, wired once in `fhir_server/app.py`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from resources.store import RecordChange, ResourceStore
from smart_auth.client_keys.jwks_uri import RemoteKeys
from smart_auth.happenings import Happening
from smart_auth.sealing import Sealer
from smart_auth.settings import SignInSettings
from smart_auth.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Person:
    """A Patient, Practitioner, RelatedPerson or Person as a page shows them: reference (`Patient/1`), name, birth date ("" unknown)."""

    reference: str
    name: str
    birth_date: str = ""


class Directory(Protocol):
    """What the pages need to know of FHIR resources."""

    async def person(self, reference: str) -> Person | None:
        """Whom the reference names, or None."""

    async def patients(self, text: str, most: int) -> Sequence[Person]:
        """The first Patients whose name, identifier or birth date is like `text`."""

    def types(self) -> frozenset[str]:
        """All resource types of FHIR R4."""

    def problem(self, type: str, pairs: Sequence[tuple[str, str]]) -> str | None:
        """Why these search parameters cannot narrow a scope of the type (a sentence), or None if they can."""


@dataclass(frozen=True, slots=True)
class Urls:
    """`issuer` is the root of the server (`https://h`), `base` the FHIR base (`https://h/fhir`), `bases` all that mean it (`aud`)."""

    issuer: str
    base: str
    bases: tuple[str, ...]

    @property
    def token(self) -> str:
        """The token endpoint, which is also the audience of client assertions."""
        return f"{self.issuer}/oauth/token"

    @property
    def secure(self) -> bool:
        """Whether browsers reach the server over https, so that cookies can be Secure."""
        return self.issuer.startswith("https://")


@dataclass(frozen=True, slots=True)
class Service:
    """`clock` gives microseconds since the epoch. `happened` makes the AuditEvent of something, for `commit`, `remote_keys` fetches
    the keys of clients."""

    store: ResourceStore
    tokens: Tokens
    clock: Callable[[], int]
    urls: Urls
    settings: SignInSettings
    happened: Callable[[Happening], bytes]
    directory: Directory
    sealer: Sealer
    remote_keys: RemoteKeys

    async def commit(self, *records: RecordChange, happening: Happening | None = None) -> None:
        """Keep or forget records, together with the AuditEvent of it. Raises Conflict("record"), StoreUnavailable."""
        events = () if happening is None else (self.happened(happening),)
        await self.store.commit((), events=events, records=records)
