"""The search index on Elasticsearch, as the rest of the server sees it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from resources.store import Key
from search.index import Included, Latest, Result
from search.indexes.elastic.beside.added import Added
from search.indexes.elastic.beside.asking import Asking, absent
from search.indexes.elastic.beside.latest import check, latest
from search.indexes.elastic.compile import compile_query
from search.indexes.elastic.connection import Connection
from search.indexes.elastic.include import Access, include
from search.indexes.elastic.indices import Indices
from search.indexes.elastic.layout import Layout
from search.indexes.elastic.links import links_of
from search.indexes.elastic.pages import Searcher
from search.parameter import SearchParameter
from search.query import Compartment, Grants, Include, Query, added


def _nobody() -> None:
    """Nobody feeds it from here."""


class ElasticIndex:
    """A `search.index.SearchIndex`. It is fed by whoever follows the store's outbox; documents come in by `writing.Bulk`.

    `follow` is what `caught_up` asks. `lost` is asked about a type that has no index: whether it ought to have one, because there are
    documents of it. `hurry` is called when there is something to do for whoever feeds it. `limit`: the seconds that one search may take.
    """

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        *,
        limit: float = 10.0,
        follow: Callable[[Sequence[str], int | None], Awaitable[bool]] | None = None,
        lost: Callable[[str], Awaitable[bool]] | None = None,
        hurry: Callable[[], None] = _nobody,
    ) -> None:
        self._connection, self._layout, self._limit = connection, layout, limit
        self._follow, self._lost = follow, lost
        self._added, self._hurry = Added(Indices(connection, layout)), hurry

    async def open(self) -> None:
        """Make the client. Elasticsearch need not be there yet."""
        self._connection.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()

    async def extend(self, parameters: Sequence[SearchParameter]) -> None:
        """See `search.index.SearchIndex`. Whoever feeds the index sees the same definitions in the store."""
        self._added.defined = tuple(parameters)

    async def reindex(self) -> list[str]:
        """See `search.index.SearchIndex`."""
        names = await self._added.reset()
        self._hurry()
        return names

    async def search(self, query: Query) -> Result:
        """See `search.index.SearchIndex`."""
        await self._added.gathered(added((query,)))
        return await Searcher(self._asking()).search(query)

    async def search_in_turn(self, queries: Sequence[Query], *, count: int, cursor: tuple[Any, ...] | None = None) -> Result:
        """See `search.index.SearchIndex`."""
        await self._added.gathered(added(queries))
        return await Searcher(self._asking()).in_turn(queries, count=count, cursor=cursor)

    async def latest(self, query: Query, by: SearchParameter, most: int) -> Latest:
        """See `search.index.SearchIndex`."""
        check((await self.search(replace(query, sort=(), count=0, cursor=None, total="accurate"))).total)
        asking = self._asking()
        [links] = await links_of(asking, [query])
        return await latest(Access(asking, (), query.allowed), query, compile_query(query, links), by, most)

    async def include(
        self,
        keys: Sequence[Key],
        includes: Sequence[Include],
        *,
        limit: int,
        compartments: Sequence[Compartment] = (),
        allowed: Grants | None = None,
    ) -> Included:
        """See `search.index.SearchIndex`."""
        await self._added.gathered(added((Query("", allowed=allowed),), includes))
        return await include(self._access(compartments, allowed), keys, includes, limit)

    async def allowed(
        self, keys: Sequence[Key], *, compartments: Sequence[Compartment] = (), allowed: Grants | None = None
    ) -> list[Key]:
        """See `search.index.SearchIndex`."""
        await self._added.gathered(added((Query("", allowed=allowed),)))
        return await self._access(compartments, allowed).within(keys)

    async def caught_up(self, types: Sequence[str], position: int | None = None) -> bool:
        """See `search.index.SearchIndex`."""
        return True if self._follow is None else await self._follow(types, position)

    def _access(self, compartments: Sequence[Compartment], allowed: Grants | None) -> Access:
        return Access(self._asking(), compartments, allowed)

    def _asking(self) -> Asking:
        return Asking(self._connection, self._layout, self._limit, self._appears)

    async def _appears(self, type: str) -> bool:
        """Whether a type whose index was missing has one now; False where there is nothing of it to be found.

        Raises Preparing where the index is still being built after the usual wait.
        """
        if self._lost is None or not await self._lost(type):
            return False
        if not await self.caught_up((type,)):
            raise absent(type)
        return True
