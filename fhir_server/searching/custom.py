"""The search parameters that SearchParameter resources on this server define, followed as these change (docs/adr/0014).

The stored resources are all that counts: each process reads them at its start, after its own writes at once, and otherwise once a
second, and hands what they define to the index and to whoever reads queries.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from resources.documents import decode
from resources.outcomes import Issue
from resources.store import Key, ResourceStore, StoreUnavailable
from search.index import Extensible
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.reading.definitions import BadDefinition, read_definition

log = logging.getLogger(__name__)

TYPE = "SearchParameter"

TICK = 1.0
"""Seconds after which a process knows of a definition that another one took in."""


def refused(document: dict[str, Any], parameters: Parameters) -> list[Issue]:
    """Why a SearchParameter resource cannot be stored where search is in an engine that takes no parameters beside the official ones:
    it defines one, and nobody could search by it. Drafts and the official definitions are no reason."""
    try:
        if not read_definition(document, parameters):
            return []
    except BadDefinition as bad:
        return bad.issues
    where = "They work on the embedded engine; with status draft the definition can be stored here"
    text = f"No search parameters can be added where search is in Elasticsearch, or all data in memory. {where}"
    return [Issue("error", "not-supported", text, "SearchParameter.status")]


class CustomParameters:
    """Keeps `parameters` (an extensible set) and the index up with the SearchParameter resources in the store."""

    def __init__(self, store: ResourceStore, index: Extensible, parameters: Parameters) -> None:
        self._store, self._index, self._parameters = store, index, parameters
        self._known: dict[str, dict[str, Any]] = {}
        self._position = 0
        self._defined: tuple[SearchParameter, ...] = ()
        self._lock = asyncio.Lock()
        self._rounds: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what is there, and begin to follow. Raises StoreUnavailable."""
        await self.refresh()
        self._rounds = asyncio.get_running_loop().create_task(self._follow())

    async def stop(self) -> None:
        """Follow no longer."""
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait([self._rounds])

    @property
    def defined(self) -> tuple[SearchParameter, ...]:
        """The parameters that can be searched by, in the order of their types and codes."""
        return self._defined

    def check(self, document: dict[str, Any]) -> list[Issue]:
        """Why a SearchParameter resource that is to be stored cannot work, if it cannot."""
        try:
            read_definition(document, self._parameters)
        except BadDefinition as bad:
            return bad.issues
        return []

    async def reindex(self) -> list[str]:
        """Index everything anew for these parameters, in the background; which they are, as `Type.code`."""
        return await self._index.reindex()

    async def refresh(self) -> None:
        """Take in what was committed until now."""
        async with self._lock:
            until = await self._store.position()
            if until == self._position:
                return
            changed = await self._read(until)
            self._position = until
            if changed:
                await self._take_over()

    async def _read(self, until: int) -> bool:
        """Whether any SearchParameter came, changed or went since the last time."""
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
        return changed

    async def _take_over(self) -> None:
        """Hand on what the resources define; of two that define the same, the one with the smaller id counts."""
        found: dict[tuple[str, str], SearchParameter] = {}
        official = self._parameters.official()
        for id in sorted(self._known):
            try:
                for parameter in read_definition(self._known[id], official):
                    found.setdefault((parameter.type, parameter.code), parameter)
            except BadDefinition as bad:
                log.warning("SearchParameter/%s, stored before it was checked, cannot be used: %s", id, bad)
        defined = tuple(found[key] for key in sorted(found))
        if defined != self._defined:
            await self._index.extend(defined)
            self._parameters.extend(defined)
            self._defined = defined

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            with suppress(StoreUnavailable):  # the next round tries again
                await self.refresh()
