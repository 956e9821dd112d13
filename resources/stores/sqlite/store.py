"""The embedded store: one SQLite file, written by any number of worker processes, nothing to install (docs/adr/0003).

All statements run on the event loop's own thread in short groups: short statements in a thread beside a busy loop wait for the
interpreter lock longer than they run. What waits for the disk or for another process (fsync, the write lock) waits in a thread.
"""

import asyncio
import errno
import fcntl
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar

import apsw

from resources.instants import now
from resources.store import Change, Claim, Head, HistoryPage, Key, Receipt, Record, RecordChange, StoreUnavailable, Version, Written
from resources.stores.bodies import Bodies
from resources.stores.commits import Commits, Job
from resources.stores.participant import Participant
from resources.stores.sqlite.count import count_history
from resources.stores.sqlite.maintenance import Maintenance
from resources.stores.sqlite.read import Reader
from resources.stores.sqlite.records import kinds
from resources.stores.sqlite.schema import connect, migrate
from resources.stores.sqlite.types import Types
from resources.stores.sqlite.write import CHUNK, Writer

log = logging.getLogger(__name__)

T = TypeVar("T")

GROUP = 64
"""Changes after which a group of commits is closed (one larger commit makes a group of its own)."""

TURNS = 8
"""Times that a group waits for two turns of the event loop, at most, for others to join it."""

QUICK = 0.002
"""Seconds: on a disk that syncs faster (a running mean) the loop waits itself, which is cheaper than a thread's way there and back."""

EVENTS = 256
"""Events indexed in one transaction (about 10 ms)."""


class SqliteStore:
    """ResourceStore on one SQLite file.

    `synchronous`: FULL answers a commit when it would survive a power cut, NORMAL when it would survive the death of the process.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        participant: Participant | None = None,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
        clock: Callable[[], int] = now,
        cache_kib: int = 8_000,
    ) -> None:
        self._path = Path(path)
        self._participant, self._full, self._clock, self._cache_kib = participant, synchronous == "FULL", clock, cache_kib
        self._commits = Commits(self._write, most=GROUP, turns=TURNS, slow="the disk")
        self._maintenance: Maintenance | None = None
        self._turn, self._counting = asyncio.Lock(), asyncio.Lock()
        self._doubtful = False
        self.log_pages = 0
        self._sync_time = 0.0
        self._wal = -1

    @property
    def wants_entries(self) -> bool:
        """See ResourceStore.wants_entries."""
        return self._participant is not None

    @property
    def audit_head(self) -> Head:
        """See ResourceStore.audit_head."""
        return self._writer.chain.head

    # -- opening and closing

    async def open(self) -> None:
        """See ResourceStore.open."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_file = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise StoreUnavailable(f"The folder {self._path.parent} is not writable: {problem.strerror}.") from None
        self._disk = ThreadPoolExecutor(2, thread_name_prefix="disk")
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            self._open_connections()
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)
        self._maintenance = Maintenance(self._path, self)
        self._maintenance.start()

    def _open_connections(self) -> None:
        bodies = Bodies()
        writing = connect(self._path, cache_kib=self._cache_kib)
        self._writing = writing
        self._types = types = Types(writing)
        self._writer = Writer(writing, bodies, types, self._participant, self._clock)
        with ExitStack() as failed:
            failed.callback(writing.close)  # nobody else could write while its transaction was open
            try:
                self._make_ready(writing)
            except apsw.Error as problem:
                raise StoreUnavailable(f"The database {self._path} cannot be made ready: {problem}.") from None
            failed.pop_all()
        writing.set_wal_hook(self._note_log_size)
        self._reading = connect(self._path, cache_kib=self._cache_kib, read_only=True)
        reading_types = Types(self._reading)
        reading_types.load()
        self._reading_types = reading_types
        self._reader = Reader(self._reading, bodies, reading_types)

    def _make_ready(self, writing: apsw.Connection) -> None:
        """Create or upgrade the tables, the participant's too, in one transaction."""
        participant = self._participant
        writing.execute("BEGIN IMMEDIATE")
        migrate(writing)
        self._types.load()
        if participant is not None:
            participant.install(writing)
            if participant.stale(writing) or self._writer.unindexed():
                done = self._writer.rebuild(participant)
                if done:
                    log.info("the search index was built anew from %d documents", done)
        writing.execute("COMMIT")

    def _note_log_size(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.log_pages = pages
        return apsw.SQLITE_OK

    async def close(self) -> None:
        """See ResourceStore.close."""
        await self._commits.close()
        if self._maintenance is not None:
            await self._maintenance.stop()
        self._disk.shutdown()
        self._reading.close()
        self._writing.close()
        for descriptor in (self._wal, self._lock_file):
            if descriptor >= 0:
                os.close(descriptor)

    # -- writing

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        events: Sequence[bytes] = (),
        claims: Sequence[Claim] = (),
        receipt: Receipt | None = None,
        records: Sequence[RecordChange] = (),
    ) -> list[Written]:
        """See ResourceStore.commit."""
        self._commits.check(changes, records)
        return await self._commits.add(Job(changes, events, claims, receipt, records))

    async def adopt(self, versions: Sequence[Version]) -> None:
        """See ResourceStore.adopt."""
        with _clear():
            await self._transact(self._writer.adopt(versions), large=True)
        await self._sync()

    async def _write(self, jobs: Sequence[Job]) -> None:
        """Write a group of commits, durable when this returns. Raises StoreUnavailable, or what one of them is at fault for."""
        try:
            if self._doubtful:
                await self._start_log_over()
            await self._transact(self._writer.run(jobs), large=len(jobs[0].changes) > CHUNK)
            if self._full:
                await self._sync()
        except (apsw.Error, OSError) as problem:
            raise _unavailable(problem) from None

    async def _transact(self, steps: Generator[None, None, None], *, large: bool) -> None:
        """Run a transaction's steps under the file's write lock; a large one lets the loop breathe between its steps."""
        async with self._alone():
            try:
                for _ in steps:
                    if large:
                        await asyncio.sleep(0)
            except BaseException:
                self._types.forget()
                raise
            finally:
                steps.close()  # whoever was cancelled here must not leave a transaction open

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """The write lock of the file, fair among processes: the kernel queues those who wait.

        It says nothing to the tasks of this process, which all have the same descriptor: these take turns before they ask for it.
        """
        async with self._turn:
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await self._wait_for_lock()
            try:
                yield
            finally:
                fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    async def _wait_for_lock(self) -> None:
        waiting = asyncio.get_running_loop().run_in_executor(self._disk, fcntl.flock, self._lock_file, fcntl.LOCK_EX)
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:  # the thread gets the lock all the same; whoever gave up must not keep it
            await asyncio.wait([waiting])
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)
            raise

    async def _sync(self) -> None:
        """Wait until the write-ahead log is on disk. SQLite itself syncs it before it copies pages from it (synchronous=NORMAL), so
        with this a commit is as durable as with synchronous=FULL, and the loop works while the disk does."""
        began = time.perf_counter()
        try:
            wal = self._log_descriptor()
            if self._sync_time < QUICK:
                os.fdatasync(wal)
            else:
                await asyncio.get_running_loop().run_in_executor(self._disk, os.fdatasync, wal)
        except OSError as problem:
            self._doubtful = True
            log.critical("the disk failed while a commit was flushed: %s", problem)
            raise StoreUnavailable(
                "The disk failed while this was written, so it is not certain whether it was kept. Read before you send it again; "
                "with an Idempotency-Key sending it again is safe.",
                full=problem.errno == errno.ENOSPC,
                uncertain=True,
            ) from None
        self._sync_time += (time.perf_counter() - began - self._sync_time) / 8

    def _log_descriptor(self) -> int:
        if self._wal < 0 or os.fstat(self._wal).st_nlink == 0:
            if self._wal >= 0:
                os.close(self._wal)
            self._wal = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        return self._wal

    async def _start_log_over(self) -> None:
        """After a failed sync: copy all of the log into the database, sync that, and begin the log anew.

        The kernel tells of a failed write once, and forgets the page: a later sync may say that all is well while the log has a
        gap, and what is written behind a gap is lost after a power cut. Raises apsw.Error where this fails too; then nothing is
        written until it succeeds.
        """
        async with self._alone():
            self._writing.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._doubtful = False

    async def settle(self, limit: int | None = None) -> bool:
        """Index the events that are not indexed yet; with a `limit` about so many, in one transaction. Whether there may be more. Searches
        of AuditEvent call it first."""
        while True:
            async with self._alone():
                try:
                    _done, more = self._writer.index_events(EVENTS if limit is None else limit)
                except (apsw.Error, OSError) as problem:
                    raise _unavailable(problem) from None
            if limit is not None or not more:
                return more
            await asyncio.sleep(0)

    async def alongside(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` in a transaction of its own on this file, between commits: for tables that are a participant's own. Short, since
        commits wait meanwhile. Raises StoreUnavailable."""
        if self._commits.closing:
            raise StoreUnavailable("The server is stopping; send the request again in a moment.")
        async with self._alone():
            try:
                self._writing.execute("BEGIN IMMEDIATE")
                found = work(self._writing)
                self._writing.execute("COMMIT")
            except apsw.Error as problem:
                raise _unavailable(problem) from None
            finally:
                if self._writing.in_transaction:
                    self._writing.execute("ROLLBACK")
            return found

    async def forget_events(self, until: int) -> int:
        """See ResourceStore.forget_events."""
        async with self._alone():
            with _clear():
                return self._writer.forget_events(until)

    async def sweep(self) -> None:
        """Forget expired receipts and records, and old claims. Commits have their turn in between."""
        more = True
        while more:
            async with self._alone():
                more = self._writer.sweep()
            await asyncio.sleep(0)

    async def checkpoint(self) -> None:
        """Finish a checkpoint that ran beside the writers, while none of them writes, so that the log starts over. Those who read are
        served meanwhile."""
        async with self._alone():
            copying = asyncio.get_running_loop().run_in_executor(None, self._copy_log)
            try:
                await asyncio.shield(copying)
            except asyncio.CancelledError:  # the connection is the thread's until it is done
                await asyncio.wait([copying])
                raise

    def _copy_log(self) -> None:
        with suppress(apsw.BusyError):  # another process is copying just now; the next round tries again
            self._writing.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    # -- reading

    async def read(self, type: str, id: str) -> Version | None:
        """See ResourceStore.read."""
        with _clear():
            return self._reader.read(type, id)

    async def read_version(self, type: str, id: str, version: int) -> Version | None:
        """See ResourceStore.read_version."""
        with _clear():
            return self._reader.read_version(type, id, version)

    async def read_many(self, keys: Sequence[Key]) -> list[Version | None]:
        """See ResourceStore.read_many."""
        with _clear():
            return self._reader.read_many(keys)

    async def history(
        self,
        type: str | None,
        id: str | None,
        *,
        since: int | None = None,
        at: tuple[int, int] | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> HistoryPage:
        """See ResourceStore.history."""
        with _clear():
            return self._reader.history(type, id, since, at, before, limit)

    async def count_history(
        self, type: str | None, id: str | None, *, since: int | None = None, at: tuple[int, int] | None = None
    ) -> int:
        """See ResourceStore.count_history. Long counts run in a thread, one after another, on a connection of their own."""
        if id is not None:
            with _clear():
                return count_history(self._reading, self._reading_types, type, id, since, at)
        async with self._counting:
            with _clear():
                return await asyncio.to_thread(self._count_aside, type, since, at)

    def _count_aside(self, type: str | None, since: int | None, at: tuple[int, int] | None) -> int:
        connection = connect(self._path, cache_kib=2_000, read_only=True)
        try:
            return count_history(connection, Types(connection), type, None, since, at)
        finally:
            connection.close()

    async def position(self) -> int:
        """See ResourceStore.position."""
        with _clear():
            return self._reader.position()

    async def newest(self, types: Sequence[str]) -> list[int]:
        """See ResourceStore.newest."""
        with _clear():
            return [self._reader.newest(type) for type in types]

    async def receipt(self, key: bytes) -> Receipt | None:
        """See ResourceStore.receipt."""
        with _clear():
            return self._reader.receipt(key, self._clock())

    async def record(self, kind: str, key: str) -> Record | None:
        """See ResourceStore.record."""
        with _clear():
            return self._reader.record(kind, key, self._clock())

    async def records(self, kind: str, *, tag: str | None = None, after: str = "", limit: int = 1000) -> list[Record]:
        """See ResourceStore.records."""
        with _clear():
            return self._reader.records(kind, tag, after, limit, self._clock())

    async def record_kinds(self) -> list[str]:
        """See ResourceStore.record_kinds."""
        with _clear():
            return kinds(self._reading)

    async def scan(
        self, types: Sequence[str], *, until: int, after: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> AsyncGenerator[list[Version], None]:
        """See ResourceStore.scan."""
        while True:
            with _clear():
                found = self._reader.scan(types, until, after, shard)
            if not found:
                return
            yield found
            after = found[-1].position
            await asyncio.sleep(0)  # a walk over everything lets others be served between two lists

    async def confirm(self, index: str, position: int | None) -> None:
        """See ResourceStore.confirm. Nothing is ever trimmed here: documents and events are the outbox. Not synced: an index that
        is sent something twice is none the worse."""
        async with self._alone():
            with _clear():
                self._writer.confirm(index, position)

    async def confirmed(self, index: str) -> int:
        """See ResourceStore.confirmed."""
        with _clear():
            return self._reader.confirmed(index)

    async def outbox(self, *, after: int, limit: int = 1000) -> AsyncIterator[list[Version]]:
        """See ResourceStore.outbox."""
        while True:
            with _clear():
                found = self._reader.outbox(after, limit)
            if not found:
                return
            yield found
            after = found[-1].position
            await asyncio.sleep(0)


@contextmanager
def _clear() -> Iterator[None]:
    """SQLite's own errors as the contract's."""
    try:
        yield
    except apsw.Error as problem:
        raise _unavailable(problem) from None


def _unavailable(problem: Exception) -> StoreUnavailable:
    log.error("the database refused: %s", problem)
    if isinstance(problem, apsw.FullError) or (isinstance(problem, OSError) and problem.errno == errno.ENOSPC):
        return StoreUnavailable("The disk of the server is full; nothing was written. Free some space and try again.", full=True)
    if isinstance(problem, apsw.BusyError | apsw.LockedError):
        return StoreUnavailable("The database was locked too long; nothing was written. Send the request again.")
    if isinstance(problem, apsw.ReadOnlyError):
        return StoreUnavailable("The database file cannot be written; nothing was written.")
    return StoreUnavailable("The database cannot be reached; nothing was written. The server's log has the reason.")
