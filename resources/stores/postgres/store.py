"""The PostgreSQL store: documents on a managed PostgreSQL, written by any number of server processes (docs/adr/0011).

Commits that wait are one transaction; the row lock on the counter orders the groups of all processes.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress

from asyncpg.pool import PoolConnectionProxy

from resources.instants import now
from resources.store import Change, Claim, Head, HistoryPage, Key, Receipt, Record, RecordChange, StoreUnavailable, Version, Written
from resources.stores.bodies import Bodies
from resources.stores.commits import Commits, Job
from resources.stores.postgres.connection import Connections, address, unavailable
from resources.stores.postgres.count import count_history
from resources.stores.postgres.read import Reader
from resources.stores.postgres.scan import scan
from resources.stores.postgres.schema import make_ready
from resources.stores.postgres.write import Uncertain, Writer

log = logging.getLogger(__name__)

GROUP = 64
"""Changes after which a group of commits is closed (one larger commit makes a group of its own)."""

SWEEP = 300.0
"""Seconds between two sweeps of expired receipts and old claims."""

FATE = 5.0
"""Seconds to find out whether a commit was kept whose answer was lost; then the client is told that it is uncertain."""

CLAIM = 3_600_000_000
"""Microseconds after which no running request can hold a claim any more."""

_CONFIRM = (
    "INSERT INTO {schema}.confirmed (index, position) VALUES ($1, $2)"
    " ON CONFLICT (index) DO UPDATE SET position = greatest(confirmed.position, excluded.position)"
)

_FORGET = (
    "WITH gone AS (DELETE FROM {schema}.log WHERE position IN (SELECT position FROM {schema}.log WHERE position + count - 1 <= $1"
    " AND position < (SELECT max(position) FROM {schema}.log) ORDER BY position LIMIT 1000) RETURNING count)"
    " SELECT coalesce(sum(count), 0) FROM gone"
)


class PostgresStore:
    """ResourceStore on PostgreSQL 13 or newer.

    `url`: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE`, further `schema`, `pool_size`,
    `prepared` and `documents` (resources.stores.postgres.connection.address). Raises StoreUnavailable where it cannot be one.
    """

    wants_entries = False
    """See ResourceStore.wants_entries: the index is outside and reads the outbox."""

    def __init__(self, url: str, *, clock: Callable[[], int] = now) -> None:
        self._address = address(url)
        self._clock, self._schema = clock, f'"{self._address.schema}"'
        bodies = Bodies()
        self._connections = Connections(self._address)
        self._reader = Reader(self._connections, self._schema, bodies)
        self._writer = Writer(self._schema, bodies, clock, jsonb=self._address.jsonb)
        self._commits = Commits(self._write, most=GROUP, slow="PostgreSQL")
        self._sweeper: asyncio.Task[None] | None = None
        self._counting = asyncio.Lock()

    @property
    def audit_head(self) -> Head:
        """See ResourceStore.audit_head."""
        return self._writer.chain.head

    async def open(self) -> None:
        """See ResourceStore.open."""
        await self._connections.open(self._make_ready)
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def _make_ready(self, connection: PoolConnectionProxy) -> None:
        await make_ready(connection, self._address.schema)
        self._writer.durable(await connection.fetchval("SHOW synchronous_commit") not in ("off", "local"))
        if self._address.exposed:
            log.warning(
                "documents may travel to PostgreSQL at %s unencrypted; add sslmode=verify-full to its URL", self._address.shown
            )
        if await connection.fetchval("SHOW fsync") == "off":
            log.warning("PostgreSQL at %s runs with fsync = off: a power cut may lose or spoil everything", self._address.shown)

    async def close(self) -> None:
        """See ResourceStore.close."""
        await self._commits.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        await self._connections.close()

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

    async def _write(self, jobs: Sequence[Job]) -> None:
        """Write a group of commits. Raises StoreUnavailable, or what one of them is at fault for."""
        try:
            await self._connections.persist(lambda: self._transact(jobs))
        except Uncertain as lost:
            failed = await self._settled(lost, jobs)
            if failed is not None:
                raise failed from None

    async def _settled(self, lost: Uncertain, jobs: Sequence[Job]) -> Exception | None:
        """What became of a group whose COMMIT was not answered: None if it is there, now at the latest; else the error to tell."""
        kept = await self._kept(lost)
        if kept:
            if lost.links is not None:
                lost.links.keep()
            return None
        if kept is None:
            self._writer.chain.renew()
            return unavailable(lost.__cause__ or lost, self._address.shown, uncertain=True)
        try:
            await self._connections.persist(lambda: self._transact(jobs))
        except Uncertain as again:
            self._writer.chain.renew()
            return unavailable(again.__cause__ or again, self._address.shown, uncertain=True)
        except Exception as problem:
            return problem
        return None

    async def _kept(self, lost: Uncertain) -> bool | None:
        """Whether the group is there; None if that could not be found out in time."""
        witness = lost.witness
        if witness is None:
            return None

        async def look() -> bool:
            async with self._connections.use() as connection:
                return await self._writer.kept(connection, witness)

        with suppress(TimeoutError):
            async with asyncio.timeout(FATE):
                while True:
                    with suppress(StoreUnavailable, Uncertain):
                        return await self._connections.persist(look)
                    await asyncio.sleep(0.1)
        return None

    async def _transact(self, jobs: Sequence[Job]) -> None:
        async with self._connections.use() as connection:
            await self._writer.run(connection, jobs)

    async def adopt(self, versions: Sequence[Version]) -> None:
        """See ResourceStore.adopt."""
        if not versions:
            return

        async def once() -> None:
            async with self._connections.use() as connection:
                await self._writer.adopt(connection, versions)

        try:
            await self._connections.persist(once)
        except Uncertain as problem:
            raise unavailable(problem.__cause__ or problem, self._address.shown, uncertain=True) from None

    async def confirm(self, index: str, position: int | None) -> None:
        """See ResourceStore.confirm. Nothing is ever trimmed here: documents and events are the outbox."""
        if position is None:
            await self._connections.fetch(f"DELETE FROM {self._schema}.confirmed WHERE index = $1", index)
        else:
            await self._connections.fetch(_CONFIRM.replace("{schema}", self._schema), index, position)

    async def forget_events(self, until: int) -> int:
        """See ResourceStore.forget_events."""
        found = await self._connections.fetch(_FORGET.replace("{schema}", self._schema), until)
        return int(found[0][0])

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            moment = self._clock()
            try:
                await self._connections.fetch(f"DELETE FROM {self._schema}.receipt WHERE expires < $1", moment)
                await self._connections.fetch(f"DELETE FROM {self._schema}.claim WHERE instant < $1", moment - CLAIM)
                await self._connections.fetch(self._writer.records.expired, moment)
            except StoreUnavailable as problem:
                log.warning("expired receipts were not swept and will be in the next round: %s", problem)

    # -- reading

    async def read(self, type: str, id: str) -> Version | None:
        """See ResourceStore.read."""
        return await self._reader.read(type, id)

    async def read_version(self, type: str, id: str, version: int) -> Version | None:
        """See ResourceStore.read_version."""
        return await self._reader.read_version(type, id, version)

    async def read_many(self, keys: Sequence[Key]) -> list[Version | None]:
        """See ResourceStore.read_many."""
        return await self._reader.read_many(keys)

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
        return await self._reader.history(type, id, since, at, before, limit)

    async def count_history(
        self, type: str | None, id: str | None, *, since: int | None = None, at: tuple[int, int] | None = None
    ) -> int:
        """See ResourceStore.count_history. Long counts run one after another, so that they never take all connections."""
        if id is not None:
            return await count_history(self._connections, self._reader, self._schema, type, id, since, at)
        async with self._counting:
            return await count_history(self._connections, self._reader, self._schema, type, id, since, at)

    async def position(self) -> int:
        """See ResourceStore.position."""
        return await self._reader.position()

    async def newest(self, types: Sequence[str]) -> list[int]:
        """See ResourceStore.newest."""
        return await self._reader.newest(types)

    async def receipt(self, key: bytes) -> Receipt | None:
        """See ResourceStore.receipt."""
        return await self._reader.receipt(key, self._clock())

    async def record(self, kind: str, key: str) -> Record | None:
        """See ResourceStore.record."""
        return await self._writer.records.read(self._connections, kind, key, self._clock())

    async def records(self, kind: str, *, tag: str | None = None, after: str = "", limit: int = 1000) -> list[Record]:
        """See ResourceStore.records."""
        return await self._writer.records.listed(self._connections, kind, tag, after, limit, self._clock())

    async def record_kinds(self) -> list[str]:
        """See ResourceStore.record_kinds."""
        return sorted(row[0] for row in await self._connections.fetch(f"SELECT DISTINCT kind FROM {self._schema}.record"))

    def scan(
        self, types: Sequence[str], *, until: int, after: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> AsyncGenerator[list[Version], None]:
        """See ResourceStore.scan."""
        return scan(self._reader, types, until, after, shard)

    async def confirmed(self, index: str) -> int:
        """See ResourceStore.confirmed."""
        return await self._reader.confirmed(index)

    async def outbox(self, *, after: int, limit: int = 1000) -> AsyncIterator[list[Version]]:
        """See ResourceStore.outbox."""
        while found := await self._reader.outbox(after, limit):
            yield found
            after = found[-1].position
