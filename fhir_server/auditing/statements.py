"""Checkpoints of the audit: signed statements of what was there (docs/adr/0018).

Each is a Record, numbered without gaps, its value a JWS in compact form (RFC 7515, Ed25519), and says: from position to position, so many
AuditEvents with this digest, these writers' newest events, which positions could not be read, and the hash of the checkpoint before it.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from fhir_server.auditing.keys import key_id
from fhir_server.auditing.reading import Spoilt, readable
from resources.store import Head, Record, RecordChange, ResourceStore, Version
from resources.stores.chain import Link, read_link
from resources.stores.events import is_own

KIND = "audit-checkpoint"
NEWEST = "audit-checkpoint-newest"
"""Kind and key of the one record that repeats the newest checkpoint: so it is found at once."""

ALGORITHM = "Ed25519"


class BadSignature(Exception):
    """The text says what does not hold."""


Span = tuple[int, int]
"""Positions from the first to the last, both included."""


class Statement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a checkpoint says: the AuditEvents above position `after`, up to `until`, are `count` with this digest; `heads` has the newest
    event of each writer that wrote there, as (number, SHA-256). `previous`: SHA-256 of the checkpoint before it ("": it is the first).
    `made`: microseconds since the epoch. `passed`: what was spoilt when this was signed and so is in none of that (there from a row that
    was put back on, if it was)."""

    number: int
    previous: str
    after: int
    until: int
    count: int
    digest: str
    heads: dict[str, tuple[int, str]]
    made: int
    passed: tuple[Span, ...] = ()

    def passes(self, position: int) -> bool:
        """Whether what stands at this position was passed over."""
        at = bisect_right(self.passed, (position, self.until)) - 1
        return at >= 0 and self.passed[at][0] <= position <= self.passed[at][1]


class Interval:
    """AuditEvents that are being counted, in order of position."""

    def __init__(self) -> None:
        self.count = 0
        self.heads: dict[str, tuple[int, str]] = {}
        self.passed: list[Span] = []
        self._digest = sha256()

    def pass_over(self, position: int) -> None:
        """Note that what stands there cannot be read."""
        extend(self.passed, position)

    def add(self, version: Version, hashed: bytes, link: Link | None) -> None:
        """Take one in. `hashed`: the SHA-256 of its bytes; `link` what it says of itself, if it is an event of a store."""
        self.count += 1
        self._digest.update(hashed)
        if link is not None:
            self.heads[link.writer] = (link.number, hashed.hex())

    @property
    def digest(self) -> str:
        """The SHA-256 of the hashes of all, one after the other."""
        return self._digest.hexdigest()


def extend(spans: list[Span], position: int) -> None:
    """Add a position behind all others."""
    if spans and spans[-1][1] == position - 1:
        spans[-1] = (spans[-1][0], position)
    else:
        spans.append((position, position))


def hash_of(version: Version) -> bytes:
    """The SHA-256 of a version's bytes."""
    return sha256(version.body or b"").digest()


def link_of(version: Version) -> Link | None:
    """The link of an AuditEvent that a store wrote itself; None for one without a link, or that a client sent."""
    return read_link(version.body or b"") if is_own(version) else None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Statement).decode


def sign(statement: Statement, key: OKPKey) -> str:
    """The checkpoint of a statement."""
    return jws.serialize_compact({"alg": ALGORITHM, "kid": key_id(key)}, _encode(statement), key, algorithms=[ALGORITHM])


def opened(token: str, keys: Mapping[str, OKPKey]) -> Statement:
    """What a checkpoint says. Raises BadSignature where none of the keys signed it."""
    try:
        found = jws.extract_compact(token.encode())
        key = keys.get(str(found.headers().get("kid")))
        if key is None:
            raise BadSignature("it was signed with a key that is not believed")
        if not jws.validate_compact(found, key, algorithms=[ALGORITHM]):
            raise BadSignature("its signature does not fit what it says")
        return _decode(found.payload)
    except (JoseError, ValueError, msgspec.MsgspecError):
        raise BadSignature("it is no checkpoint") from None


def unverified(token: str) -> Statement:
    """What a checkpoint says, whoever signed it. Raises BadSignature for what is none."""
    try:
        return _decode(jws.extract_compact(token.encode()).payload)
    except (JoseError, ValueError, msgspec.MsgspecError):
        raise BadSignature("it is no checkpoint") from None


def hash_token(token: str) -> str:
    """What the next checkpoint names this one by."""
    return sha256(token.encode()).hexdigest()


def key_of(number: int) -> str:
    """The key of a checkpoint's record."""
    return f"{number:012d}"


def change_for(statement: Statement, token: str, newest: Record | None) -> tuple[RecordChange, RecordChange]:
    """What keeps a checkpoint: it must be the first of its number, and follow `newest`, the record that repeats the newest one."""
    value = token.encode()
    return (
        RecordChange(KIND, key_of(statement.number), value, expect=0),
        RecordChange(NEWEST, NEWEST, value, expect=newest.revision if newest is not None else 0),
    )


async def newest_record(store: ResourceStore) -> Record | None:
    """The record that repeats the newest checkpoint."""
    return await store.record(NEWEST, NEWEST)


async def checkpoints(store: ResourceStore, after: int = 0) -> AsyncIterator[tuple[int, str]]:
    """Number and text of every stored checkpoint above number `after`, in order."""
    key = key_of(after)
    while found := await store.records(KIND, after=key):
        for record in found:
            yield (int(record.key) if record.key.isdigit() else 0), record.value.decode("ascii", "replace")
        key = found[-1].key


async def interval(store: ResourceStore, after: int, until: int, most: int, spoilt: Spoilt) -> tuple[Interval, int]:
    """The AuditEvents from one position to another, at most about `most` of them; and the position that was reached. Raises what
    `readable` does."""
    found = Interval()

    def passed(position: int, problem: str) -> None:
        found.pass_over(position)
        spoilt(position, problem)

    async for part in readable(store, after, until, passed):
        for version in part:
            found.add(version, hash_of(version), link_of(version))
        if found.count >= most:
            return found, part[-1].position
    return found, until


def noted(found: Interval, head: Head, known: int) -> bool:
    """Whether the newest event that this process knows to be written (`head`) is in the interval or was signed before (`known`: the number
    up to which it was). Where it is not, somebody removed it: the interval then tells of it all the same."""
    if head.number <= known or found.heads.get(head.writer, (0, ""))[0] >= head.number:
        return True
    found.heads[head.writer] = (head.number, head.hash)
    return False
