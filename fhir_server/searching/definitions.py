"""What the SearchParameter resources in a store define, followed as these change (docs/adr/0014)."""

import asyncio
import logging
from typing import Any

from resources.documents import decode
from resources.store import Key, ResourceStore
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.reading.definitions import BadDefinition, read_definition

log = logging.getLogger(__name__)

TYPE = "SearchParameter"


class Definitions:
    """The search parameters that the resources in `store` define beside the `official` ones. The resources are all that counts."""

    def __init__(self, store: ResourceStore, official: Parameters) -> None:
        self._store, self._official = store, official
        self._known: dict[str, dict[str, Any]] = {}
        self._position = 0
        self._lock = asyncio.Lock()
        self._unusable: frozenset[str] = frozenset()
        self.defined: tuple[SearchParameter, ...] = ()

    async def refresh(self) -> bool:
        """Take in what was committed until now; whether `defined`, in the order of types and codes, has changed. Raises
        StoreUnavailable."""
        async with self._lock:
            [newest] = await self._store.newest((TYPE,))
            changed = newest > self._position and await self._read(await self._store.position())
            before, self.defined = self.defined, self._define() if changed else self.defined
            return before != self.defined

    async def _read(self, until: int) -> bool:
        """Whether any SearchParameter came, changed or went since the last time, up to a position."""
        changed = False
        async for versions in self._store.scan((TYPE,), until=until, after=self._position):
            for version in versions:
                self._known[version.id] = decode(version.body or b"{}")
                changed = True
        ids = list(self._known)
        for id, there in zip(ids, await self._store.read_many([Key(TYPE, id) for id in ids]), strict=True):
            if there is None or there.body is None:
                del self._known[id]
                changed = True
        self._position = until
        return changed

    def _define(self) -> tuple[SearchParameter, ...]:
        """Of two that define the same, the one with the smaller id counts. One that cannot be used, stored by a release that did not
        ask for as much, does nothing."""
        found: dict[tuple[str, str], SearchParameter] = {}
        unusable = set[str]()
        for id in sorted(self._known):
            try:
                for parameter in read_definition(self._known[id], self._official):
                    found.setdefault((parameter.type, parameter.code), parameter)
            except BadDefinition:
                unusable.add(id)
        for id in sorted(unusable - self._unusable):
            # Reasons quote contents: they are in the answer to whoever stores the resource once more.
            text = "a stored search parameter cannot be used; store it again to be told why"
            log.warning(text, extra={"definition": f"{TYPE}/{id}"})
        self._unusable = frozenset(unusable)
        return tuple(found[key] for key in sorted(found))
