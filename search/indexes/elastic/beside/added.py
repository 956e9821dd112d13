"""Parameters that were added to this server: whether the index has all documents' values of them (docs/adr/0014).

Every index notes for itself how far it has each of them (`Indices.note_added`), so what is noted goes where the documents go. Whoever
feeds the index keeps these notes; everybody else only reads them.
"""

import asyncio
import time
from collections.abc import Iterable

from search.index import Preparing
from search.indexes.elastic.indices import Indices, Scan
from search.parameter import SearchParameter

WAIT = 2.0
"""Seconds that a search waits for values to be gathered."""

_LOOK = 0.05


class Added:
    """What there is of the parameters in `defined`."""

    def __init__(self, indices: Indices) -> None:
        self._indices = indices
        self.defined: tuple[SearchParameter, ...] = ()

    async def gathered(self, wanted: Iterable[SearchParameter]) -> None:
        """Return once searches by these parameters find everything that was there before they were added. Raises Preparing where that
        takes too long, StoreUnavailable."""
        deadline = time.monotonic() + WAIT
        for parameter in wanted:
            while (scan := await self._scan(parameter)) is not None and not scan.complete:
                if time.monotonic() > deadline:
                    raise Preparing(_told(parameter, scan))
                await asyncio.sleep(_LOOK)

    async def reset(self) -> list[str]:
        """Have all values gathered anew; which parameters that concerns, as `Type.code`."""
        for type in dict.fromkeys(parameter.type for parameter in self.defined):
            for name, scan in (await self._indices.all_noted(self._indices.layout.alias(type))).items():
                await self._indices.note_added(name, dict.fromkeys(scan.added, Scan()))
        return [f"{parameter.type}.{parameter.code}" for parameter in self.defined]

    async def _scan(self, parameter: SearchParameter) -> Scan | None:
        """How far the values have been gathered; None where the type has no index, and so no documents or an index to come, which will
        have them."""
        found = await self._indices.all_noted(self._indices.layout.alias(parameter.type))
        return next((scan.added.get(parameter.stored, Scan()) for scan in found.values()), None)


def _told(parameter: SearchParameter, scan: Scan) -> str:
    share = f": {100 * scan.scanned // scan.until} % are done" if scan.until else ""
    name = f"the search parameter {parameter.code} of {parameter.type}"
    return f"The documents are being indexed for {name}{share}. Send the request again in a moment."
