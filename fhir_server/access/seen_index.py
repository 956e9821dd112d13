"""The search index as a caller sees it: every search, include and total is narrowed by what may be found."""

from collections.abc import Sequence
from dataclasses import replace

from fhir_server.access.decision import Reach
from fhir_server.access.refusals import unscored
from fhir_server.access.types import BINARY, OF_AUDITORS
from resources.store import Key
from search.index import Included, Latest, Result, SearchIndex
from search.parameter import SearchParameter
from search.parameters import registry
from search.query import Compartment, Grants, Include, Query, types_of
from search.text.scoring import scored


class SeenIndex:
    """SearchIndex within `reach`: what handlers use of it."""

    def __init__(self, whole: SearchIndex, reach: Reach) -> None:
        self._whole, self._reach = whole, reach

    @property
    def behind(self) -> SearchIndex:
        """What this is a view of: for another view, and for nothing else."""
        return self._whole

    async def search(self, query: Query) -> Result:
        """See SearchIndex.search. Without scores: how rare a word is counts in them, among all documents that there are. Without a count
        of Binaries where some are kept for what stands in for them: no index knows which, and the store leaves them out."""
        found = replace(await self._whole.search(self._narrowed(query)), scores=())
        bound = query.type == BINARY and self._reach.standing_in is not None
        return replace(found, total=None, total_exact=True, explained=()) if bound else found

    async def search_in_turn(self, queries: Sequence[Query], *, count: int, cursor: tuple[object, ...] | None = None) -> Result:
        """See SearchIndex.search_in_turn."""
        return await self._whole.search_in_turn([self._narrowed(query) for query in queries], count=count, cursor=cursor)

    async def latest(self, query: Query, by: SearchParameter, most: int) -> Latest:
        """See SearchIndex.latest."""
        return await self._whole.latest(self._narrowed(query), by, most)

    async def include(
        self,
        keys: Sequence[Key],
        includes: Sequence[Include],
        *,
        limit: int,
        compartments: Sequence[Compartment] = (),
        allowed: Grants | None = None,
    ) -> Included:
        """See SearchIndex.include. `keys` that are out of reach lead nowhere."""
        _only_ours(allowed)
        mine = await self.allowed(keys)
        return await self._whole.include(mine, includes, limit=limit, compartments=compartments, allowed=self._reach.among())

    async def allowed(
        self, keys: Sequence[Key], *, compartments: Sequence[Compartment] = (), allowed: Grants | None = None
    ) -> list[Key]:
        """See SearchIndex.allowed."""
        _only_ours(allowed)
        grants = self._reach.among(dict.fromkeys(key.type for key in keys))
        return await self._whole.allowed(keys, compartments=compartments, allowed=grants)

    async def caught_up(self, types: Sequence[str], position: int | None = None) -> bool:
        """See SearchIndex.caught_up."""
        return await self._whole.caught_up(types, position)

    def _narrowed(self, query: Query) -> Query:
        """The query with the grants of all types that it looks at: its own, and those that its chains and sort keys lead to."""
        _only_ours(query.allowed)
        if scored(query) and not self._all_words():
            raise unscored()
        types = {query.type, *types_of(query.clauses), *(via.target for key in query.sort for via in key.via)}
        return replace(query, allowed=self._reach.among(sorted(types)))

    def _all_words(self) -> bool:
        """Whether everything that has words is within reach."""
        return all(self._reach.whole(type) for type in registry().types if type != OF_AUDITORS)


def _only_ours(allowed: Grants | None) -> None:
    """Two lists of which one grant each must hold are no list of grants (`Query.with_filter`)."""
    if allowed is not None:
        raise ValueError("the caller's decision is given by the view of the index, and by nothing else")
