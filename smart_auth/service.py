"""What the endpoints of the authorization server work with, wired once in `fhir_server/app.py`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from resources.store import ABSENT, Conflict, Record, RecordChange, ResourceStore
from smart_auth.access import Access
from smart_auth.client_keys.jwks_uri import RemoteKeys
from smart_auth.happenings import Happening
from smart_auth.outside.provider import Provider
from smart_auth.sealing import Sealer
from smart_auth.settings import SignInSettings
from smart_auth.tokens import Tokens, digest

_PART = 1_000
"""Records that are asked for at once."""
_TURN = "turn"
"""Kind of the record that is rewritten by whoever counts others and adds one: of those who do it at the same moment one succeeds."""
_TURN_LASTS = 3_600_000_000
_TRIES = 50


@dataclass(frozen=True, slots=True)
class Person:
    """A Patient, Practitioner, RelatedPerson or Person as a page shows them: reference (`Patient/1`), name, birth date ("" unknown)."""

    reference: str
    name: str
    birth_date: str = ""


@dataclass(frozen=True, slots=True)
class Visit:
    """An Encounter as a page shows it: reference (`Encounter/1`), what kind it was, and the day it began ("" unknown)."""

    reference: str
    what: str
    day: str = ""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page, as `access` bounds it, from which network address."""

    access: Access
    address: str


class Directory(Protocol):
    """What the pages need to know of FHIR resources.

    With a `viewer` it tells what this one may see, as the FHIR interface would, and that is audited as a search or read of theirs.
    """

    async def person(self, reference: str) -> Person | None:
        """Whom the reference names, or None. For the server's own use, and for showing users their own names."""

    async def stands_for(self, reference: str) -> Sequence[Person]:
        """The Patients that whom the reference names is, or stands for: a Patient itself, the one that a RelatedPerson names, those that a
        Person links to, each once."""

    async def patients(self, text: str, most: int, viewer: Viewer) -> Sequence[Person]:
        """The first Patients whose name, birth date, identifier or id is `text` ("": whoever comes first)."""

    async def named(self, ids: Sequence[str], viewer: Viewer) -> Sequence[Person]:
        """The Patients with these ids, those that there are and that the viewer may see."""

    async def visits(self, patient: str, most: int, viewer: Viewer) -> Sequence[Visit]:
        """The newest Encounters of the Patient with this id."""

    async def seen(self, reference: str, viewer: Viewer, narrowed: Mapping[str, str]) -> bool:
        """Whether the viewer may find the document, with these search parameters too (an Encounter's `patient`)."""

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
    the keys of clients. `provider` is where people sign in from outside, if they can."""

    store: ResourceStore
    tokens: Tokens
    clock: Callable[[], int]
    urls: Urls
    settings: SignInSettings
    happened: Callable[[Happening], bytes]
    directory: Directory
    sealer: Sealer
    remote_keys: RemoteKeys
    provider: Provider | None = None
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(
        default_factory=WeakValueDictionary, init=False, repr=False, compare=False
    )

    async def tagged(self, kind: str, tag: str) -> list[Record]:
        """All records of a kind that have the tag, however many (`ResourceStore.records` gives them in parts). Raises StoreUnavailable."""
        found: list[Record] = []
        while part := await self.store.records(kind, tag=tag, after=found[-1].key if found else "", limit=_PART):
            found += part
        return found

    async def commit(self, *records: RecordChange, happening: Happening | None = None) -> None:
        """Keep or forget records, together with the AuditEvent of it. Raises Conflict("record"), StoreUnavailable."""
        events = () if happening is None else (self.happened(happening),)
        await self.store.commit((), events=events, records=records)

    async def commit_within(self, most: int, tag: str, change: RecordChange, happening: Happening) -> bool:
        """Keep one more record that has this tag, unless there are `most` of its kind with it, however many come at the same moment.

        Whether it was kept. Raises Conflict("record") where others came first again and again, StoreUnavailable.
        """
        key = digest(f"{change.kind} {tag}")
        lock = self._turns.setdefault(key, asyncio.Lock())
        async with lock:  # those of this process one after the other: only other processes come first
            return await self._commit_in_turn(key, most, tag, change, happening)

    async def _commit_in_turn(self, key: str, most: int, tag: str, change: RecordChange, happening: Happening) -> bool:
        for _ in range(_TRIES):
            turn = await self.store.record(_TURN, key)
            if len(await self.store.records(change.kind, tag=tag, limit=most)) >= most:
                return False
            mine = RecordChange(_TURN, key, b"", turn.revision if turn is not None else ABSENT, (), self.clock() + _TURN_LASTS)
            try:
                await self.commit(mine, change, happening=happening)
            except Conflict as lost:  # somebody else was counted in meanwhile
                if lost.index != 0:
                    raise
            else:
                return True
        raise Conflict("record")
