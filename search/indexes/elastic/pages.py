"""One page of a search, and the total.

Pages go on by the sort values of the last document (`search_after`), which end with the document's id and so name one place only. They need
no point in time: a cursor is a link that anybody may follow a week later, on another server; documents that nobody changes keep
their place, so they come exactly once, whatever else is written between two pages.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from resources.outcomes import counted
from resources.store import Key
from search.index import Result
from search.indexes.elastic.beside.asking import PAGE, Answer, Asking, Total
from search.indexes.elastic.beside.chained import chained, compare, places
from search.indexes.elastic.beside.scores import ranked, scores
from search.indexes.elastic.compile import NO_LINKS, Links, compile_query
from search.indexes.elastic.fields import path
from search.indexes.elastic.include import Access
from search.indexes.elastic.links import links_of
from search.indexes.elastic.terms import Json
from search.query import Query, SortKey
from search.text.scoring import SCORE, scored

ESTIMATE = 10_000
"""A total that need not be exact is, up to this many; where there are more, an estimate is this many."""


class Searcher:
    """Asks Elasticsearch, within the limit of one search."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def search(self, query: Query, links: Links | None = None) -> Result:
        """The page that the query asks for. `links`: what its chains lead to, where that is known. Raises TooCostly,
        StoreUnavailable."""
        if links is None:
            [links] = await links_of(self._asking, [query])
        by_others = query.count > 0 and chained(query)
        asked = replace(query, count=0, sort=(), total="accurate") if by_others else query
        answer = await self._asking.one(query.type, request(asked, links))
        rows = await self._by_others(query, links) if by_others else await self._rows(query, links, answer)
        page = rows[: query.count]
        cursor = tuple(page[-1]) if query.count and len(rows) > query.count else None
        total, exact = _total(query, answer.hits.total)
        told = _told(query, links, answer) if query.explain else ()
        return Result([Key(query.type, row[-1]) for row in page], cursor, total, exact, told, scores(query, page))

    async def _rows(self, query: Query, links: Links, answer: Answer) -> Sequence[Sequence[Any]]:
        """The places of the page's documents and of the next one: what an answer cannot hold at once is asked for after it."""
        rows = [hit.sort for hit in answer.hits.hits]
        while len(rows) <= query.count and len(answer.hits.hits) == PAGE:
            rest = replace(query, count=max(query.count - len(rows), 1), cursor=tuple(rows[-1]), total="none")
            answer = await self._asking.one(query.type, request(rest, links))
            rows += [hit.sort for hit in answer.hits.hits]
        return rows

    async def _by_others(self, query: Query, links: Links) -> Sequence[Sequence[Any]]:
        """The places from the cursor on, of a search that sorts by what documents refer to."""
        access = Access(self._asking, (), query.allowed)
        found = await places(access, query, compile_query(query, links))
        after = query.cursor
        return found if after is None else [place for place in found if compare(query.sort, place, after) > 0]

    async def in_turn(
        self,
        queries: Sequence[Query],
        *,
        count: int,
        cursor: tuple[Any, ...] | None,
    ) -> Result:
        """One page of what the queries find, one after the other."""
        number, *place = cursor or (0,)
        keys: list[Key] = []
        for turn, links in (await self._promising(queries, number)).items():
            if len(keys) == count:
                return Result(keys, (turn,), None)
            at = tuple(place) if turn == number and place else None
            page = await self.search(replace(queries[turn], count=count - len(keys), cursor=at, total="none"), links)
            keys += page.keys
            if page.cursor is not None:
                return Result(keys, (turn, *page.cursor), None)
        return Result(keys, None, None)

    async def _promising(self, queries: Sequence[Query], first: int) -> dict[int, Links]:
        """The numbers, from `first` on, of queries that find anything, and what their chains lead to: asked in one request."""
        rest = queries[first:]
        linked = await links_of(self._asking, rest)
        asked = [
            (query.type, {"size": 0, "query": compile_query(query, links), "track_total_hits": 1})
            for query, links in zip(rest, linked, strict=True)
        ]
        found = {}
        answers = await self._asking.many(asked)
        for number, (links, one) in enumerate(zip(linked, answers, strict=True), first):
            if one.hits.total is not None and one.hits.total.value:
                found[number] = links
        return found


def _told(query: Query, links: Links, answer: Answer) -> tuple[str, ...]:
    """How the search was done, for people."""
    steps = [f"Elasticsearch searched {counted(answer.shards.total, 'shard')} of the index of {query.type} in {answer.took} ms."]
    if links:
        steps.insert(0, f"Looked up first: {counted(len(links), 'chain')}; the addresses that were found are a list in the query.")
    if answer.hits.total is not None:
        exactly = "exactly" if answer.hits.total.relation == "eq" else "at least"
        steps.append(
            f"Counted: {exactly} {counted(answer.hits.total.value, 'document')}; read for the page: {len(answer.hits.hits)}."
        )
    by = f"{counted(len(query.sort), 'sort key')}, then " if query.sort else ""
    return (*steps, f"The order is by {by}the date that the type is ordered by and the id.")


def request(query: Query, links: Links = NO_LINKS) -> Json:
    """The body of the request for a page: one document more than it holds, to know whether another follows."""
    found = compile_query(query, links)
    body: Json = {
        "size": min(query.count + 1, PAGE) if query.count else 0,
        "query": ranked(query, found) if query.count and scored(query) else found,
        "track_total_hits": _tracked(query),
        "_source": False,
        "stored_fields": "_none_",
    }
    if query.count:
        body["sort"] = order(query.sort)
        if query.cursor is not None:
            body["search_after"] = query.cursor
    return body


def order(keys: Sequence[SortKey]) -> list[Json]:
    """By the keys, what has no value last; then by date and id in the direction of the first key."""
    made = [_sorted(key) for key in keys]
    way = "asc" if keys and not keys[0].descending else "desc"
    return [*made, {"date": way}, {"id": way}]


def _sorted(key: SortKey) -> Json:
    code, way = key.parameter.stored or key.parameter.code, "desc" if key.descending else "asc"
    if code == SCORE:
        return {"_score": way}
    if code == "_id":
        return {"id": way}
    if code == "_lastUpdated":
        return {"updated": way}
    return {f"{path(key.parameter)}.o": {"order": way, "mode": "max" if key.descending else "min", "missing": "_last"}}


def _tracked(query: Query) -> bool | int:
    if query.total in ("cheap", "estimate"):
        return ESTIMATE
    return query.total == "accurate" or query.count == 0


def _total(query: Query, found: Total | None) -> tuple[int | None, bool]:
    if (query.total == "none" and query.count > 0) or found is None:
        return None, True
    if found.relation == "eq":
        return found.value, True
    return (None, True) if query.total == "cheap" else (min(found.value, ESTIMATE), False)
