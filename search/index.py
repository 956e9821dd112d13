"""The search index contract: what can be found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from resources.store import Key, StoreUnavailable
from search.parameter import SearchParameter
from search.query import Compartment, Grants, Include, Query
from search.values import Entry


@dataclass(frozen=True, slots=True)
class Result:
    """One page. `cursor` is the place to go on from (None: no more), in JSON-able values. `total` is None where none was asked for;
    `total_exact` is False for an estimate. `explained`, where `Query.explain` asks, are sentences for people that tell how the search
    was done: what drove it, how many rows were counted and read, what was tested. They quote no values of documents. `scores` are
    those of `keys`, in their order, where the query sorts by `_score`, else empty."""

    keys: list[Key]
    cursor: tuple[object, ...] | None
    total: int | None
    total_exact: bool = True
    explained: tuple[str, ...] = ()
    scores: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Included:
    """What `_include` and `_revinclude` add to a page. `truncated` tells that the bound was reached (never silently)."""

    keys: list[Key]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest documents of each group, and `apart` those without any value, all of them; the latest first."""

    groups: list[list[Key]]
    apart: list[Key]


class SearchIndex(Protocol):
    """What every index promises. All methods may raise resources.store.StoreUnavailable; TooCostly where a limit on time is hit.

    A search sees what the index holds when it begins; whoever must see every write that was answered before calls `caught_up` first.
    """

    async def open(self) -> None:
        """Make ready to be searched; the store must have been opened before."""

    async def close(self) -> None:
        """Let go of everything."""

    async def search(self, query: Query) -> Result:
        """The page of documents that match, in the order asked for. With `count` 0 only their total (exact unless `total` is
        "estimate"; of "cheap" None where counting would take long).

        Without `_sort` by `Entry.date`, the latest first, NO_DATE last; with it by its keys (see `SortKey`), then by `Entry.date` in
        the direction of the first key. What is still equal comes in an order of the index's own that never changes while the
        documents do not, such as by row or by id, so that pages meet without gap or repeat: engines may differ in it.
        """

    async def search_in_turn(self, queries: Sequence[Query], *, count: int, cursor: tuple[object, ...] | None = None) -> Result:
        """One page of `count` (1 or more) of all that the first query finds, then the second, and so on, in one round trip.

        A document that several find comes several times. The queries' own `count`, `cursor` and `total` do not matter; there is no
        total. The queries must be the same for every page.
        """

    async def latest(self, query: Query, by: SearchParameter, most: int) -> Latest:
        """Of all that the query finds, the `most` latest documents by `Entry.date` of each group, and those of the same date as the last.

        Documents that have a value of the token parameter `by` (Observation.code) in common are one group
        (`search.indexes.latest.latest_of`). The query's own `sort`, `count`, `cursor` and `total` do not matter. Raises TooCostly where
        it finds too many.
        """

    async def include(
        self,
        keys: Sequence[Key],
        includes: Sequence[Include],
        *,
        limit: int,
        compartments: Sequence[Compartment] = (),
        allowed: Grants | None = None,
    ) -> Included:
        """The documents that the page's `keys` refer to, or that refer to them; each once, none of `keys` themselves.

        Only those that lie in all `compartments` and for which one of the grants holds, as in a Query; what is left out does not
        count towards `limit`, and includes that iterate go no further from it. `keys` themselves are not checked again.
        """

    async def allowed(
        self, keys: Sequence[Key], *, compartments: Sequence[Compartment] = (), allowed: Grants | None = None
    ) -> list[Key]:
        """Those of `keys`, in their order, whose documents exist, lie in all `compartments`, and for which one of the grants holds."""

    async def extend(self, parameters: Sequence[SearchParameter]) -> None:
        """Have exactly these parameters beside the official ones (`SearchParameter.custom`), and make in the background what they need.

        Searches, includes and grants that look at one whose documents are not indexed yet raise Preparing; others see every write that
        was answered before. Raises StoreUnavailable."""

    async def reindex(self) -> list[str]:
        """Index all documents anew for the parameters that were added, in the background; which these are, as `Type.code`."""

    async def caught_up(self, types: Sequence[str], position: int | None = None) -> bool:
        """Wait, bounded, until searches of these types find every commit up to `position` (None: up to the newest that the store's
        readers see when this is called); False if the bound passed first, and searches may then miss the latest."""


@runtime_checkable
class Deferring(Protocol):
    """What an index promises beside that can be filled in one go after the documents of a first load: one that lives in the store's own
    database. (One outside follows the store anyway.)"""

    async def defer(self, types: Sequence[str], until: int) -> frozenset[str]:
        """Have documents of these types come without being indexed, until then (microseconds since the epoch), or until a later instant
        that is given before; those of the types for which that is so, which have no documents yet or are deferred already. Searches that
        look at them raise Preparing until all is indexed. Raises StoreUnavailable."""

    def later(self, entry: Entry) -> Any:
        """`Change.entry` of a document that need not be indexed with its commit. Where its type is not deferred by then it is."""

    async def indexed(self, types: Sequence[str]) -> None:
        """Have what was deferred of these types indexed in the background. Raises Preparing until that is done, and what the index holds
        was compared with the documents."""


class Preparing(StoreUnavailable):
    """What the search needs is being made; the text says how far that has come. HTTP 503 with Retry-After."""


class TooCostly(Exception):
    """The search ran into its limit on time or rows; the text says which and what would help. HTTP 400 (`too-costly`)."""
