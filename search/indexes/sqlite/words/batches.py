"""Documents read from the store in the order of their commits, a batch at a time: for what is indexed after they were committed."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, TypeVar

import apsw

from resources.store import Version

BATCH = 100
"""Documents of which something is written in one transaction (some 15 ms)."""

T = TypeVar("T")


class Documents(Protocol):
    """What is needed of the store in whose file the index is."""

    async def position(self) -> int:
        """See `resources.store.ResourceStore`."""

    def scan(self, types: Sequence[str], *, until: int, after: int = 0) -> AsyncIterator[list[Version]]:
        """See `resources.store.ResourceStore`."""

    async def alongside(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in a transaction of its own on the file, between commits. Raises StoreUnavailable."""


class Batches:
    """Batches of the live documents of some types. What the store gave beyond a batch is kept for the next one."""

    def __init__(self, store: Documents, types: Sequence[str]) -> None:
        self._store, self._types = store, types
        self._ahead: list[Version] = []
        self._after = -1

    async def after(self, position: int, until: int) -> list[Version]:
        """The next documents after a position as they were at `until` (or at that of an earlier call: what changed since comes again);
        none if there are no more."""
        if not self._ahead or self._after != position:
            self._ahead = await self._next(position, until)
        found, self._ahead = self._ahead[:BATCH], self._ahead[BATCH:]
        self._after = found[-1].position if found else position
        return found

    async def _next(self, position: int, until: int) -> list[Version]:
        async for versions in self._store.scan(self._types, until=until, after=position):
            return versions
        return []
