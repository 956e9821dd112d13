"""Where a run concerns few patients, the search index tells which documents there are, so that the whole store need not be gone through."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet

from fhir_server.context import Context
from fhir_server.exporting.asked import in_compartment
from fhir_server.exporting.finding import Since, compartment_query, found_in_turn
from fhir_server.exporting.snapshot import at_position
from fhir_server.searching.depending import is_late
from resources.store import Key, Version
from search.query import Query

FEW_PATIENTS = 100
"""More are looked for by going through the store."""

MOST_KEYS = 50_000
"""Documents that are looked up one by one, at most."""

_AT_ONCE = 500


async def keys_of(ctx: Context, type: str, cohort: AbstractSet[str] | None, position: int) -> list[Key] | None:
    """All documents of a type that may be theirs at a position of the store, and perhaps others; None where it is better to go through the
    store: for many patients, or much, and where the index has not caught up. `ctx` is the caller's: without a `cohort` those patients
    count whose records they may see."""
    queries = _queries(ctx, type, cohort)
    if queries is None or await is_late(ctx, queries, position=position):
        return None
    found: dict[Key, None] = {}
    for pages in (found_in_turn(ctx, queries), Since(ctx, (type,), position).fresh()):
        async for keys in pages:
            found.update(dict.fromkeys(keys))
            if len(found) > MOST_KEYS:
                return None
    return list(found)


def _queries(ctx: Context, type: str, cohort: AbstractSet[str] | None) -> list[Query] | None:
    if cohort is None:
        reach = ctx.decision.search if ctx.decision is not None else None
        grants = reach.of(type) if reach is not None else ()
        few = 0 < len(grants) <= FEW_PATIENTS and all(grant.compartment is not None and not grant.free for grant in grants)
        return [Query(type, total="none")] if few else None
    if len(cohort) > FEW_PATIENTS or not in_compartment(ctx, type):
        return None
    return [compartment_query(ctx, type, id) for id in sorted(cohort)]


async def versions_of(ctx: Context, keys: Sequence[Key], position: int) -> AsyncGenerator[list[Version], None]:
    """These documents as the caller might see them at a position, some hundreds at a time, in the order in which they were written."""
    places: list[tuple[int, Key]] = []
    for some in _several(keys):
        places += [(each.position, Key(each.type, each.id)) for each in await at_position(ctx.store, some, position)]
        await asyncio.sleep(0)
    places.sort()
    for some in _several([key for _, key in places]):
        yield await at_position(ctx.store, some, position)


def _several(keys: Sequence[Key]) -> list[Sequence[Key]]:
    return [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]
