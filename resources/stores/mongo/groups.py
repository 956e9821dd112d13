"""What a group of commits writes, planned in Python against the states that its transaction has read.

Every precondition is checked against the database and against what earlier commits of the same group did; a commit that
conflicts is left out and the others go on.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne

from resources.instants import instant_text
from resources.store import ABSENT, ANY, Change, Claim, Conflict, Receipt, Version, Written
from resources.stores import events
from resources.stores.bodies import Bodies
from resources.stores.mongo.documents import native
from resources.stores.mongo.schema import CLAIMS, EVENTS, RECEIPTS, VERSIONS

Write = InsertOne[Any] | ReplaceOne[Any] | UpdateOne | DeleteOne

CHUNK = 100
"""Changes between two breaths of the event loop in a large commit."""

PACK = 64
"""Events in one document of the log, at most: whoever looks for an event's document looks so far back."""


@dataclass(slots=True)
class Job:
    """One call of `commit`, waiting for its group. After the group, `result` holds what it wrote or the Conflict that refused it."""

    changes: Sequence[Change]
    events: Sequence[bytes]
    claims: Sequence[Claim]
    receipt: Receipt | None
    result: list[Written] | Exception | None = None

    def size(self) -> int:
        """Positions that it takes."""
        return len(self.changes) + len(self.events)


class State(NamedTuple):
    """A resource as a transaction finds it: where its current version stands (0: there is none), its number, whether it is live."""

    position: int
    version: int
    live: bool


NONE = State(0, 0, False)


@dataclass(slots=True)
class Found:
    """What a transaction has read for a group: states by key, positions of claims, and the receipts that still hold."""

    states: dict[str, State]
    claims: dict[bytes, int]
    receipts: set[bytes]


class Group:
    """The writes of one group of commits, whose positions come after `position`, at `instant` (microseconds since the epoch)."""

    def __init__(self, position: int, instant: int, found: Found, bodies: Bodies) -> None:
        self.first, self.position, self.instant = position + 1, position, instant
        self._text, self._found, self._bodies = instant_text(instant), found, bodies
        self._states = dict(found.states)
        self._documents: dict[int, dict[str, Any]] = {}
        self._ended: dict[int, dict[str, int]] = {}
        self._natives: dict[str, RawBSONDocument | None] = {}
        self._claims: dict[bytes, int] = {}
        self._receipts: dict[bytes, Receipt] = {}
        self._events: list[bytes] = []

    async def plan(self, jobs: Sequence[Job]) -> None:
        """Check the jobs' preconditions and add what they write; each gets its result. Raises ValueError for what is no document."""
        for job in jobs:
            try:
                self._check(job)
            except Conflict as refused:
                job.result = refused
                continue
            written = []
            for number, change in enumerate(job.changes):
                written.append(self._add(change))
                if number % CHUNK == CHUNK - 1:
                    await asyncio.sleep(0)
            self._claims.update((claim.key, self.position) for claim in job.claims)
            if job.receipt is not None:
                self._receipts[job.receipt.key] = _answered(job.receipt, written)
            self._events += job.events
            job.result = written
        self._log()

    def _check(self, job: Job) -> None:
        """Raise Conflict if one of the job's preconditions does not hold."""
        for number, change in enumerate(job.changes):
            state = self._states.get(f"{change.type}/{change.id}", NONE)
            current, expect = state.version if state.live else 0, change.expect
            if expect == ABSENT:
                if state.live:
                    raise Conflict("exists", number, current)
            elif (expect != ANY and expect != current) or (change.draft is None and not state.live):
                raise Conflict(_reason(state), number, current)
        for number, claim in enumerate(job.claims):
            if self._claims.get(claim.key, self._found.claims.get(claim.key, 0)) > claim.since:
                raise Conflict("claim", number)
        if job.receipt is not None and (job.receipt.key in self._receipts or job.receipt.key in self._found.receipts):
            raise Conflict("receipt")

    def _add(self, change: Change) -> Written:
        """Add a change's version to the group and return what it became."""
        key = f"{change.type}/{change.id}"
        state = self._states.get(key, NONE)
        self.position += 1
        version = state.version + 1
        document = {
            "_id": self.position, "key": key, "type": change.type, "version": version, "instant": self.instant,
            "method": change.method, "current": True,
        }  # fmt: skip
        body = None if change.draft is None else change.draft.stamp(version, self._text)
        if body is None:
            document["deleted"] = True
            self._natives[key] = None
        else:
            document["body"] = self._bodies.pack(body)
            self._natives[key] = native(change.id, body)
        self._supersede(state)
        self._documents[self.position] = document
        self._states[key] = State(self.position, version, body is not None)
        answered = body if change.echo or body is None else b""
        told = Version(change.type, change.id, version, self.instant, change.method, answered, self.position)
        return Written(told, created=not state.live)

    def _supersede(self, state: State) -> None:
        """Note in the version that was current which one comes after it, and when."""
        if not state.position:
            return
        after = {"next": self.position, "ended": self.instant}
        earlier = self._documents.get(state.position)
        if earlier is None:
            self._ended[state.position] = after
        else:  # a version of this same group
            del earlier["current"]
            earlier.update(after)

    def _log(self) -> None:
        """Number, date and pack the group's events."""
        for start in range(0, len(self._events), PACK):
            part = self._events[start : start + PACK]
            first = self.position + 1
            self.position += len(part)
            self._documents[first] = {
                "_id": first, "last": self.position, "count": len(part), "instant": self.instant,
                "body": self._bodies.pack(events.stamp(part, first, self.instant)),
            }  # fmt: skip

    def empty(self) -> bool:
        """Whether there is nothing to write: every commit of the group was refused, or asked for nothing."""
        return not (self._documents or self._claims or self._receipts)

    def trace(self) -> tuple[str, dict[str, Any]] | None:
        """Collection and fields by which the group is known to have been written, if it was; None where it writes no document."""
        document = self._documents.get(self.first)
        if document is None:
            return None
        lasting = {name: value for name, value in document.items() if name not in ("current", "next", "ended")}
        return (EVENTS if "count" in document else VERSIONS), lasting

    def writes(self) -> Iterator[tuple[str, list[Write]]]:
        """What is to be written, one list a collection, in this order."""
        versions: list[Write] = [
            UpdateOne({"_id": at}, {"$set": after, "$unset": {"current": ""}}) for at, after in self._ended.items()
        ]
        versions += [InsertOne(d) for d in self._documents.values() if "count" not in d]
        yield VERSIONS, versions
        natives: dict[str, list[Write]] = {}
        for key, document in self._natives.items():
            type_, _, id_ = key.partition("/")
            write = _native_write(id_, document, self._found.states.get(key, NONE).live)
            if write is not None:
                natives.setdefault(type_, []).append(write)
        yield from natives.items()
        yield EVENTS, [InsertOne(d) for d in self._documents.values() if "count" in d]
        yield (
            CLAIMS,
            [
                ReplaceOne({"_id": key}, {"position": position, "instant": self.instant}, upsert=True)
                for key, position in self._claims.items()
            ],
        )
        yield (
            RECEIPTS,
            [
                ReplaceOne({"_id": r.key}, {"digest": r.digest, "answer": r.answer, "expires": r.expires}, upsert=True)
                for r in self._receipts.values()
            ],
        )


def _native_write(id: str, document: RawBSONDocument | None, live: bool) -> Write | None:
    """What brings the native copy up to date; `live`: whether there is one."""
    if document is None:
        return DeleteOne({"_id": id}) if live else None
    return ReplaceOne({"_id": id}, document) if live else InsertOne(document)


def _answered(receipt: Receipt, written: Sequence[Written]) -> Receipt:
    answer = receipt.answer(written) if callable(receipt.answer) else receipt.answer
    return Receipt(receipt.key, receipt.digest, answer, receipt.expires)


def _reason(state: State) -> str:
    if state.live:
        return "version"
    return "deleted" if state.version else "missing"
