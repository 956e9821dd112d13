"""What a group of commits writes, planned in Python against the states that its transaction has read.

Every precondition is checked against the database and against what earlier commits of the same group did; a commit that
conflicts is left out and the others go on.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne

from resources.instants import instant_text
from resources.outcomes import error
from resources.store import Change, Conflict, Receipt, Version, Written
from resources.stores import events
from resources.stores.adoption import check_next, check_order
from resources.stores.bodies import Bodies
from resources.stores.chain import Links
from resources.stores.commits import Job
from resources.stores.mongo import records
from resources.stores.mongo.documents import LARGEST, native
from resources.stores.mongo.schema import CLAIMS, EVENTS, RECEIPTS, RECORDS, VERSIONS
from resources.stores.preconditions import check_change, check_claims
from resources.stores.records import Plan

Write = InsertOne[Any] | ReplaceOne[Any] | UpdateOne | DeleteOne

CHUNK = 100
"""Changes between two breaths of the event loop in a large commit."""

PACK = 64
"""Events in one document of the log, at most: whoever looks for an event's document looks so far back."""


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
    records: Plan


class Group:
    """The writes of one group of commits, whose positions come after `position`, at `instant` (microseconds since the epoch)."""

    def __init__(self, position: int, instant: int, found: Found, bodies: Bodies, links: Links) -> None:
        self.first, self.position, self.instant = position + 1, position, instant
        self._text, self._found, self._bodies, self.links = instant_text(instant), found, bodies, links
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
            self._found.records.add(job.records)
            if job.receipt is not None:
                self._receipts[job.receipt.key] = _answered(job.receipt, written)
            self._events += job.events
            job.result = written
        self._log()

    def _check(self, job: Job) -> None:
        """Raise Conflict if one of the job's preconditions does not hold."""
        for number, change in enumerate(job.changes):
            state = self._states.get(f"{change.type}/{change.id}", NONE)
            check_change(number, change, state.version, state.live)
        check_claims(job.claims, lambda key: self._claims.get(key, self._found.claims.get(key, 0)))
        if job.receipt is not None and (job.receipt.key in self._receipts or job.receipt.key in self._found.receipts):
            raise Conflict("receipt")
        self._found.records.check(job.records)

    def _add(self, change: Change) -> Written:
        """Add a change's version to the group and return what it became."""
        state = self._states.get(f"{change.type}/{change.id}", NONE)
        self.position += 1
        number = state.version + 1
        body = None if change.draft is None else change.draft.stamp(number, self._text)
        made = Version(change.type, change.id, number, self.instant, change.method, body, self.position)
        self._put(made, state)
        return Written(made if change.echo or body is None else msgspec.structs.replace(made, body=b""), created=not state.live)

    def adopt(self, versions: Sequence[Version]) -> None:
        """Add versions of another store as they are. Raises ValueError where they do not follow what is there."""
        check_order(versions, self.position)
        self.first, self.position = versions[0].position, versions[-1].position
        self.instant = max(self.instant, *(version.instant for version in versions))
        for version in versions:
            if not events.is_own(version):
                state = self._states.get(f"{version.type}/{version.id}", NONE)
                check_next(version, state.version)
                self._put(version, state)
        for run in events.groups([version for version in versions if events.is_own(version)]):
            for start in range(0, len(run), PACK):
                part = run[start : start + PACK]
                self._pack(part[0].position, len(part), part[0].instant, b"\n".join(event.body or b"" for event in part))

    def _put(self, version: Version, state: State) -> None:
        """Add a version's documents; `state`: what it follows."""
        key = f"{version.type}/{version.id}"
        document = {
            "_id": version.position, "key": key, "type": version.type, "version": version.version, "instant": version.instant,
            "method": version.method, "current": True,
        }  # fmt: skip
        if version.body is None:
            document["deleted"] = True
            self._natives[key] = None
        else:
            document["body"] = self._bodies.pack(version.body)
            self._natives[key] = native(version.id, version.body)
        self._supersede(state, version)
        self._documents[version.position] = document
        self._states[key] = State(version.position, version.version, version.body is not None)

    def _supersede(self, state: State, by: Version) -> None:
        """Note in the version that was current which one comes after it, and when."""
        if not state.position:
            return
        after = {"next": by.position, "ended": by.instant}
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
            self._pack(first, len(part), self.instant, self.links.stamp(part, first, self.instant))

    def _pack(self, first: int, count: int, instant: int, lines: bytes) -> None:
        self._documents[first] = {
            "_id": first, "last": first + count - 1, "count": count, "instant": instant, "body": self._bodies.pack_events(lines),
        }  # fmt: skip

    def empty(self) -> bool:
        """Whether there is nothing to write: every commit of the group was refused, or asked for nothing."""
        return not (self._documents or self._claims or self._receipts or self._found.records.made)

    def trace(self) -> tuple[str, dict[str, Any]] | None:
        """Collection and fields by which the group is known to have been written, if it was; None where it writes no document."""
        document = self._documents.get(self.first)
        if document is None:
            kept = records.trace(self._found.records)
            return (RECORDS, kept) if kept is not None else None
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
        yield RECORDS, list(records.writes(self._found.records))


def _native_write(id: str, document: RawBSONDocument | None, live: bool) -> Write | None:
    """What brings the native copy up to date; `live`: whether there is one."""
    if document is None:
        return DeleteOne({"_id": id}) if live else None
    return ReplaceOne({"_id": id}, document) if live else InsertOne(document)


def _answered(receipt: Receipt, written: Sequence[Written]) -> Receipt:
    answer = receipt.answer(written) if callable(receipt.answer) else receipt.answer
    if len(answer) > LARGEST:
        raise error(
            413, "too-long", f"The answer, {len(answer) // 1024:,} kB, is too large to be kept for its Idempotency-Key. Ask for less with"
            " Prefer: return=minimal, or send fewer entries at a time."
        )  # fmt: skip
    return Receipt(receipt.key, receipt.digest, answer, receipt.expires)
