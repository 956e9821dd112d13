"""The search parameters that SearchParameter resources on this server define, as searches know them (docs/adr/0014).

Each process reads the stored resources at its start, after its own writes at once, and otherwise once a second, and hands what they
define to the index and to whoever reads queries.
"""

import asyncio
import logging
from typing import Any

from fhir_server.searching.definitions import Definitions
from resources.outcomes import Issue
from resources.store import ResourceStore, StoreUnavailable
from search.index import SearchIndex
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.reading.definitions import BadDefinition, read_definition

log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds after which a process knows of a definition that another one took in."""

LONGEST_PAUSE = 5.0
"""Seconds between two rounds while they fail."""


class CustomParameters:
    """Keeps `parameters` (an extensible set) and the index up with the SearchParameter resources in the store."""

    def __init__(self, store: ResourceStore, index: SearchIndex, parameters: Parameters) -> None:
        self._definitions = Definitions(store, parameters.official())
        self._index, self._parameters = index, parameters
        self._lock = asyncio.Lock()
        self._defined: tuple[SearchParameter, ...] = ()
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
            await self._definitions.refresh()
            defined = self._definitions.defined
            if defined != self._defined:
                await self._index.extend(defined)
                self._parameters.extend(defined)
                self._defined = defined

    async def _follow(self) -> None:
        pause = TICK
        while True:
            await asyncio.sleep(pause)
            try:
                await self.refresh()
                pause = TICK
            except StoreUnavailable as failure:  # the next round tries again
                log.warning("search parameters cannot be followed now", extra={"failure": str(failure)})
                pause = min(pause * 2, LONGEST_PAUSE)
            except Exception as failure:  # whatever it is, what is defined from now on must not be missed for good
                log.error("following search parameters failed", exc_info=failure)
                pause = LONGEST_PAUSE
