"""The search index contract: what can be found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from resources.store import Key
from search.query import Include, Query


@dataclass(frozen=True, slots=True)
class Result:
    """One page. `cursor` is the place to go on from (None: no more), in JSON-able values. `total` is None where none was asked for;
    `total_exact` is False for an estimate."""

    keys: list[Key]
    cursor: tuple[object, ...] | None
    total: int | None
    total_exact: bool = True


@dataclass(frozen=True, slots=True)
class Included:
    """What `_include` and `_revinclude` add to a page. `truncated` tells that the bound was reached (never silently)."""

    keys: list[Key]
    truncated: bool = False


class SearchIndex(Protocol):
    """What every index promises. All methods may raise resources.store.StoreUnavailable; TooCostly where a limit on time is hit."""

    async def open(self) -> None:
        """Make ready to be searched; the store must have been opened before."""

    async def close(self) -> None:
        """Let go of everything."""

    async def search(self, query: Query) -> Result:
        """The page of documents that match, in the order asked for. Sees every write answered before it began."""

    async def count(self, query: Query) -> int:
        """How many documents match, exactly."""

    async def include(self, keys: Sequence[Key], includes: Sequence[Include], *, limit: int) -> Included:
        """The documents that the page's `keys` refer to, or that refer to them; each once, none of `keys` themselves."""

    async def caught_up(self, position: int) -> bool:
        """Wait, bounded, until everything up to `position` can be found; False if the bound passed first."""


class TooCostly(Exception):
    """The search ran into its limit on time or rows; the text says which and what would help. HTTP 400 (`too-costly`)."""
