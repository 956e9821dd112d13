"""The latest documents of each group of equal codes: all matches are looked up, the latest first, and grouped here.

Documents are one group that a third one connects (`search.indexes.latest`), which no aggregation of Elasticsearch knows.
"""

from collections.abc import AsyncIterator
from typing import Any

from resources.store import Key
from search.index import Latest, TooCostly
from search.indexes.elastic.fields import path
from search.indexes.elastic.include import Access
from search.indexes.elastic.terms import Json
from search.indexes.latest import latest_of
from search.parameter import SearchParameter
from search.query import Query

MOST = 100_000
"""Documents that can be grouped: beyond that the search is refused, never cut."""

_PAGE = 10_000

Found = tuple[Key, int, tuple[str, ...]]
"""A document, its date, its codes with their systems."""


async def latest(access: Access, query: Query, found: Json, by: SearchParameter, most: int) -> Latest:
    """See `search.index.SearchIndex.latest`. `found`: what the query's documents must satisfy."""
    documents = [one async for page in _pages(access, query.type, found, f"{path(by)}.t") for one in page]
    return Latest(*latest_of(documents, most))


def check(total: int | None) -> None:
    """Raises TooCostly for more matches than can be grouped."""
    if total is not None and total > MOST:
        raise TooCostly(
            f"{total:,} documents would have to be grouped, {MOST:,} at most can be. Narrow them, for instance by category or date."
        )


async def _pages(access: Access, type: str, found: Json, field: str) -> AsyncIterator[list[Found]]:
    after: list[Any] = []
    while True:
        body: Json = {
            "size": _PAGE,
            "query": found,
            "sort": [{"date": "desc"}, {"id": "desc"}],
            "track_total_hits": False,
            "_source": False,
            "stored_fields": "_none_",
            "docvalue_fields": ["id", "date", field],
            **({"search_after": after} if after else {}),
        }
        (hits,) = await access.ask([(type, body)])
        yield [(Key(type, hit.fields["id"][0]), hit.fields["date"][0], tuple(hit.fields.get(field, ()))) for hit in hits]
        if len(hits) < _PAGE:
            return
        after = [hits[-1].fields["date"][0], hits[-1].fields["id"][0]]
