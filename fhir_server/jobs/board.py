"""What is kept of jobs: begun, planned, claimed, carried on, finished, called off. Every change is one commit of the store."""

import secrets
from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from fhir_server.jobs.job import (
    ACTIVE,
    BULK,
    COUNT,
    JOB,
    KEPT,
    LITTERED,
    NOTHING,
    PART,
    Bulk,
    Job,
    Part,
    Problem,
    State,
    job_tag,
    open_tag,
    owner_tag,
    part_key,
)
from resources.store import ABSENT, ANY, Conflict, Record, RecordChange, ResourceStore

_decode_job = msgspec.json.Decoder(Job).decode
_decode_bulk = msgspec.json.Decoder(Bulk).decode
_decode_part = msgspec.json.Decoder(Part).decode
_encode = msgspec.json.Encoder().encode

AT_ONCE = 500
"""Records that one commit writes, about, at most; and parts that are looked at together."""


APART = 4_000
"""Bytes of what was asked, of a plan and of a result, above which these are a record of their own."""


class Lost(Exception):
    """The lease is another's, or the job was called off: whoever worked on the part stops, and changes nothing more."""


class Kept(NamedTuple):
    """A job and the revision of its record."""

    job: Job
    revision: int


class Held(NamedTuple):
    """A part and the revision of its record."""

    part: Part
    revision: int


class Board:
    """The jobs of a store."""

    def __init__(self, store: ResourceStore) -> None:
        self._store = store

    async def count(self, owner: str) -> int:
        """What `begin` is to be told by whoever looks at the owner's jobs after this: where another one is begun meanwhile it is Lost."""
        record = await self._store.record(COUNT, _of_owner(owner))
        return record.revision if record is not None else ABSENT

    async def begin(self, job: Job, events: Sequence[bytes] = (), count: int = ANY) -> None:
        """Keep a new job, with the part that plans it. `events` are the AuditEvents of its kick-off; `count`: see there. Raises Lost."""
        counted = RecordChange(COUNT, _of_owner(job.owner), b"", count, expires=job.expires)
        records = (*_of_job(job, ABSENT), _of_part(Part(job.id, 0), ABSENT), counted)
        try:
            await self._store.commit((), events=events, records=records)
        except Conflict:
            raise Lost from None

    async def job(self, id: str) -> Kept | None:
        """The job, if there is one, whole."""
        record = await self._store.record(JOB, id)
        if record is None:
            return None
        job = _decode_job(record.value)
        if job.apart:
            bulk = await self._store.record(BULK, id)
            if bulk is None:  # it was forgotten in this moment
                return None
            read = _decode_bulk(bulk.value)
            job = msgspec.structs.replace(job, asked=read.asked, plan=read.plan, result=read.result)
        return Kept(job, record.revision)

    async def jobs(self, tag: str) -> list[Kept]:
        """All jobs with a tag, without what is kept apart."""
        return [Kept(_decode_job(record.value), record.revision) for record in await self._all(JOB, tag)]

    async def part(self, job: str, number: int) -> Held | None:
        """The part, if it is there."""
        record = await self._store.record(PART, part_key(job, number))
        return _held(record) if record is not None else None

    async def parts(self, job: str) -> list[Held]:
        """All parts of a job, in order."""
        return [_held(record) for record in await self._all(PART, job_tag(job))]

    async def finished(self, job: Job) -> bool:
        """Whether a job is planned, and all of its parts are done."""
        async for page in self._open(job):
            if page:
                return False
        return bool(job.parts)

    async def free(self, job: Job, now: int) -> AsyncIterator[list[Held]]:
        """Those parts of a job that may be worked on and that nobody works on at `now` (microseconds since the epoch), some at a time.

        That is the plan, until it is made, and then the parts that it has: what an earlier planner, who did not come to its end, has left
        is none of them."""
        if job.state == "running":
            async for page in self._open(job):
                yield [held for held in page if held.part.free(now)]

    async def _open(self, job: Job) -> AsyncIterator[list[Held]]:
        if not job.parts:
            planning = await self.part(job.id, 0)
            yield [planning] if planning is not None else []
            return
        after, last = part_key(job.id, 0), part_key(job.id, job.parts)
        while page := await self._store.records(PART, tag=open_tag(job.id), after=after, limit=AT_ONCE):
            yield [_held(record) for record in page if record.key < last]
            after = page[-1].key

    async def claim(self, held: Held, until: int) -> Held:
        """Take a part's lease, until then. Raises Lost where somebody else was first."""
        part = msgspec.structs.replace(held.part, holder=secrets.token_hex(8), until=until, tries=held.part.tries + 1)
        return await self.put(part, held.revision)

    async def put(self, part: Part, revision: int, events: Sequence[bytes] = (), others: Sequence[RecordChange] = ()) -> Held:
        """Write a part that follows `revision`, together with AuditEvents and other records. Raises Lost."""
        try:
            await self._store.commit((), events=events, records=(_of_part(part, revision), *others))
        except Conflict:
            raise Lost from None
        held = await self.part(part.job, part.number)
        if held is None or held.part.holder != part.holder:
            raise Lost
        return held

    async def close(
        self, job: Kept, *, state: State, now: int, result: msgspec.Raw = NOTHING, problem: Problem | None = None
    ) -> None:
        """Write that a job has ended, and forget its parts. Raises Lost where it was changed meanwhile."""
        expires = now + job.job.expires - job.job.created if job.job.state == "running" else job.job.expires
        ended = msgspec.structs.replace(job.job, state=state, result=result, problem=problem, finished=now, expires=expires)
        await self._write(*_of_job(ended, job.revision))
        await self._forget_parts(job.job.id)

    async def cleared(self, job: Kept) -> None:
        """Note that a job that failed has left no files. Raises Lost where it was changed meanwhile."""
        await self._write(RecordChange(JOB, job.job.id, _encode(job.job), job.revision, (owner_tag(job.job.owner), KEPT)))

    async def forget(self, job: Kept) -> None:
        """Forget a job that has ended, and its parts. Raises Lost where it was changed meanwhile."""
        await self._forget_parts(job.job.id)
        await self._write(RecordChange(JOB, job.job.id, None, expect=job.revision), RecordChange(BULK, job.job.id, None))

    async def _forget_parts(self, job: str) -> None:
        while found := await self._store.records(PART, tag=job_tag(job), limit=AT_ONCE):
            await self._store.commit((), records=[RecordChange(PART, record.key, None) for record in found])

    async def _write(self, *changes: RecordChange) -> None:
        try:
            await self._store.commit((), records=changes)
        except Conflict:
            raise Lost from None

    async def _all(self, kind: str, tag: str) -> list[Record]:
        found: list[Record] = []
        while page := await self._store.records(kind, tag=tag, after=found[-1].key if found else ""):
            found += page
        return found


def planned(job: Kept, plan: msgspec.Raw, count: int) -> list[RecordChange]:
    """The job with its plan, and so many parts beside the one that planned."""
    return _of_job(msgspec.structs.replace(job.job, parts=count + 1, plan=plan), job.revision)


def fresh(part: Part) -> RecordChange:
    """A part as a plan has it, in place of one that an earlier planner has left."""
    return _of_part(part, ANY)


def _held(record: Record) -> Held:
    return Held(_decode_part(record.value), record.revision)


def _of_job(job: Job, expect: int) -> list[RecordChange]:
    """The changes that keep a whole job."""
    state = {"running": (ACTIVE,), "failed": (LITTERED,), "cancelled": (LITTERED,)}.get(job.state, ())
    bulk = Bulk(job.asked, job.plan, job.result)
    changes = list[RecordChange]()
    if job.apart or len(bytes(bulk.asked)) + len(bytes(bulk.plan)) + len(bytes(bulk.result)) > APART:
        changes.append(RecordChange(BULK, job.id, _encode(bulk)))
        job = msgspec.structs.replace(job, asked=NOTHING, plan=NOTHING, result=NOTHING, apart=True)
    return [RecordChange(JOB, job.id, _encode(job), expect, (owner_tag(job.owner), KEPT, *state)), *changes]


def _of_owner(owner: str) -> str:
    return blake2b(owner.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _of_part(part: Part, expect: int) -> RecordChange:
    tags = (job_tag(part.job), *(() if part.done else (open_tag(part.job),)))
    return RecordChange(PART, part_key(part.job, part.number), _encode(part), expect, tags)
