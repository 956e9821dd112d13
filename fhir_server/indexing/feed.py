"""The feed: the store's outbox followed into the search index, and searches that wait for it.

Every server process has one; a lease makes one of them the feeder (`Lease`), the others stand by. All of it may happen twice: the index
keeps the version with the higher position, whichever is sent first or again.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from fhir_server.indexing.added import Added
from fhir_server.indexing.builds import build
from fhir_server.indexing.gauges import gauges
from fhir_server.indexing.held import Held
from fhir_server.indexing.leftovers import Leftovers
from fhir_server.indexing.looks import Looks
from fhir_server.indexing.rebuild import Rebuild
from fhir_server.indexing.verify import Comparison
from fhir_server.indexing.writer import Blocked, Writer
from resources.store import Key, ResourceStore, StoreUnavailable, Version
from search.extract import Extractor
from search.indexes.elastic.asides import Asides
from search.indexes.elastic.beside.bases import NotedBases
from search.indexes.elastic.connection import Connection, Denied, Refused
from search.indexes.elastic.indices import Indices
from search.indexes.elastic.layout import Layout
from search.indexes.elastic.lease import Lease
from search.indexes.elastic.writing import Bulk

log = logging.getLogger(__name__)

SHORTLY = 0.05
"""Seconds after which the feeder writes what this process has committed, together with what else has come by then, and between two looks
for what other processes have committed, where there are any. Who waits in this process wakes the feeder at once."""

ALONE = 0.5
"""Seconds between two looks where no other process has its searches wait for this feeder."""

STANDING_BY = 0.5
"""Seconds between two looks whether the feeder of another process is still there."""

COMPANY = 1.0
"""Seconds between two looks whether other processes stand by."""

PATIENCE = 0.01
"""Seconds between two looks at how far the feeder of another process has come."""

INSPECTION = 5.0
"""Seconds between two looks whether all indices are still there."""

HICCUP = 2.0
"""Seconds without success after which whoever waits is told that the index cannot be reached. Elasticsearch refuses much for a moment
while it makes an index or a node comes back."""

LONGEST_PAUSE = 5.0
"""Seconds between two attempts when the index cannot be reached, at most."""

GROUP = 500
"""Versions written at a time."""

TURN = 0.5
"""Seconds after which the feeder, while it writes what was held up of a type, looks after the others."""

SUSPICION = 0.2
"""Seconds after which who waits for the feeder of another process looks whether an index is blocked."""


class Feed:
    """Feeds one index from one store. `wait`: the seconds that `caught_up` waits at most."""

    def __init__(
        self, store: ResourceStore, connection: Connection, layout: Layout, extractor: Extractor, *, wait: float = 5.0
    ) -> None:
        self._store, self.layout, self._wait, self._connection = store, layout, wait, connection
        self.name = f"elasticsearch-{layout.fingerprint}"
        self.indices = Indices(connection, layout)
        self.asides = Asides(connection, layout.feed)
        self.writer = Writer(Bulk(connection, layout), extractor, self.asides, self._start_build)
        self.bases = NotedBases(connection, layout.feed, extractor.bases)
        self.added = Added(store, self.indices, self.writer)
        self._lease = Lease(connection, layout.feed, "feed")
        self._turn = Lease(connection, layout.feed, "turn")
        self._standby = Lease(connection, layout.feed, "standby")
        self._held, self._told = (Held(connection, layout.feed, store.position) for _ in range(2))  # as feeder; by another one
        self._looks = Looks(store)
        self._leftovers = Leftovers(store, connection, self.indices)
        self._builds: dict[str, asyncio.Task[None]] = {}
        self._again: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake, self._moved = asyncio.Event(), asyncio.Event()
        self._leading, self.failing, self._feeding = False, False, True
        self._failure: Exception | None = None
        self._well, self._failures = time.monotonic(), 0
        self._done, self._inspected = 0, 0.0
        self._company, self._counted = True, 0.0
        self._soon: asyncio.TimerHandle | None = None
        self._known: set[str] = set()
        self._refreshed: dict[str, int] = {}
        self._refreshes: dict[str, asyncio.Task[bool]] = {}
        self._absent: dict[str, float] = {}

    # -- feeding

    def start(self, *, feeding: bool = True) -> None:
        """Begin to feed, or to stand by; without `feeding` it is always left to other processes."""
        self._feeding = feeding
        self._task = asyncio.create_task(self._run(), name="feed of the search index")

    async def stop(self) -> None:
        """End in good order, so that another process goes on at once."""
        tasks = [task for task in (self._task, self._again, *self._builds.values(), *self._refreshes.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.added.stop()
        try:
            await self._lease.release()
            await self._standby.release()
        except (StoreUnavailable, Refused):
            log.info("the search index is not there to be told that this process stops")

    def wrote(self, types: Iterable[str]) -> None:
        """Told of types that this process has committed changes of."""
        if not self._leading:
            return
        for type in types:
            if type not in self._known:
                self._start_build(type)
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(SHORTLY, self._wake.set)

    def hurry(self) -> None:
        """Look at once at what the indices note."""
        self._inspected = 0.0
        self._wake.set()

    async def _run(self) -> None:
        pause = 0.1
        while True:
            try:
                await self._round()
                self.failing, self._well, pause = False, time.monotonic(), 0.1
            except (StoreUnavailable, Refused) as failure:
                self._failure = failure
                if not self.failing:
                    log.warning("the search index cannot be fed now", extra={"failure": str(failure)})
                await self._failed(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            except Exception as failure:  # whatever it is, the index must not be left behind for good
                self._failure = failure
                log.error("feeding the search index failed", exc_info=failure)
                await self._failed(LONGEST_PAUSE)

    async def _failed(self, pause: float) -> None:
        """After a round that failed, rest for so many seconds; shortly only, where somebody waits: it may have become better."""
        self.failing, self._leading = True, False
        self._failures += 1
        await asyncio.sleep(SHORTLY)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), pause)
        self._wake.clear()

    async def _round(self) -> None:
        if not self._leading and not (self._feeding and await self._take_over()):
            await self._stand_by()
            return
        if not await self._lease.hold():
            self._leading = False
            return
        await self._catch_up()
        if self._leading and (type := self._held.due()) is not None:  # one only: the lease and all other types come in between
            await self._go_on(type)
            if self._held.due() is not None:
                self._wake.set()
        if time.monotonic() - self._inspected > INSPECTION:
            await self._inspect()
        if time.monotonic() - self._counted > COMPANY:
            self._company, self._counted = await self._standby.taken(), time.monotonic()
        self.failing = False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), SHORTLY if self._company else ALONE)
        self._wake.clear()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    async def _stand_by(self) -> None:
        """Leave the feeding to another process, which is told that searches here wait for it."""
        with suppress(Refused):  # the index that leases are kept in is only being made
            await self._standby.hold()
        await asyncio.sleep(STANDING_BY)

    async def _resign(self) -> None:
        """Leave the feeding, and all that goes on beside it, to whoever is the feeder next."""
        self._leading = False
        tasks = [task for task in (self._again, *self._builds.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._builds.clear()
        await self.added.stop()

    async def _take_over(self) -> bool:
        """Become the feeder, if nobody is."""
        await self.added.stop()
        try:
            held = not await self._turn.taken() and await self._lease.hold()
        except Refused as refusal:
            if refusal.status != 404:
                raise
            await self.indices.install()
            return False
        if not held:
            await self._resign()
            return False
        await self.added.follow()
        self._done = await self._store.confirmed(self.name)
        if (sentence := await self.bases.remember(anew=self._done == 0)) is not None:
            log.warning(sentence)
        if anew := self._done == 0:  # all that is there comes into the indices when they are built
            self._done = await self._store.position()
            await self._store.confirm(self.name, self._done)
        await self._held.load(self._done, anew=anew)
        await self._held.note()
        await self._standby.release()
        self._leading, self._company, self._counted = True, True, time.monotonic()
        self._known = set(await self.types())
        await self._inspect()
        if self._again is None or self._again.done():
            self._again = asyncio.create_task(self._once_more(), name="documents that were set aside")
        log.info("this process feeds the search index", extra={"position": self._done})
        return True

    async def _once_more(self) -> None:
        """Write what was set aside by feeders before: a release may do what an older one could not."""
        try:
            for aside in await self.asides.all():
                [version] = await self._store.read_many([Key(aside.type, aside.id)])
                if version is None or not await self.added.write([version]):
                    await self.asides.remove(aside.type, aside.id)
        except (StoreUnavailable, Refused) as failure:
            log.warning("what was set aside cannot be written now", extra={"failure": str(failure)})

    async def _catch_up(self) -> None:
        position = await self._store.position()
        if position <= self._held.ahead:
            return
        async for versions in self._store.outbox(after=self._held.ahead, limit=GROUP):
            await self.added.meet(versions)
            await self._write([version for version in versions if version.type not in self._held])
            await self._advance(versions[-1].position)
            if versions[-1].position >= position:
                return
            if not await self._lease.hold():
                self._leading = False
                return
        await self._advance(position)

    async def _write(self, versions: Sequence[Version]) -> bool:
        """Whether the index has them; where the indices of some types take nothing, these are held."""
        try:
            await self.writer.write(versions, newer_only=True)
        except Blocked as blocked:
            if any(type not in self._held for type in blocked.types):
                log.warning("a search index takes no writes", extra={"failure": str(blocked)})
            self._held.hold(blocked.types, self._held.ahead)
            return False
        return True

    async def _go_on(self, type: str) -> None:
        """Write what was held up of a type, as far as its index takes it."""
        began = time.monotonic()
        async for versions in self._store.outbox(after=self._held.reached(type), limit=GROUP):
            reached = min(versions[-1].position, self._held.ahead)
            if not await self._write([version for version in versions if version.type == type and version.position <= reached]):
                return
            self._held.advance(type, reached)
            await self._confirm()
            if type not in self._held or time.monotonic() - began > TURN:
                return
        self._held.advance(type, self._held.ahead)  # what was there by then tells of no more
        await self._confirm()

    async def _advance(self, position: int) -> None:
        self._held.ahead = position
        await self._confirm()

    async def _confirm(self) -> None:
        """Note how far the index has come, and tell who waits."""
        done = self._held.complete()
        if done > self._done:
            await self._store.confirm(self.name, done)
        await self._held.note()
        self._done, self.failing, self._well = max(self._done, done), False, time.monotonic()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def _inspect(self) -> None:
        """Have missing indices built; make room for somebody who has asked for a turn."""
        self._inspected = time.monotonic()
        states = await self.indices.states()
        missing = [type for type in self._known if type not in states or states[type].live is None]
        for type in missing:
            self._start_build(type)
        if not missing:
            await self._leftovers.look()
        if self.added.any:
            await self.added.follow()
        if await self._turn.taken():
            await self._resign()
            await self._lease.release()

    def _start_build(self, type: str) -> None:
        """Only the feeder builds. Who is none now looks at all types when it becomes one."""
        if not self._leading:
            return
        self._known.add(type)
        running = self._builds.get(type)
        if running is None or running.done():
            self._builds[type] = asyncio.create_task(self._build(type), name=f"build of the search index of {type}")

    async def _build(self, type: str) -> None:
        pause = 0.2
        while True:
            try:
                await build(self._store, self.indices, self.writer, self.added, type)
                return
            except (StoreUnavailable, Refused) as failure:
                log.warning("a search index cannot be built now", extra={"resource": type, "failure": str(failure)})
            except Exception as failure:
                log.error("building a search index failed", exc_info=failure, extra={"resource": type})
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def types(self) -> list[str]:
        """The types of which the store has or had documents."""
        types = list(self.layout.parameters.types)
        return [type for type, newest in zip(types, await self._store.newest(types), strict=True) if newest]

    def rebuild(self) -> Rebuild:
        """What builds indices anew beside the live ones. Its leases are its own: this feed too makes room for it."""
        leases = (Lease(self._connection, self.layout.feed, name) for name in ("turn", "feed"))
        return Rebuild(self._store, self.indices, self.writer, self.added, *leases)

    def comparison(self, type: str, until: int, *, repair: bool) -> Comparison:
        """What compares the store and the index of a type."""
        return Comparison(self._store, self.indices, self.added, type, until, repair=repair)

    async def ready(self, seconds: float) -> int:
        """Wait until the index has what the store has now; returns its position. Raises StoreUnavailable if that takes longer."""
        position = await self._store.position()
        deadline = time.monotonic() + seconds
        while (complete := await self._store.confirmed(self.name)) < position or not await self._all_there():
            if time.monotonic() > deadline:
                await self._told.look(complete)
                told = "The search index (Elasticsearch) cannot be reached, or is far behind the store."
                raise self._refusal(dict.fromkeys(await self.types(), position), 0.0) or StoreUnavailable(told)
            self._wake.set()
            await asyncio.sleep(SHORTLY)
        return position

    async def _all_there(self) -> bool:
        """Whether every type that has documents has an index to search in; another process may be building it."""
        states = await self.indices.states()
        return all(type in states and states[type].live is not None for type in await self.types())

    # -- waiting

    async def lost(self, type: str) -> bool:
        """Whether a type without an index ought to have one. Who has to see every write has had `caught_up` look at the store before."""
        self._refreshed.pop(type, None)
        if self._looks.none(type) or not (await self._looks.newest((type,)))[type]:
            return False
        if self._leading:
            self._start_build(type)
        return True

    async def caught_up(self, types: Sequence[str], position: int | None = None) -> bool:
        """See `search.index.SearchIndex`. Raises Denied where that cannot be because Elasticsearch takes no writes."""
        needed = await self._needed(types, position)
        if not needed:
            return True
        failures = self._failures
        try:
            async with asyncio.timeout(self._wait):
                await self._fed(needed, failures)
                return all([await self._seen(type, wanted, failures) for type, wanted in needed.items()])
        except Denied:
            raise
        except TimeoutError:
            if (refusal := self._refusal(needed, 0.0)) is not None:
                raise refusal from None
            return False
        except (StoreUnavailable, Refused):
            return False

    async def _needed(self, types: Sequence[str], position: int | None) -> dict[str, int]:
        """The types of which searches may not see everything yet, and up to where they must."""
        if position is not None and all(self._refreshed.get(type, 0) >= position for type in types):
            return {}
        newest = await self._looks.newest(types)
        needed = {}
        for type in dict.fromkeys(types):
            wanted = newest[type] if position is None else min(newest[type], position)
            if self._refreshed.get(type, 0) < wanted:
                needed[type] = wanted
        return needed

    async def _fed(self, needed: Mapping[str, int], failures: int) -> None:
        """Return once the index has everything that was written to each type up to its position. Raises StoreUnavailable where it
        cannot be reached, Denied where it takes no writes."""
        began = time.monotonic()
        while not await self._has(needed, began):
            if (refusal := self._refusal(needed, HICCUP)) is not None:
                raise refusal
            if self._hopeless(failures):
                raise (
                    self._failure if isinstance(self._failure, Denied) else StoreUnavailable("The search index cannot be reached.")
                )
            if self.failing:
                self._wake.set()
            if self._leading:
                moved = self._moved
                self._wake.set()
                with suppress(TimeoutError):
                    await asyncio.wait_for(moved.wait(), STANDING_BY)
            else:
                await asyncio.sleep(PATIENCE)

    async def _has(self, needed: Mapping[str, int], began: float) -> bool:
        """Whether the index has that much of each type; who asks has waited since `began`."""
        if self._leading:
            return all(self._held.reached(type) >= position for type, position in needed.items())
        complete = await self._store.confirmed(self.name)
        if complete >= max(needed.values()):
            return True
        if self._told.number or time.monotonic() - began > SUSPICION:
            with suppress(StoreUnavailable, Refused):  # whether it can be reached at all is for `_hopeless` to say
                await self._told.look(complete)
        return all(max(complete, self._told.reached(type)) >= position for type, position in needed.items())

    def _refusal(self, needed: Mapping[str, int], longer: float) -> Denied | None:
        """What to tell whom the index cannot serve, because for so many seconds that of a type has taken no writes."""
        held = self._held if self._leading else self._told
        return held.refuses((type for type, position in needed.items() if held.reached(type) < position), longer)

    def _hopeless(self, failures: int) -> bool:
        """Whether it has failed for long, and again since there were so many failures."""
        return self.failing and self._failures > failures and time.monotonic() - self._well > HICCUP

    async def _seen(self, type: str, position: int, failures: int) -> bool:
        """Have searches of the type see what has been written up to the position; False where it has had no index for long.

        One refresh serves all who came before it began.
        """
        while self._refreshed.get(type, 0) < position:
            running = self._refreshes.get(type)
            if running is None or running.done():
                running = self._refreshes[type] = asyncio.create_task(self._refresh(type))
            if not await asyncio.shield(running):
                since = self._absent.get(type)
                self._wake.set()
                if self._hopeless(failures) or (since is not None and time.monotonic() - since > self._wait):
                    return False
                await asyncio.sleep(SHORTLY)
        return True

    async def _refresh(self, type: str) -> bool:
        """Whether there is an index that could be refreshed. Since when there has been none is noted; that Elasticsearch could not be
        asked says nothing of that."""
        if self._leading:
            reached = self._held.reached(type)
        else:
            reached = max(await self._store.confirmed(self.name), self._told.reached(type))
        try:
            there = await self.indices.refresh(type)
        except (StoreUnavailable, Refused):
            return False
        if there:
            self._refreshed[type] = max(reached, self._refreshed.get(type, 0))
            self._absent.pop(type, None)
        else:
            self._absent.setdefault(type, time.monotonic())
        return there

    # -- what those who run the server see

    async def metrics(self) -> list[str]:
        """Lines in the text format of Prometheus: how far the index is behind, and what it lacks."""
        return await gauges(
            self._store,
            await self._store.confirmed(self.name),
            set_aside=self.writer.set_aside,
            reachable=int(not self.failing),
            feeder=int(self._leading),
            blocked_types=self._held.number if self._leading else 0,
        )
