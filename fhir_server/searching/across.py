"""One page of a search over several types.

Without `_sort` the types come one after the other, each the newest first. Sorted, each type's next documents are merged: what every type
contributed is remembered in the page link, so that pages meet without gap or repeat.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import cmp_to_key
from typing import Any

from fhir_server.context import Context
from fhir_server.searching.asked import check_time
from resources.outcomes import error
from resources.store import Key
from search.index import Result
from search.query import Query, SortKey

MOST_MERGED = 20
"""Types of a search that is sorted across them: each is asked for a page of its own."""

_AT_ONCE = 8
_MOST_TOLD = 20

_DONE = "done"

Place = Any
"""How far a type has been read: None (not at all), _DONE, or the index's cursor as a list."""


async def page_across(ctx: Context, queries: Sequence[Query], cursor: tuple[object, ...] | None, deadline: float) -> Result:
    """The page after `cursor`; without one it has the total, if that is asked for. Raises FhirError 400 where too many are merged, and
    TooCostly where counting goes on beyond `deadline` (of `time.monotonic`)."""
    count = queries[0].count
    result = Result([], None, None)
    if count:
        if queries[0].sort:
            result = await _merged(ctx, queries, count, list(cursor) if cursor else [None] * len(queries))
        else:
            result = await ctx.index.search_in_turn(queries, count=count, cursor=cursor)
    if cursor is None and (queries[0].total != "none" or not count):
        result = await _counted(ctx, queries, result, deadline)
    return result


async def _counted(ctx: Context, queries: Sequence[Query], result: Result, deadline: float) -> Result:
    """The result with the sum of what the queries find (None where one is not counted), whether it is exact, and how each was counted if
    that was asked for."""
    exact, told = True, list[str]()
    total: int | None = 0
    counting = [
        replace(query, count=0, cursor=None, total="accurate" if query.total == "none" else query.total) for query in queries
    ]
    for start in range(0, len(counting), _AT_ONCE):
        await asyncio.sleep(0)
        check_time(ctx, deadline)
        part = counting[start : start + _AT_ONCE]
        for query, found in zip(part, await asyncio.gather(*(ctx.index.search(each) for each in part)), strict=True):
            total = total + found.total if total is not None and found.total is not None else None
            exact = exact and found.total_exact
            if found.explained and len(told) < _MOST_TOLD:
                told.append(f"{query.type}: {'; '.join(found.explained)}")
        if total is None:
            break
    return replace(result, total=total, total_exact=exact, explained=tuple(told))


async def _merged(ctx: Context, queries: Sequence[Query], count: int, places: list[Place]) -> Result:
    if len(queries) > MOST_MERGED:
        text = f"At most {MOST_MERGED} types can be sorted together; name them with _type, or leave _sort out"
        raise error(400, "too-costly", text, "_sort")
    pages = await asyncio.gather(*(_next(ctx, query, count, place) for query, place in zip(queries, places, strict=True)))
    taken = await _merge(ctx, queries[0].sort, pages, count)
    used = [sum(number == turn for turn, _ in taken) for number in range(len(queries))]
    following = [
        await _place(ctx, query, place, page, n) for query, place, page, n in zip(queries, places, pages, used, strict=True)
    ]
    more = any(place != _DONE for place in following)
    return Result([key for _, key in taken], tuple(following) if more else None, None)


async def _next(ctx: Context, query: Query, count: int, place: Place) -> Result:
    if place == _DONE:
        return Result([], None, None)
    return await ctx.index.search(replace(query, count=count, cursor=tuple(place) if place else None, total="none"))


async def _place(ctx: Context, query: Query, place: Place, page: Result, used: int) -> Place:
    """Where a type goes on after `used` documents of its page."""
    if used < len(page.keys):
        if not used:
            return place
        page = await _next(ctx, query, used, place)
    return list(page.cursor) if page.cursor is not None else _DONE


async def _merge(ctx: Context, sort: Sequence[SortKey], pages: Sequence[Result], count: int) -> list[tuple[int, Key]]:
    """The first `count` of all pages as (number of the page, key); each page's own order stays as it is."""
    keys = [key for page in pages for key in page.keys]
    updated = {key: 0 for key in keys}
    if any(key.parameter.code == "_lastUpdated" for key in sort):
        for key, version in zip(keys, await ctx.store.read_many(keys), strict=True):
            updated[key] = version.instant if version is not None else 0

    def compare(a: Key, b: Key) -> int:
        return _compare(sort, updated, a, b)

    order = cmp_to_key(compare)
    heads, found = [0] * len(pages), list[tuple[int, Key]]()
    while len(found) < count:
        open_pages = [number for number, page in enumerate(pages) if heads[number] < len(page.keys)]
        if not open_pages:
            break
        first = min(open_pages, key=lambda number: order(pages[number].keys[heads[number]]))
        found.append((first, pages[first].keys[heads[first]]))
        heads[first] += 1
    return found


def _compare(sort: Sequence[SortKey], updated: dict[Key, int], a: Key, b: Key) -> int:
    for key in sort:
        x: Any = a.id if key.parameter.code == "_id" else updated[a]
        y: Any = b.id if key.parameter.code == "_id" else updated[b]
        if x != y:
            return -1 if (x < y) is not key.descending else 1
    return 0
