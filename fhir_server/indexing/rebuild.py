"""Indices built anew beside the live ones, which answer all searches meanwhile, and then put in their place."""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from fhir_server.indexing.added import Added
from fhir_server.indexing.builds import fill
from fhir_server.indexing.writer import Writer
from resources.store import ResourceStore, StoreUnavailable
from search.indexes.elastic.indices import Indices
from search.indexes.elastic.lease import Lease

TURN = 60.0
"""Seconds after which it is given up to wait for the feeder to make room."""

Watch = Callable[[str, int], None]
"""Told how many documents of a type have been written since the last time."""


class Rebuild:
    """A rebuild of the indices of some types. What ended half-way is gone on with by the next one.

    The position of the snapshot is kept in the store, under a name of its own (`ResourceStore.confirm`), until nothing is left unfinished:
    every index of it is followed from there, whichever types a run was asked for. What rebuilds of other snapshots left is stale, and
    deleted. The live feed goes on until the new indices lack next to nothing; then it makes room for the moment in which the rest is
    written and the aliases are switched, so that no search ever sees less than it would have before.
    """

    def __init__(self, store: ResourceStore, indices: Indices, writer: Writer, added: Added, turn: Lease, feed: Lease) -> None:
        self._store, self._indices, self._writer, self._added = store, indices, writer, added
        self._turn, self._feed = turn, feed
        self._name = f"elasticsearch-{indices.layout.fingerprint}-rebuild"

    async def run(self, types: Sequence[str], *, watch: Watch) -> int:
        """Rebuild; returns how many documents were set aside. Raises StoreUnavailable."""
        before = self._writer.set_aside
        began, unfinished = await self._begin()
        made = {}
        await self._added.learn()
        for type in types:
            made[type] = unfinished.get(type) or await self._added.make(type, until=began)
            await fill(self._store, self._indices, self._writer, type, made[type], noted=True, watch=partial(watch, type))
        done = await self._follow(began, made)
        await self._take_turn()
        try:
            await self._follow(done, made)
            for index in made.values():
                await self._indices.refresh_index(index)
            await self._indices.expose(made)
        finally:
            await self._turn.release()
            await self._feed.release()
        if not any(begun.until == began for begun in await self._indices.unfinished()):
            await self._store.confirm(self._name, None)
        return self._writer.set_aside - before

    async def _begin(self) -> tuple[int, dict[str, str]]:
        """The snapshot's position, and what has been filled from it already: type -> index."""
        began = await self._store.confirmed(self._name)
        unfinished = {}
        for begun in await self._indices.unfinished():
            if begun.until == began and begun.type not in unfinished:
                unfinished[begun.type] = begun.index
            else:
                await self._indices.delete(begun.index)
        if not unfinished:
            began = await self._store.position()
            await self._store.confirm(self._name, None)
            await self._store.confirm(self._name, began)
        return began, unfinished

    async def _follow(self, after: int, made: dict[str, str]) -> int:
        """Apply what was written since; returns how far it got."""
        position = await self._store.position()
        async for versions in self._store.outbox(after=after):
            for type, index in made.items():
                await self._writer.write([version for version in versions if version.type == type], index=index)
            after = versions[-1].position
            for lease in (self._turn, self._feed):
                if lease.held:
                    await lease.hold()
            if after >= position:
                break
        return after

    async def _take_turn(self) -> None:
        """Have the feeder stop, whichever process it is in. Raises StoreUnavailable where it does not."""
        deadline = time.monotonic() + TURN
        while not await self._turn.hold() or not await self._feed.hold():
            if time.monotonic() > deadline:
                await self._turn.release()
                raise StoreUnavailable("The process that feeds the search index made no room for the new indices; try again.")
            await asyncio.sleep(0.2)
