"""The store contract: what a document is, and the one way in which it changes.

A document is its canonical JSON bytes with `id`, `meta.versionId` and `meta.lastUpdated` inside. No store ever
parses them: read, vread, history, search and export hand these bytes on.

`ResourceStore.commit` is the only way anything is written. Version numbers and `lastUpdated` are given inside the commit, in
commit order, so a later commit never carries an earlier instant (docs/adr/0002).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

Method = Literal["POST", "PUT", "PATCH", "DELETE"]

ABSENT = 0
"""`Change.expect`: there must be no live version (never made, or deleted)."""

ANY = -1
"""`Change.expect`: whatever is there; for a deletion: whatever live version is there (Conflict where there is none)."""


class Key(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A resource's address. `hint` is a store's own row number (0: unknown): it saves a look-up and never changes the answer,
    so it takes no part in equality. Made by the thousand for a page: in 0.1 µs, where a frozen dataclass takes 0.45."""

    type: str
    id: str
    hint: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.id == other.id and self.type == other.type

    def __hash__(self) -> int:
        return hash((self.type, self.id))


class Draft(msgspec.Struct, frozen=True, gc=False):
    """A document but for its version and instant; `stamp` puts them in.

    `head` ends right after `"meta":{`; `tail` begins with what follows the two members inside `meta`
    (`,"profile":[…]},"name":…}` or `},"name":…}`). Made by `resources.documents.draft`.
    """

    head: bytes
    tail: bytes

    def stamp(self, version: int, instant: str) -> bytes:
        """The document's bytes as version `version`, last updated at `instant` (FHIR instant text)."""
        return b'%b"versionId":"%d","lastUpdated":"%b"%b' % (self.head, version, instant.encode(), self.tail)


class Change(msgspec.Struct, frozen=True):
    """One resource to write (`draft`) or to delete (`draft` is None), with its precondition.

    `expect` is ABSENT, ANY, or the number of the version that must be current. `method` is kept for history's `request.method`.
    `entry` is what the search index keeps of the document, for stores with `wants_entries`, which hand it on unread; where it is
    None such a store has it made from the stamped bytes, inside the commit. Other stores do not look at it.
    `echo`: whether the document is wanted back; without it `Written.version.body` may be b"", which spares memory in large commits.
    """

    type: str
    id: str
    draft: Draft | None
    expect: int = ANY
    method: Method = "PUT"
    entry: Any = None
    echo: bool = True


@dataclass(frozen=True, slots=True)
class Claim:
    """A conditional write's claim: no other commit with the same `key` may have happened after position `since`.

    `key` is a 16-byte hash of type and normalised criteria. The writer notes `await store.position()`, searches, then commits with the
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


class Record(msgspec.Struct, frozen=True, gc=False):
    """Durable state that is no FHIR resource: a client, a user, a token's hash, a job. Found by `kind` and `key`, or by one of its `tags`.

    `value` is opaque to the store. `revision` is a number that no earlier state of the record had. `expires`: microseconds since the
    epoch from which on it is not there (0: never).
    """

    kind: str
    key: str
    value: bytes
    revision: int
    tags: tuple[str, ...] = ()
    expires: int = 0


class RecordChange(msgspec.Struct, frozen=True):
    """A record to keep (`value`) or to forget (`value` None), with its precondition: `expect` is ABSENT, ANY, or the revision that must
    be current."""

    kind: str
    key: str
    value: bytes | None
    expect: int = ANY
    tags: tuple[str, ...] = ()
    expires: int = 0


class Version(msgspec.Struct, frozen=True, gc=False):
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


class Written(msgspec.Struct, frozen=True, gc=False):
    """What became of one Change: its new version, and whether no live version was there before (201 rather than 200)."""

    version: Version
    created: bool


class Conflict(Exception):
    """A commit was refused and nothing of it was written.

    `reason`: "exists" (ABSENT expected), "missing" (a version expected or to be deleted, none there), "deleted" (likewise, but deleted),
    "version" (another version is current), "claim" (somebody committed the same claim), "receipt" (this Idempotency-Key was used),
    "record" (another revision is current, or none). `index` is the number of the Change (Claim, RecordChange) at fault, `current` the
    current version's number, or the record's revision (0: none).
    """

    def __init__(self, reason: str, index: int = 0, current: int = 0) -> None:
        super().__init__(f"{reason} at change {index} (current version {current})")
        self.reason, self.index, self.current = reason, index, current


class StoreUnavailable(Exception):
    """The store cannot take or give anything now (disk full, read-only, locked too long, connection lost).

    Nothing was written, unless `uncertain`: then nobody knows whether the commit was kept (the disk failed while it was flushed,
    the connection was lost while it was confirmed), and whoever sends it again must read first, or send the same Idempotency-Key.
    The text tells a person what to do. HTTP 503 (507 where `full`)."""

    def __init__(self, text: str, *, full: bool = False, uncertain: bool = False) -> None:
        super().__init__(text)
        self.full, self.uncertain = full, uncertain


class Head(NamedTuple):
    """The newest event that an opening of a store has written: the name of this writer, the event's number among its events (0: there is
    none yet), and the SHA-256 of its bytes in hexadecimal digits (resources/stores/chain.py)."""

    writer: str
    number: int
    hash: str


class HistoryPage(NamedTuple):
    """Versions, newest first, and the position to go on from (None: this was the last page)."""

    versions: list[Version]
    next: int | None


class ResourceStore(Protocol):
    """What every store promises. All methods may raise StoreUnavailable."""

    @property
    def wants_entries(self) -> bool:
        """Whether a search index takes part in this store's commits and so reads `Change.entry`. Where it is False nobody
        does (an index outside reads the outbox and extracts for itself), and callers do not make entries."""

    @property
    def audit_head(self) -> Head:
        """The newest event that this opening of the store has committed. Where it is not known whether a commit was kept, it goes on
        under another name."""

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
        records: Sequence[RecordChange] = (),
    ) -> list[Written]:
        """Write all changes, events and records, or nothing. Returns one Written a change, in order, once they are durable.

        `events` are AuditEvents without `id` and root extensions: JSON objects that begin with `{"resourceType":"AuditEvent",`, a `meta`
        (with profiles alone) only right after that. The store numbers and dates them, links each to the one that it wrote before
        (docs/adr/0018), and keeps it as version 1 with the method POST, after the commit's changes. Two changes to one
        resource, or of one record, in a commit are a caller's error (ValueError). Raises Conflict.
        """

    async def adopt(self, versions: Sequence[Version]) -> None:
        """Write versions of another store exactly as they are: numbers, instants, positions and bytes (for moving and restoring).

        They come in the order of their positions, which are all above this store's own; whoever gives all that the other store's
        `outbox` tells after `position()` can go on after an interruption. Events keep their ids, which name their positions. All or
        nothing, durable when it returns. Raises ValueError for versions that do not follow what is here.
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

    async def count_history(
        self, type: str | None, id: str | None, *, since: int | None = None, at: tuple[int, int] | None = None
    ) -> int:
        """How many versions all pages of that `history` have together. For a type or the system it may take seconds in a large store."""

    async def position(self) -> int:
        """The position of the newest commit that reads can see (0: nothing was ever written).

        Positions become visible in order: who sees position p, here or in a Version, sees every commit up to p, and none will
        appear at or below it later. Whoever follows the outbox or holds a Claim relies on this, so a store whose database shows
        concurrent commits in any order must hold back the later ones.
        """

    async def newest(self, types: Sequence[str]) -> list[int]:
        """Of each of these types, in order, the position of its newest version (a deletion or an event too) that reads can see; 0
        where there never was one. Cheap: every search of an index outside the store asks it."""

    async def receipt(self, key: bytes) -> Receipt | None:
        """The receipt kept under `key`, if it has not expired."""

    async def record(self, kind: str, key: str) -> Record | None:
        """The record, if there is one that has not expired."""

    async def records(self, kind: str, *, tag: str | None = None, after: str = "", limit: int = 1000) -> list[Record]:
        """Records of a kind (that have the tag) with keys above `after`, in the order of their keys, none that has expired."""

    async def record_kinds(self) -> list[str]:
        """The kinds that there are records of (perhaps none that has not expired), in order. For moving; it may take a while."""

    def scan(
        self, types: Sequence[str], *, until: int, after: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> AsyncGenerator[list[Version], None]:
        """The live resources of these types (empty: all) as they were at position `until`, in lists, positions above `after`. Lists are
        short where documents are large.

        A stable snapshot whatever is written meanwhile, without an open transaction, in order of position. `shard` (i, n) gives
        every n-th part of the resources.
        """

    def outbox(self, *, after: int, limit: int = 1000) -> AsyncIterator[list[Version]]:
        """Every version and event written after position `after`, in commit order: what an index fed from outside must apply.

        From the very first one (`after` 0) for as long as the store is there, whatever has been confirmed: an index that is built
        anew, the comparison of an index with the store, and a move into another store read it from where they need.
        """

    async def forget_events(self, until: int) -> int:
        """Remove for good events that the store itself wrote up to position `until`, some thousands at a time, from an index in the store
        too. Returns how many; 0: no more are to be removed.

        Only for what a signed archive holds (docs/adr/0018). The newest event always stays, and so may those that were committed together
        with one behind `until`, or that an index in the store has not taken in yet. Positions stay what they are: nothing takes the place
        of what is gone, and neither history nor `outbox` tell of it; an index outside is told by whoever calls this.
        """

    async def confirm(self, index: str, position: int | None) -> None:
        """Note that the outside index `index` holds everything up to `position`, for good; a smaller one than before changes nothing.

        None: this index is no more, and its place is forgotten. An index that is to be built confirms where its `scan` ends
        (`until`) before it begins, so that it goes on there, whoever does.
        """

    async def confirmed(self, index: str) -> int:
        """The position that `index` has confirmed; 0 if it never has."""
