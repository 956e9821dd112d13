"""A search for resources that others contain: `_contained=true` and `both` (https://hl7.org/fhir/R4/search.html#contained).

The index knows which resources contain any of the type. These are read, the latest of each type first, and what they contain is looked at
one by one; no page looks at more than MOST_LOOKED_AT of them. With `both`, resources that stand for themselves come first. Sorted, all
must be looked at for each page.
What may be seen is decided for the resource around: who may see it, may see all of it.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from fhir_server.context import Context
from fhir_server.interactions.answers import present, shorten
from fhir_server.messages import FhirRequest, FhirResult
from fhir_server.rest.query_string import page_links
from fhir_server.searching.answer import told
from fhir_server.searching.asked import Asked
from fhir_server.searching.codes import with_codes
from fhir_server.searching.depending import is_late
from fhir_server.searching.inside_order import Hit, InOrder, Order, best, order_of
from resources.bundles import search_entry, searchset
from resources.documents import decode
from resources.store import Key, Version
from search.contained import Container, Settling, reading
from search.index import Result, TooCostly
from search.match import Document
from search.paging import page_context
from search.query import Clause, Modifier, Parsed, Query, Term
from search.values import TokenValue

MOST_LOOKED_AT = 5_000
"""Containers that are looked at for one page, its total included."""

_BATCH = 100

Place = tuple[object, ...]
"""Where to go on: ("own", the index's cursor …) among resources that stand for themselves; then ("in", matches of the next container
that earlier pages have, the index's cursor …). Sorted: ("by", the `Order` of the last match …)."""

_FIRST: Place = ("in", 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Containers in their order, each with its matches (or none); where they began, and where the next begin (None: there are no more)."""

    found: list[list[Hit]]
    place: Place
    following: Place | None

    @property
    def skipped(self) -> int:
        """The matches of the first container that earlier pages have."""
        return int(str(self.place[1]))


@dataclass(slots=True)
class Page:
    """One page as it fills. `next`: where the page after it begins; `counted`: the matches of all pages, as far as they were seen."""

    size: int
    hits: list[Hit] = field(default_factory=list)
    next: Place | None = None
    counted: int = 0
    whole: bool = True
    notes: list[str] = field(default_factory=list)

    def take(self, batch: Batch) -> tuple[int, int] | None:
        """Count the batch's matches and add those for which there is room. The first that is left out: the number of its container,
        and how many others of this one come before it."""
        left = None
        for number, found in enumerate(batch.found):
            for at in range(batch.skipped if number == 0 else 0, len(found)):
                self.counted += 1
                if self.next is None and len(self.hits) < self.size:
                    self.hits.append(found[at])
                elif self.size and left is None:
                    left = number, at
        return left


async def answer_inside(ctx: Context, request: FhirRequest, asked: Asked) -> FhirResult:
    """200 with a searchset. Raises FhirError 400 for a page link of another search."""
    parsed = asked.first
    applied = urlencode(asked.applied)
    context = page_context(parsed) + f"{parsed.contained} {parsed.parts}".encode()
    around = around_of(ctx, parsed.query)
    late = await is_late(ctx, (parsed.query, *around))
    looking = Looking(ctx, parsed, await with_codes(ctx, parsed.query), around)
    if parsed.cursor is None or not parsed.query.count:
        total, exact, page = await looking.first()
    else:
        told_before, told_exact, *place = ctx.cursors.open(parsed.cursor, context)
        assert (told_before is None or isinstance(told_before, int)) and isinstance(told_exact, bool)
        total, exact, page = told_before, told_exact, await looking.page(tuple(place), parsed.query.count)
    cursor = ctx.cursors.seal((total, exact, *page.next), context) if page.next is not None else None
    notes = replace(parsed, hints=(*parsed.hints, *page.notes))
    entries = [_entry(request.base, parsed, hit) for hit in page.hits]
    entries += told(notes, Result([], None, total, exact, looking.explained()), None, late)
    links = page_links(asked.url, applied, cursor)
    return FhirResult(200, (searchset(entries, links=links, total=total),), told=[hit.version for hit in page.hits])


def _entry(base: str, parsed: Parsed, hit: Hit) -> bytes:
    """The entry of a match; that of a contained resource has the address of what it is in, with its own id as the fragment."""
    version = hit.version
    type, id, body = version.type, version.id, version.body
    if hit.part is not None:
        type, part, body = hit.part
        id = f"{id}#{part}"
    assert body is not None
    return search_entry(base, version.type, id, shorten(type, body, parsed.summary, parsed.elements))


def around_of(ctx: Context, query: Query) -> list[Query]:
    """What finds the resources, of each type, that contain any of the type that is searched for and may be seen."""
    wanted = (Term(TokenValue("", query.type)),)
    parameters = [ctx.parameters.containing(type) for type in ctx.parameters.types]
    return [Query(p.type, (Clause(p, Modifier.NONE, wanted),), query.compartments, allowed=query.allowed) for p in parameters if p]


class Looking:
    """Looks through the containers of one search."""

    def __init__(self, ctx: Context, parsed: Parsed, query: Query, around: list[Query]) -> None:
        self._ctx, self._parsed, self._query = ctx, parsed, query
        self._extractor = reading(query, ctx.extractor)
        self._around = around
        self._looked_at, self._asked = 0, 0

    def explained(self) -> tuple[str, ...]:
        """How the search was done, where that was asked for."""
        if not self._query.explain:
            return ()
        text = f"{self._looked_at} resources that contain others of type {self._query.type} were read, to look at these one by one"
        return (text, f"Searches for what chains out of them lead to: {self._asked}")

    async def first(self) -> tuple[int | None, bool, Page]:
        """The first page, with the total if it is wanted and can be told, and whether that is exact."""
        query, exact = self._query, True
        total: int | None = 0
        counting = query.total != "none" or not query.count
        if query.sort:
            page = await self._sorted(None)
            return page.counted if counting else None, True, page
        page = Page(query.count)
        if self._parsed.contained == "both":
            own = await self._ctx.index.search(replace(query, cursor=None))
            page.hits, page.next = await self._own(own), _own_place(own)
            total, exact = own.total, own.total_exact
            counting = counting and total is not None
        if page.next is None or counting:
            await self._fill(page, _FIRST, counting=counting)
        if not counting:
            return None, True, page
        if not page.whole:
            text = f"The total is not known: more than {MOST_LOOKED_AT} resources contain others of type {query.type}"
            page.notes.append(f"{text}, too many to look at each")
            return None, True, page
        return None if total is None else total + page.counted, exact, page

    async def page(self, place: Place, size: int) -> Page:
        """The page that begins at a place."""
        if place[:1] == ("by",):
            return await self._sorted(place[1:])
        page = Page(size)
        if place[:1] == ("own",):
            own = await self._ctx.index.search(replace(self._query, cursor=place[1:], total="none"))
            page.hits, page.next = await self._own(own), _own_place(own)
            place = _FIRST
        if page.next is None:
            await self._fill(page, place, counting=False)
        return page

    async def _sorted(self, after: Order | None) -> Page:
        """The page after a place. Raises TooCostly where there are too many to be sorted."""
        found = InOrder(self._query.sort, self._query.count, after)
        if self._parsed.contained == "both":
            async for alone in self._all_own():
                found.add(alone)
        async for batch in self._batches(_FIRST):
            found.add(hit for hits in batch.found for hit in hits)
            if batch.following is not None and self._looked_at >= MOST_LOOKED_AT:
                raise _too_many(f"resources contain others of type {self._query.type}")
        hits, last = found.page()
        return Page(self._query.count, hits, ("by", *last) if last is not None else None, found.counted)

    async def _all_own(self) -> AsyncIterator[list[Hit]]:
        """All matches that stand for themselves, in parts."""
        query, seen = replace(self._query, sort=(), count=_BATCH, cursor=None, total="none", explain=False), 0
        while True:
            found = await self._ctx.index.search(query)
            yield [self._alone(version) for version in await present(self._ctx, found.keys)]
            seen += len(found.keys)
            if found.cursor is None:
                return
            if seen >= MOST_LOOKED_AT:
                raise _too_many(f"resources of type {self._query.type} match")
            query = replace(query, cursor=found.cursor)
            await asyncio.sleep(0)

    def _alone(self, version: Version) -> Hit:
        assert version.body is not None
        entry = self._extractor.extract(version.type, decode(version.body))
        document = Document(Key(version.type, version.id), entry, version.instant)
        return Hit(version, None, order_of(self._query.sort, document, document.name))

    async def _own(self, found: Result) -> list[Hit]:
        return [Hit(version) for version in await present(self._ctx, found.keys)]

    async def _fill(self, page: Page, place: Place, *, counting: bool) -> None:
        """Add what containers from a place on have, as far as there is room; look at all of them if they are to be counted."""
        async for batch in self._batches(place):
            left = page.take(batch)
            if left is not None and page.next is None:
                page.next = await self._place(batch, *left)
            if page.next is not None and not counting:
                return
            if batch.following is not None and self._looked_at >= MOST_LOOKED_AT:
                page.whole = False
                if page.next is None and page.size:
                    page.next = batch.following
                    text = f"This page ends early: {self._looked_at} resources that contain others of type {self._query.type}"
                    page.notes.append(f"{text} were looked at for it, and there are more; the next link goes on with them")
                return

    async def _batches(self, place: Place) -> AsyncIterator[Batch]:
        at: Place | None = place
        while at is not None:
            batch = await self._batch(at)
            yield batch
            at = batch.following
            await asyncio.sleep(0)  # others have their turn

    async def _batch(self, place: Place) -> Batch:
        """The next containers, with what matches in them."""
        ctx, query = self._ctx, self._query
        found = await ctx.index.search_in_turn(self._around, count=_BATCH, cursor=place[2:] or None)
        versions = await ctx.store.read_many(found.keys)
        containers = [
            Container(version, self._extractor) if version is not None and version.body is not None else None
            for version in versions
        ]
        there = [container for container in containers if container is not None]
        settling = Settling(ctx.index, ctx.parameters, query, there)
        settled = await settling.settled()
        already = await self._already(there)
        self._looked_at += len(found.keys)
        self._asked += settling.asked
        hits = [self._hits(each, settled, already) if each is not None else [] for each in containers]
        return Batch(hits, place, ("in", 0, *found.cursor) if found.cursor is not None else None)

    def _hits(self, container: Container, settled: Query, already: set[str]) -> list[Hit]:
        version, found, keys = container.version, container.found(settled), settled.sort
        name = f"{version.type}/{version.id}"
        if self._parsed.parts:
            return [
                Hit(version, container.part(number), order_of(keys, document, f"{name}#{document.key.id}"))
                for number, document in found
            ]
        if not found or (version.type == settled.type and version.id in already):
            return []
        return [Hit(version, None, best(keys, [order_of(keys, document, name) for _, document in found]))]

    async def _already(self, containers: list[Container]) -> set[str]:
        """The ids of those that are among the resources that match for themselves, and so in the answer already."""
        ids = [container.version.id for container in containers if container.version.type == self._query.type]
        if self._parsed.contained != "both" or self._parsed.parts or not ids:
            return set()
        clause = Clause(self._ctx.parameters.of(self._query.type)["_id"], Modifier.NONE, tuple([_id(id) for id in ids]))
        query = replace(self._query.with_filter(clauses=(clause,)), count=len(ids), cursor=None, total="none", explain=False)
        return {key.id for key in (await self._ctx.index.search(query)).keys}

    async def _place(self, batch: Batch, number: int, at: int) -> Place | None:
        """The place of a match: in the batch's container of that number, after `at` others of it."""
        if not number:
            return ("in", at, *batch.place[2:])
        before = await self._ctx.index.search_in_turn(self._around, count=number, cursor=batch.place[2:] or None)
        return ("in", at, *before.cursor) if before.cursor is not None else None


def _too_many(of: str) -> TooCostly:
    return TooCostly(f"More than {MOST_LOOKED_AT} {of}, too many to be sorted beside _contained; leave _sort out")


def _own_place(found: Result) -> Place | None:
    return ("own", *found.cursor) if found.cursor is not None else None


def _id(id: str) -> Term:
    return Term(TokenValue("", id))
