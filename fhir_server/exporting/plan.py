"""How an export is cut into parts: by type, and by the positions at which the store has what is exported.

The snapshot is everything up to the newest commit, which is the kick-off's own AuditEvent or a later one: whatever is written after it
carries no earlier instant, so a client that asks for `_since` the manifest's transactionTime misses nothing.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Literal

import msgspec

from fhir_server.access.views import stored
from fhir_server.context import Context
from fhir_server.exporting.asked import NDJSON, SUPPORTING, Asked, in_compartment, of_level, types_of
from fhir_server.exporting.candidates import Found, behind, find, keep_found
from fhir_server.exporting.cohort import cohort_of, keep_cohort
from fhir_server.exporting.deidentified.binding import check_job
from fhir_server.exporting.deidentified.hiding import exported
from fhir_server.exporting.writing.written import Written
from fhir_server.jobs.work import Plan, Task
from resources.outcomes import Issue, operation_outcome
from resources.store import ResourceStore, Version

WINDOW = 250_000
"""Positions that one part goes through, at most (of all types together: a part holds fewer documents)."""


class Whole(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all parts have in common: the snapshot's position and its instant, microseconds since the epoch; the positions above `after`, up
    to `until` (the window that was asked for), the types, and the file of errors. `cohort`: whether patients are named (`cohort.py`);
    `found`: whether their documents are (`candidates.py`)."""

    position: int
    instant: int
    after: int
    until: int
    types: tuple[str, ...]
    errors: tuple[Written, ...] = ()
    cohort: bool = False
    found: bool = False


class Span(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part: the documents of a type whose current versions lie above position `after`, up to `until`. Those that are there (`live`),
    those that were deleted (`deleted`), the Patients with all that belongs to their records (`record`); or all that records refer to
    outside of them (`supporting`)."""

    type: str
    after: int
    until: int
    kind: Literal["live", "deleted", "record", "supporting"] = "live"


async def plan(task: Task) -> Plan:
    """The spans of an export. Raises FhirError where the Group is not there any more."""
    asked = msgspec.json.decode(task.job.asked, type=Asked)
    check_job(task.ctx.settings, task.who, task.job)
    store = stored(task.ctx)
    position = await store.position()
    newest = await first_after(store, position - 1)
    cohort, notes = await cohort_of(task.ctx, task.who, asked, task.job.created)
    whole = Whole(
        position,
        newest.instant if newest is not None else task.ctx.clock(),
        await position_before(store, asked.since, position) if asked.since else 0,
        await position_before(store, asked.until, position) if asked.until else position,
        tuple(_types(task, asked)),
        await _errors(task, _told(asked, (*asked.notes, *notes))),
        cohort is not None,
    )
    found: Found | None = None
    if cohort is not None:
        await keep_cohort(task, cohort)
        types = ["Patient"] if asked.organized else [type for type in whole.types if of_level(task.ctx, type, asked.level)]
        found = await find(task.ctx, asked, types, cohort, position)
    if found is not None:
        await keep_found(task, found, position)
        whole = msgspec.structs.replace(whole, found=True)
    return Plan(whole, [span async for span in _spans(task.ctx, store, asked, whole, found)])


def _types(task: Task, asked: Asked) -> Iterator[str]:
    """What is exported by now: the caller's access may have changed since the kick-off."""
    decision = task.ctx.decision
    wanted = asked.types if asked.types is not None else types_of(task.ctx, asked.level)
    if asked.provenance and "Provenance" not in wanted:
        wanted = (*wanted, "Provenance")
    for type in wanted:
        seen = (decision is None or decision.covers("s", type)) and exported(asked.deidentified, type)
        if seen and (not asked.organized or (in_compartment(task.ctx, type) and (type != "Group" or asked.types is not None))):
            yield type  # a Group of very many members would come in as many records: only where it is asked for


async def _spans(ctx: Context, store: ResourceStore, asked: Asked, whole: Whole, found: Found | None) -> AsyncIterator[Span]:
    types = [type for type in whole.types if of_level(ctx, type, asked.level)]
    ends = dict(zip(types, await store.newest(types), strict=True))
    if asked.organized:
        [last] = await store.newest(["Patient"])
        for span in _windows("Patient", 0, min(last, whole.position), found):
            yield msgspec.structs.replace(span, kind="record")
    else:
        for type, last in ends.items():
            # what tells of a document may be older than it
            after = 0 if type == "Provenance" and asked.provenance else whole.after
            for span in _windows(type, after, min(last, whole.until), found):
                yield span
    for type, last in ends.items():
        if asked.since and last > whole.after:
            yield Span(type, whole.after, min(last, whole.until), "deleted")
    if asked.level != "system" and not asked.organized and types and not SUPPORTING.isdisjoint(whole.types):
        yield Span("", 0, whole.position, "supporting")


def windows(type: str, after: int, until: int) -> Iterator[Span]:
    """The positions above `after`, up to `until`, in spans of bounded size."""
    for start in range(after, until, WINDOW):
        yield Span(type, start, min(start + WINDOW, until))


def _windows(type: str, after: int, until: int, found: Found | None) -> Iterator[Span]:
    """The same; of documents that are named one, if there are any."""
    if found is None:
        yield from windows(type, after, until)
    elif behind(found, type, after, until):
        yield Span(type, after, until)


def _told(asked: Asked, notes: Sequence[str]) -> list[str]:
    """The sentences of the error file; beside de-identified files nothing of a filter, which may name a person."""
    plain = "A part of _typeFilter could not be applied as it is written"
    return [plain if asked.deidentified and note.startswith("_typeFilter") else note for note in notes]


async def _errors(task: Task, notes: Sequence[str]) -> tuple[Written, ...]:
    """The file that tells what was left out of account, if anything was."""
    if not notes:
        return ()
    lines = [operation_outcome([Issue("warning", "not-supported", text)]) + b"\n" for text in notes]
    name = "OperationOutcome.000000.000.ndjson"
    async with task.files.writing(f"{task.job.id}/{name}", NDJSON) as file:
        await file.write(b"".join(lines))
    return (Written(name, "OperationOutcome", len(lines), sum(map(len, lines))),)


async def first_after(store: ResourceStore, position: int) -> Version | None:
    """The first version above a position."""
    async for versions in store.outbox(after=position, limit=1):
        return versions[0]
    return None


async def position_before(store: ResourceStore, instant: int, until: int) -> int:
    """The last position before the first version of this instant or a later one: instants never go back, so halving finds it."""
    low, high = 0, until
    while low < high:
        middle = (low + high) // 2
        version = await first_after(store, middle)
        if version is None or version.instant >= instant:
            high = middle
        else:
            low = version.position
    return low
