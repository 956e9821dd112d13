"""What one process does for all on a SQLite file: index events, copy the write-ahead log into the database, forget old claims.

The process that holds `<file>.maintenance` does it; when it dies the kernel frees the lock and another one takes over.
"""

import asyncio
import fcntl
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import apsw

from resources.store import StoreUnavailable
from resources.stores.sqlite.schema import connect

log = logging.getLogger(__name__)

TICK = 0.2
"""Seconds between two rounds: what an AuditEvent may lag behind in the index (a search of AuditEvent does not wait for it)."""

COPY = 8_000
"""Pages in the log (32 MB) at which it is copied into the database. The more seldom, the fewer times a busy page is copied."""

LEFT = 500
"""Pages that may be left to be copied while writers wait."""

BATCH = 128
"""Events indexed at a time (about 5 ms)."""

REST = 2
"""Rest after each batch, in times of what it took."""

SWEEP = 300
"""Rounds between two sweeps."""


class _Store(Protocol):
    log_pages: int
    """Pages in the write-ahead log at this process's last commit; the next commit after a restart of the log tells a small number."""

    async def settle(self, limit: int | None = None) -> bool: ...
    async def sweep(self) -> None: ...
    async def checkpoint(self) -> None: ...


class Maintenance:
    """The background rounds of one process."""

    def __init__(self, path: Path, store: _Store) -> None:
        self._path, self._store = path, store
        self._task: asyncio.Task[None] | None = None
        self._connection: apsw.Connection | None = None
        self._lock_file = -1

    def start(self) -> None:
        """Begin the rounds on the running loop."""
        self._lock_file = os.open(f"{self._path}.maintenance", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._stopping = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._rounds())

    async def stop(self) -> None:
        """End the rounds after the one under way."""
        if self._task is not None:
            self._stopping.set()  # not cancelled: a copy under way in its thread must end before its connection closes
            await self._task
        if self._connection is not None:
            self._connection.close()
        os.close(self._lock_file)

    async def _rounds(self) -> None:
        number = 0
        while not await self._stopped(TICK):
            number += 1
            try:
                await self._round(number)
            except (apsw.Error, StoreUnavailable, OSError) as problem:
                log.warning("upkeep of the database failed and is tried again: %s", problem)

    async def _stopped(self, seconds: float) -> bool:
        """Wait so long, or until told to stop; whether we were."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def _round(self, number: int) -> None:
        await self._copy_log()
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # another process looks after the rest
        await self._index_events()
        if number % SWEEP == 0:
            await self._store.sweep()

    async def _index_events(self) -> None:
        """Index what was logged, in small batches with rests between: a backlog (after a burst, or an upgrade) must not crowd out
        the requests that are served meanwhile. Under steady load there is no end to it, so the log is looked after in between."""
        while not self._stopping.is_set():
            began = time.perf_counter()
            if not await self._store.settle(BATCH):
                return
            await asyncio.sleep(REST * (time.perf_counter() - began))
            await self._copy_log()

    async def _copy_log(self) -> None:
        """Copy the log beside the writers, then what they wrote meanwhile while they pause, so that the log starts over.

        Each process does this for what it wrote; SQLite lets only one of them copy at a time.
        """
        if self._store.log_pages > COPY:
            self._store.log_pages = 0
            await asyncio.to_thread(self._copy)
            await self._store.checkpoint()

    def _copy(self) -> None:
        if self._connection is None:
            self._connection = connect(self._path, cache_kib=1_000)
            self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # a connection that never read copies nothing
        with suppress(apsw.BusyError):  # another process is copying: that will do
            before = -LEFT
            for _ in range(4):  # what was written meanwhile: writers wait while the last of it is copied
                pages, _copied = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                if pages - before < LEFT:
                    break
                before = pages
