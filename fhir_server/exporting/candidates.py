"""Where an export is about few patients, the search index tells which documents may be theirs, so that the store need not be gone through.

The index tells of what is now. What was written since the snapshot is added, so that nothing is missing that was theirs then; whose a
document was is decided by its own bytes as of the snapshot, as everywhere. The list is made when the export is planned, and lies in a file
of the job: whoever works on a part has the same one.
"""

import logging
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterable, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from fhir_server.access.views import whole
from fhir_server.context import Context
from fhir_server.exporting.asked import Asked, in_compartment, types_of
from fhir_server.exporting.finding import Since, compartment_query, found_in_turn, provenances_query
from fhir_server.exporting.snapshot import in_pieces
from fhir_server.files.contract import Files
from fhir_server.jobs.breathing import Breath
from fhir_server.jobs.work import Task
from resources.store import Key, StoreUnavailable
from search.index import TooCostly

log = logging.getLogger(__name__)

FEW = 1_000
"""Patients; the records of more are found by going through the store."""

MOST = 50_000
"""Documents that are looked up one by one, at most."""

_PATIENT, _DOCUMENT = 40, 4
"""What it takes to look for a patient's documents, and to look up one of them, where going through a document of the store takes 1
(SQLite: 0.6 ms, 80 and 15 to 20 µs of CPU)."""

_LEAST = 1_000
"""So many are looked up in a small store too."""

_TARGETS = 200

Found = dict[str, list[tuple[int, str]]]
"""Type -> the positions and ids of documents as of the snapshot, in order."""


class _TooMany(Exception):
    """It takes less to go through the store."""


async def find(ctx: Context, asked: Asked, types: Sequence[str], cohort: AbstractSet[str], position: int) -> Found | None:
    """All documents of the types that may be exported, and perhaps others; None where it takes less to go through the store, and where the
    index cannot tell."""
    try:
        keys = await _Search(whole(ctx), asked, cohort, position).keys(types) if len(cohort) <= FEW else None
    except _TooMany:
        return None
    except (StoreUnavailable, TooCostly) as problem:
        log.info("an export goes through the store, for the index does not tell what is exported: %s", problem)
        return None
    return await _placed(whole(ctx), keys, position) if keys is not None else None


class _Search:
    """Looks for the documents of one export. `ctx` sees everything: what the caller may see is decided when documents are read."""

    def __init__(self, ctx: Context, asked: Asked, cohort: AbstractSet[str], position: int) -> None:
        self._ctx, self._asked, self._cohort, self._position = ctx, asked, cohort, position
        self._most = min(MOST, max(_LEAST, (position - _PATIENT * len(cohort)) // _DOCUMENT))
        self._found: dict[Key, None] = {}
        self._breath = Breath(ctx.metrics)

    async def keys(self, types: Sequence[str]) -> list[Key]:
        """Those of the types. Raises _TooMany, StoreUnavailable, TooCostly."""
        self._add(Key("Patient", id) for id in self._cohort)
        if self._asked.organized:  # the rest of a record is looked for when it is written
            return list(self._found)
        related = "Provenance" in types
        # without `includeAssociatedData` come the Provenances of whatever lies in the records
        every = types_of(self._ctx, "patient") if related and not self._asked.provenance else ()
        inside = sorted(
            type for type in {*types, *every} if type not in ("Patient", "Provenance") and in_compartment(self._ctx, type)
        )
        if not await self._ctx.index.caught_up([*inside, *(["Provenance"] if related else [])], self._position):
            raise StoreUnavailable("It has not caught up")
        for id in sorted(self._cohort):
            await self._take(found_in_turn(self._ctx, [compartment_query(self._ctx, type, id) for type in inside]))
        await self._take(Since(self._ctx, inside, self._position).fresh())
        if related:
            await self._provenances()
        return [key for key in self._found if key.type in types]

    async def _provenances(self) -> None:
        names = sorted(f"{key.type}/{key.id}" for key in self._found)
        for start in range(0, len(names), _TARGETS):
            query = provenances_query(self._ctx, names[start : start + _TARGETS], self._asked.base)
            await self._take(found_in_turn(self._ctx, [query]))
        await self._take(Since(self._ctx, ["Provenance"], self._position).fresh())

    async def _take(self, pages: AsyncGenerator[Sequence[Key], None]) -> None:
        async for keys in pages:
            self._add(keys)
            await self._breath.rest()

    def _add(self, keys: Iterable[Key]) -> None:
        self._found.update(dict.fromkeys(keys))
        if len(self._found) > self._most:
            raise _TooMany


async def _placed(ctx: Context, keys: Sequence[Key], position: int) -> Found:
    found: Found = {}
    breath = Breath(ctx.metrics)
    async for versions in in_pieces(ctx.store, sorted(keys, key=lambda key: (key.type, key.id)), position):
        for version in versions:
            found.setdefault(version.type, []).append((version.position, version.id))
        await breath.rest()
    for places in found.values():
        places.sort()
    return found


def behind(found: Found, type: str, after: int, until: int) -> list[Key]:
    """The documents of a type whose positions lie above `after`, up to `until`."""
    places = found.get(type, [])
    start, end = (bisect_right(places, position, key=lambda place: place[0]) for position in (after, until))
    return [Key(type, id) for _, id in places[start:end]]


async def keep_found(task: Task, found: Found, position: int) -> None:
    """Write the file; another plan of the job has another one."""
    async with task.files.writing(_name(task.job.id, position), "application/json") as file:
        await file.write(msgspec.json.encode(found))


async def kept_found(files: Files, job: str, position: int) -> Found:
    """What the file says."""
    return msgspec.json.decode(b"".join([piece async for piece in files.reading(_name(job, position))]), type=Found)


def _name(job: str, position: int) -> str:
    return f"{job}/found-{position}"
