"""Indices that an earlier release left behind: deleted once nobody can need them any more.

A release with other mappings or definitions fills indices of its own beside those that it finds (`search.indexes.elastic.layout`). While
servers of the earlier release run, one of them writes its lease every second. So what has another fingerprint is deleted when this
release has everything itself, and the other one's lease has not been touched between two looks that are TURN apart. Whoever goes
back to the earlier release after that has its indices filled from the store again.
"""

import logging
import re
import time

from resources.store import ResourceStore, StoreUnavailable
from search.indexes.elastic.connection import Connection, Refused
from search.indexes.elastic.indices import Indices
from search.indexes.elastic.lease import Lease

log = logging.getLogger(__name__)

TURN = 600.0
"""Seconds between two looks."""


class Leftovers:
    """What other releases left below the same prefix. Only the feeder looks."""

    def __init__(self, store: ResourceStore, connection: Connection, indices: Indices) -> None:
        self._store, self._connection, self._indices = store, connection, indices
        self._mine = indices.layout.fingerprint
        self._ours = re.compile(rf"{indices.layout.prefix}-([0-9a-f]{{8}})(\.feed|-[a-z]+-[0-9a-z]+)")
        self._looked = -TURN
        self._seen: dict[str, tuple[int, int] | None] = {}

    async def look(self) -> None:
        """Where it is time, delete what has been silent since the last look. Called while this release's indices are complete."""
        if time.monotonic() - self._looked < TURN:
            return
        self._looked = time.monotonic()
        try:
            await self._look()
        except (StoreUnavailable, Refused) as failure:  # nothing depends on it, and the next look tries again
            log.warning("indices of an earlier release cannot be deleted now", extra={"failure": str(failure)})

    async def _look(self) -> None:
        found: dict[str, list[str]] = {}
        for name in await self._indices.names():
            match = self._ours.fullmatch(name)
            if match is not None and match[1] != self._mine:
                found.setdefault(match[1], []).append(name)
        before, self._seen = self._seen, {}
        for fingerprint, names in found.items():
            version = await self._version(fingerprint)
            if fingerprint in before and before[fingerprint] == version:
                await self._delete(fingerprint, names)
            else:
                self._seen[fingerprint] = version

    async def _version(self, fingerprint: str) -> tuple[int, int] | None:
        """What changes whenever a feeder of that release renews its lease; None where it has never had one."""
        try:
            return await Lease(self._connection, f"{self._indices.layout.prefix}-{fingerprint}.feed", "feed").version()
        except Refused as refusal:
            if refusal.status != 404:
                raise
            return None

    async def _delete(self, fingerprint: str, names: list[str]) -> None:
        for name in names:
            await self._indices.delete(name)
        for index in (f"elasticsearch-{fingerprint}", f"elasticsearch-{fingerprint}-rebuild"):
            await self._store.confirm(index, None)
        log.info("indices of an earlier release were deleted", extra={"fingerprint": fingerprint, "number": len(names)})
