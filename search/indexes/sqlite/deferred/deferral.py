"""First loads: documents without their index rows, which are written once all are there, sorted, and compared with what they should be.

While a type is deferred, searches that look at it raise Preparing: they never answer with less than there is. Whoever defers says until
when, and says so again; when that is over, or was given up, whichever process has the file open writes the rows. A process that is killed
is followed by another one, which begins again: rows that are there are passed over.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event

import apsw

from resources.instants import now
from resources.store import StoreUnavailable
from search.index import Preparing
from search.indexes.sqlite.deferred import building, state
from search.indexes.sqlite.deferred.state import Deferred
from search.indexes.sqlite.schema import Codebook
from search.indexes.sqlite.words.batches import Documents

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks whether there are rows to be written."""

SLICE = 1_000
"""Rows that are written in one transaction (about 3 ms)."""

ALIVE = 30_000_000
"""Microseconds after which a builder that has said nothing is followed by another one."""


class Deferral:
    """What of an index is deferred, for one process."""

    def __init__(self, path: str, store: Documents, codes: Codebook) -> None:
        self._path, self._store, self._codes = path, store, codes
        self._name = secrets.token_hex(8)
        self._rounds: asyncio.Task[None] | None = None
        self._ending = Event()

    def start(self, connection: apsw.Connection) -> None:
        """Look now and then, by this connection, for rows that are to be written."""
        self._rounds = asyncio.get_running_loop().create_task(self._keep_looking(connection))

    async def close(self) -> None:
        """Stop; whoever opens the file goes on."""
        if self._rounds is not None:
            self._ending.set()
            self._rounds.cancel()
            await asyncio.wait([self._rounds])
            self._rounds = None

    async def defer(self, types: Sequence[str], until: int) -> frozenset[str]:
        """See `search.index.Deferring`."""
        return await self._store.alongside(partial(self._open, types=types, until=until))

    def _open(self, connection: apsw.Connection, types: Sequence[str], until: int) -> frozenset[str]:
        deferred = state.read(connection) or Deferred()
        found = {type for type in types if deferred.open.get(type) or self._is_new(connection, deferred, type)}
        if found:
            deferred.open |= {type: max(until, deferred.open.get(type, 0)) for type in found}
            state.keep(connection, deferred)
        return frozenset(found)

    def _is_new(self, connection: apsw.Connection, deferred: Deferred, type: str) -> bool:
        walk = self._codes.books[type].walk
        return type not in deferred.types and not connection.execute("SELECT EXISTS (SELECT 1 FROM idx WHERE pid = ?)", (walk,)).get

    async def indexed(self, types: Sequence[str]) -> None:
        """See `search.index.Deferring`."""
        left = await self._store.alongside(partial(self._close, types=types))
        if left is not None and left.types & set(types):
            raise Preparing(_told(left, types))

    def _close(self, connection: apsw.Connection, types: Sequence[str]) -> Deferred | None:
        deferred = state.read(connection)
        if deferred is not None and any(deferred.open.get(type) for type in types):
            deferred.open |= dict.fromkeys(set(types) & set(deferred.open), 0)
            state.keep(connection, deferred)
        return deferred

    async def _keep_looking(self, connection: apsw.Connection) -> None:
        while True:
            try:
                while self._ripe(state.read(connection)) and (deferred := await self._store.alongside(self._begin)):
                    await self._alive(deferred)
            except (apsw.Error, StoreUnavailable) as problem:
                log.warning("the index rows of a first load are written later: %s", type(problem).__name__)
            except Exception as failure:  # until this succeeds nobody can search these types: it must go on
                log.error("the index rows of a first load could not be written and are tried again", exc_info=failure)
            await asyncio.sleep(LOOK)

    def _ripe(self, deferred: Deferred | None) -> bool:
        if deferred is None:
            return False
        free = deferred.builder in ("", self._name) or deferred.until < now()
        return free and bool(deferred.building or any(until < now() for until in deferred.open.values()))

    def _begin(self, connection: apsw.Connection) -> Deferred | None:
        """Have this process write the rows that are to be written now; None where there are none, or another process is at it."""
        deferred = state.read(connection)
        if deferred is None or not self._ripe(deferred):
            return None
        if not deferred.building:
            deferred.building = tuple(sorted(type for type, until in deferred.open.items() if until < now()))
            deferred.open = {type: until for type, until in deferred.open.items() if type not in deferred.building}
            deferred.after = deferred.done = 0
        deferred.builder, deferred.until = self._name, now() + ALIVE
        state.keep(connection, deferred)
        return deferred

    async def _alive(self, deferred: Deferred) -> None:
        """Build, and say meanwhile that this process is at it."""
        beating = asyncio.create_task(self._beat())
        try:
            await self._build(deferred)
        finally:
            beating.cancel()
            await asyncio.wait([beating])

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(ALIVE / 3e6)
            try:
                await self._store.alongside(lambda connection: state.keep(connection, self._mine(connection)))
            except StoreUnavailable as problem:  # whoever builds finds that out too
                log.warning("the index rows of a first load: %s", problem)

    async def _build(self, deferred: Deferred) -> None:
        """Write the rows and compare them. Raises StoreUnavailable where another process has taken this over."""
        began, after, types = time.monotonic(), deferred.after, deferred.building
        while (made := await asyncio.to_thread(building.chunk, self._path, self._codes, types, after)).documents:
            for start in range(0, len(made.rows), SLICE):
                await self._store.alongside(partial(building.add, rows=made.rows[start : start + SLICE]))
                await asyncio.sleep(0)
            wrong = await asyncio.to_thread(building.changed, self._path, made)
            after = max(made.documents)
            await self._store.alongside(partial(self._advance, made=made, wrong=wrong, after=after))
        wrong_types = await asyncio.to_thread(building.disagreeing, self._path, self._codes, types, self._ending)
        await self._store.alongside(partial(self._end, wrong=wrong_types))
        if wrong_types:
            log.error("the index rows of a first load are not what they should be and are made anew: %s", ", ".join(wrong_types))
        else:
            log.info("the index rows of a first load were written in %d s and compared", time.monotonic() - began)

    def _mine(self, connection: apsw.Connection) -> Deferred:
        deferred = state.read(connection)
        if deferred is None or deferred.builder != self._name:
            raise StoreUnavailable("Another process writes the index rows of a first load.")
        deferred.until = now() + ALIVE
        return deferred

    def _advance(self, connection: apsw.Connection, made: building.Chunk, wrong: Sequence[int], after: int) -> None:
        deferred = self._mine(connection)
        building.correct(connection, self._codes, made, wrong)
        deferred.after, deferred.done = after, deferred.done + len(made.documents)
        state.keep(connection, deferred)

    def _end(self, connection: apsw.Connection, wrong: Sequence[str]) -> None:
        deferred = self._mine(connection)
        for type in wrong:
            building.clear(connection, self._codes.books[type])
        deferred.building, deferred.builder, deferred.after, deferred.done = tuple(wrong), "", 0, 0
        state.keep(connection, deferred)


def check(connection: apsw.Connection, looked_at: Callable[[], set[str] | None]) -> None:
    """Raises Preparing where something is deferred of the types that are looked at (None: any). In a transaction of the caller's."""
    deferred = state.read(connection)
    if deferred is None:
        return
    looked = looked_at()
    types = sorted(deferred.types if looked is None else deferred.types & looked)
    if types:
        raise Preparing(_told(deferred, types))


def _told(deferred: Deferred, types: Sequence[str]) -> str:
    named = ", ".join(sorted(set(types) & deferred.types)[:5])
    if not set(types) & set(deferred.building):
        return f"The first documents of {named} are being loaded and cannot be searched yet. Send the request again later."
    return f"The documents of {named} are being indexed: {deferred.done} are done. Send the request again in a moment."
