"""Look-ups in the store that are shared by those who ask at the same time."""

import asyncio
from collections.abc import Sequence

from resources.store import ResourceStore


class Looks:
    """Asks the store for the newest positions of types: once for all who come while another answer is under way.

    Nobody is told an answer that was asked for before he came, so whatever was written before he came is in it.
    """

    def __init__(self, store: ResourceStore) -> None:
        self._store = store
        self._running: asyncio.Task[dict[str, int]] | None = None
        self._next: asyncio.Task[dict[str, int]] | None = None
        self._asked: set[str] = set()
        self._last: dict[str, int] = {}

    def none(self, type: str) -> bool:
        """Whether there was nothing of the type when it was last looked at."""
        return self._last.get(type) == 0

    async def newest(self, types: Sequence[str]) -> dict[str, int]:
        """The newest position of each type. Raises StoreUnavailable."""
        self._asked.update(types)
        if self._next is None:
            self._next = asyncio.create_task(self._look(self._running))
        return await asyncio.shield(self._next)

    async def _look(self, before: asyncio.Task[dict[str, int]] | None) -> dict[str, int]:
        """One look, after the one before has ended."""
        if before is not None and not before.done():
            await asyncio.wait([before])
        types, self._asked = list(self._asked), set()
        self._running, self._next = self._next, None
        found = dict(zip(types, await self._store.newest(types), strict=True))
        self._last |= found
        return found
