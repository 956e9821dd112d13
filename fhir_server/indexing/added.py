"""Parameters that were added to this server, in an index that is fed: it learns of them, and of the documents that were there before.

The feeder meets a definition in the outbox before whatever was written after it. From then on all that is written brings its values;
what was there is written once more, with the positions that it has. Each index notes how far that has come
(`Indices.note_added`), so it goes on wherever it was interrupted, and searches wait for its end.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from fhir_server.indexing.writer import Writer
from fhir_server.searching.definitions import TYPE, Definitions
from resources.store import ResourceStore, StoreUnavailable, Version
from search.indexes.elastic.connection import Denied, Refused
from search.indexes.elastic.indices import Indices, Scan, State
from search.parameter import SearchParameter

log = logging.getLogger(__name__)

NOTED = 4
"""Lists of the store's scan after which it is noted how far the documents of a type have been written anew."""


class Added:
    """Has the writer and all indices follow the definitions. Only the feeder changes what the indices note."""

    def __init__(self, store: ResourceStore, indices: Indices, writer: Writer) -> None:
        self._store, self._indices, self._writer = store, indices, writer
        self._definitions = Definitions(store, indices.layout.parameters)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._owed: dict[str, frozenset[str]] = {}
        """Index -> parameters that were given up while it could not note that: what it notes of them holds no longer."""
        self.changing = asyncio.Lock()
        """Held while the definitions change, or what the indices note of them."""

    @property
    def any(self) -> bool:
        """Whether there are parameters that were added, or an index still has to note that there are none."""
        return bool(self._definitions.defined or self._writer.added or self._owed)

    def of(self, type: str) -> list[SearchParameter]:
        """The parameters that were added to the type, whose values every document brings that is written."""
        return [parameter for parameter in self._writer.added if parameter.type == type]

    async def make(self, type: str, *, until: int = 0) -> str:
        """A new index of the type; its name. The feed writes to it from now on, unless it is to be filled from a snapshot (`until`)."""
        async with self.changing:
            index = await self._indices.create(type, until=until, added=self.of(type))
            if until:
                return index
            await self._indices.feed_into(type, index)  # once it is ready: writing to it any sooner would hold up all that is fed
            return index

    async def learn(self) -> bool:
        """Write by the newest definitions too from now on; whether there are new ones. What was given up is written on: only the feeder
        may leave it out, once the indices have noted that they lack it."""
        async with self.changing:
            await self._definitions.refresh()
            return self._know((*self._writer.added, *self._definitions.defined))

    def _know(self, parameters: Iterable[SearchParameter]) -> bool:
        before = self._writer.added
        now = tuple({parameter.stored: parameter for parameter in parameters}.values())
        if now != before:
            self._writer.know(now)
        return not set(now) <= set(before)

    async def meet(self, versions: Iterable[Version]) -> None:
        """Before the feeder writes these: have the indices and the writer know of the definitions among them."""
        if any(version.type == TYPE for version in versions):
            await self.follow()

    async def follow(self) -> None:
        """Have the indices note the newest definitions, and then write by them. What an index lacks is written in the background."""
        async with self.changing:
            await self._definitions.refresh()
            scans = await self._indices.all_noted(f"{self._indices.layout.root}-*")
            self._owed = {index: codes for index, codes in self._owed.items() if index in scans}
            for index, scan in scans.items():
                type = self._indices.layout.type_of(index.rpartition("-")[0])
                if type is not None:
                    await self._note(index, scan, [p for p in self._definitions.defined if p.type == type])
            owed = frozenset[str]().union(*self._owed.values())
            self._know((*(p for p in self._writer.added if p.stored in owed), *self._definitions.defined))
        states = await self._indices.states()
        for type in {parameter.type for parameter in self._definitions.defined}:
            live = states.get(type, State()).live
            running = self._tasks.get(type)
            if live is not None and (running is None or running.done()):
                self._tasks[type] = asyncio.create_task(self._gather(type, live), name=f"values for parameters added to {type}")

    async def _note(self, index: str, scan: Scan, wanted: Sequence[SearchParameter]) -> None:
        """Note in an index which parameters there are now. What it has of others is forgotten: it is not kept up any longer. Where it
        takes no note, this is tried again; one that is defined again by then has all its values gathered anew."""
        owed = self._owed.get(index, frozenset())
        if {parameter.stored for parameter in wanted} == scan.added.keys() and not owed:
            return
        new = Scan(await self._store.position())
        kept = {stored: reached for stored, reached in scan.added.items() if stored not in owed}
        added = {parameter.stored: kept.get(parameter.stored, new) for parameter in wanted}
        try:
            await self._indices.note_added(index, added, wanted)
            self._owed.pop(index, None)
        except (Refused, Denied) as failure:  # the others must not wait; searches by its parameters say that they are being set up
            log.error("an index cannot learn of added search parameters", extra={"index": index, "failure": str(failure)})
            if given_up := owed | (scan.added.keys() - added.keys()):
                self._owed[index] = given_up

    async def stop(self) -> None:
        """Write nothing anew any longer."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    async def _gather(self, type: str, index: str) -> None:
        try:
            while missing := await self._missing(index):
                await self._write_anew(type, index, missing)
        except (StoreUnavailable, Refused) as failure:  # the next inspection begins where this ended
            log.warning("values for added search parameters cannot be written now", extra={"failure": str(failure)})

    async def _missing(self, index: str) -> dict[str, Scan]:
        added = (await self._indices.noted(index)).added
        return {stored: scan for stored, scan in added.items() if not scan.complete}

    async def _write_anew(self, type: str, index: str, missing: Mapping[str, Scan]) -> None:
        """Write all documents of the type as they were when this began, or go on with that."""
        reached = {(scan.until, scan.scanned) for scan in missing.values()}
        scan = Scan(*reached.pop()) if len(reached) == 1 else Scan()
        if not scan.until:
            scan = Scan(await self._store.position())
            await self._advance(index, missing, scan, begin=True)
        number = 0
        async for versions in self._store.scan([type], until=scan.until, after=scan.scanned):
            await self.write(versions)
            number += 1
            scan = Scan(scan.until, versions[-1].position)
            if number % NOTED == 0 and not await self._advance(index, missing, scan):
                return
        await self._indices.refresh_index(index)
        await self._advance(index, missing, Scan(scan.until, scan.until, complete=True))

    async def write(self, versions: Sequence[Version], *, version: int | None = None) -> int:
        """Write these versions over what the index has, by definitions that are the newest when it is done; returns how many were set
        aside."""
        while True:
            aside = await self._writer.write(versions, version=version)
            if not await self.learn():
                return aside

    async def _advance(self, index: str, stored: Collection[str], scan: Scan, *, begin: bool = False) -> bool:
        """Note how far these have come, but for those that were given up or begun anew meanwhile; whether there are none of them."""
        async with self.changing:
            added = (await self._indices.noted(index)).added
            mine = [code for code in stored if code in added and (begin or added[code].until == scan.until)]
            await self._indices.note_added(index, {**added, **dict.fromkeys(mine, scan)})
            return len(mine) == len(stored)
