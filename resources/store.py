"""The store contract: what a document is, and the one way in which it changes.

A document is its canonical JSON bytes with `id`, `meta.versionId` and `meta.lastUpdated` inside. No store ever
parses them: read, vread, history, search and export hand these bytes on.

`ResourceStore.commit` is the only way anything is written. Version numbers and `lastUpdated` are given inside the commit, in
commit order, so a later commit never carries an earlier instant (docs/adr/0002).
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

Method = Literal["POST", "PUT", "PATCH", "DELETE"]

ABSENT = 0
"""`Change.expect`: there must be no live version (never made, or deleted)."""

ANY = -1
"""`Change.expect`: whatever is there; for a deletion: whatever live version is there (Conflict where there is none)."""


class Key(NamedTuple):
    """A resource's address. `hint` is a store's own row number (0: unknown): it saves a look-up and never changes the answer."""

    type: str
    id: str
    hint: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A document but for its version and instant; `stamp` puts them in.

    `head` ends right after `"meta":{`; `tail` begins with what follows the two members inside `meta`
    (`,"profile":[…]},"name":…}` or `},"name":…}`). Made by `resources.documents.draft`.
    """

    head: bytes
    tail: bytes

    def stamp(self, version: int, instant: str) -> bytes:
        """The document's bytes as version `version`, last updated at `instant` (FHIR instant text)."""
        return b'%b"versionId":"%d","lastUpdated":"%b"%b' % (self.head, version, instant.encode(), self.tail)


@dataclass(frozen=True, slots=True)
class Change:
    """One resource to write (`draft`) or to delete (`draft` is None), with its precondition.

    `expect` is ABSENT, ANY, or the number of the version that must be current. `entry` is what the search index wants to know
    of the document; the store hands it on unread. `method` is kept for history's `request.method`.
    """

    type: str
    id: str
    draft: Draft | None
    expect: int = ANY
    method: Method = "PUT"
    entry: Any = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A conditional write's claim: no other commit with the same `key` may have happened after position `since`.

    `key` is a 16-byte hash of type and normalised criteria. The writer notes `store.position()`, searches, then commits with the
    claim; of several racers with the same criteria one wins and the others get `Conflict("claim")` and search again.
    """

    key: bytes
    since: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """The kept answer of a request with an Idempotency-Key; `digest` tells whether a second request is the same one.

    `key` is a 32-byte hash of owner and Idempotency-Key, `digest` a 32-byte hash of method, URL and body. `answer` is opaque to
    the store; given to a commit it may be a function of what the commit wrote (in order), called inside the commit. `expires`:
    microseconds since the epoch.
    """

    key: bytes
    digest: bytes
    answer: bytes | Callable[[Sequence["Written"]], bytes]
    expires: int


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one resource as the store holds it. `body` is None where this version is a deletion.

    `instant` is in microseconds since the epoch. `position` orders all versions of the store (commit order).
    """

    type: str
    id: str
    version: int
    instant: int
    method: Method
    body: bytes | None
    position: int


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one Change: its new version, and whether no live version was there before (201 rather than 200)."""

    version: Version
    created: bool


class Conflict(Exception):
    """A commit was refused and nothing of it was written.

    `reason`: "exists" (ABSENT expected), "missing" (a version expected or to be deleted, none there), "deleted" (likewise, but deleted),
    "version" (another version is current), "claim" (somebody committed the same claim), "receipt" (this Idempotency-Key was used).
    `index` is the number of the Change (or Claim) at fault, `current` the current version's number (0: none).
    """

    def __init__(self, reason: str, index: int = 0, current: int = 0) -> None:
        super().__init__(f"{reason} at change {index} (current version {current})")
        self.reason, self.index, self.current = reason, index, current


class StoreUnavailable(Exception):
    """The store cannot take or give anything now (disk full, read-only, locked too long, connection lost).

    Nothing was written, unless the text says that this is not certain (the disk failed while a commit was flushed). The text tells a
    person what to do. HTTP 503 (507 where `full`)."""

    def __init__(self, text: str, *, full: bool = False) -> None:
        super().__init__(text)
        self.full = full


class HistoryPage(NamedTuple):
    """Versions, newest first, and the position to go on from (None: this was the last page)."""

    versions: list[Version]
    next: int | None


class ResourceStore(Protocol):
    """What every store promises. All methods may raise StoreUnavailable."""

    async def open(self) -> None:
        """Make ready: create or upgrade what is on disk. Raises StoreUnavailable with a clear sentence."""

    async def close(self) -> None:
        """Finish commits under way, then let go of everything."""

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        events: Sequence[bytes] = (),
        claims: Sequence[Claim] = (),
        receipt: Receipt | None = None,
    ) -> list[Written]:
        """Write all changes and events, or nothing. Returns one Written a change, in order, once they are durable.

        `events` are AuditEvents without `id` and `meta`: JSON objects that begin with `{"resourceType":"AuditEvent",`; the store
        numbers and dates them. Two changes to one resource in a commit are a caller's error (ValueError). Raises Conflict.
        """

    async def read(self, type: str, id: str) -> Version | None:
        """The current version (a deletion too), or None if there never was one."""

    async def read_version(self, type: str, id: str, version: int) -> Version | None:
        """That version, or None."""

    async def read_many(self, keys: Sequence[Key]) -> list[Version | None]:
        """The current versions in the order of `keys`, in one round trip; None where there is none."""

    async def history(
        self,
        type: str | None,
        id: str | None,
        *,
        since: int | None = None,
        at: tuple[int, int] | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> HistoryPage:
        """Versions of one resource, a type or the whole system, newest first, at most `limit`.

        `since`: instant, inclusive. `at` (low, high): only versions that were current at some moment of [low, high)
        (https://hl7.org/fhir/R4/http.html#history). All in microseconds since the epoch. `before`: position from an earlier page's `next`.
        AuditEvents that the store wrote itself appear in their own type's history, not in the system's.
        """

    def position(self) -> int:
        """The position of the newest commit that reads can see. Grows with each commit."""

    async def receipt(self, key: bytes) -> Receipt | None:
        """The receipt kept under `key`, if it has not expired."""

    def scan(
        self, types: Sequence[str], *, until: int, after: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> AsyncIterator[list[Version]]:
        """The live resources of these types (empty: all) as they were at position `until`, in lists, positions above `after`.

        A stable snapshot whatever is written meanwhile, without an open transaction, in order of position. `shard` (i, n) gives
        every n-th part of the resources.
        """

    def outbox(self, *, after: int, limit: int = 1000) -> AsyncIterator[list[Version]]:
        """Every version and event written after position `after`, in commit order: what an index fed from outside must apply."""


class Applied(NamedTuple):
    """A change as it was written, told to the participant inside the transaction.

    `row` is the store's number of the resource (the same for all its versions), `entry` what the Change carried
    (None: deleted), `created` whether the resource had no live version before, `new` whether its row is new."""

    row: int
    type: str
    id: str
    instant: int
    entry: Any
    created: bool
    new: bool


class Participant(Protocol):
    """A search index that lives in the store's own database and writes in its transactions (the SQLite index)."""

    def install(self, connection: Any) -> None:
        """Create or upgrade the participant's own tables, inside a transaction of the store."""

    def stale(self, connection: Any) -> bool:
        """Whether, after `install`, the tables lack documents that were stored before: the store then calls `rebuild`."""

    def rebuild(self, connection: Any, documents: Iterable[tuple[int, str, str, int, bytes]]) -> int:
        """Index all live documents anew, given as (row, type, id, instant, body), in the open transaction; returns how many.

        The store's own events are not among them; they come through `write` afterwards, as new ones do.
        """

    def write(self, connection: Any, applied: Sequence[Applied]) -> None:
        """Write what the index keeps of these changes, in the open transaction."""

    def prepare(self, type: str, body: bytes) -> Any:
        """The `entry` of a stored document: for events, which are indexed after their commit, and for a rebuild."""
