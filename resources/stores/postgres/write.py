"""Writing to PostgreSQL: one transaction for a group of commits, in four round trips however large the group.

The counter is locked, the states of all resources of the group are read at once, preconditions are checked here against them and
against what earlier commits of the group did; a commit that conflicts is left out and the others go on (docs/adr/0011).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from resources.instants import instant_text
from resources.store import Change, Conflict, Receipt, Record, Version, Written
from resources.stores import events
from resources.stores.adoption import check_next, check_order
from resources.stores.bodies import Bodies
from resources.stores.chain import Chain, Links
from resources.stores.commits import Job
from resources.stores.postgres.connection import GONE, drop
from resources.stores.postgres.records import Records
from resources.stores.preconditions import check_change, check_claims
from resources.stores.records import Plan

CHUNK = 100
"""Changes between two breaths of the event loop in a large commit."""

ROWS = 500
"""Rows, at most, in one statement."""

LOCK = 10_000
"""Milliseconds to wait for the other servers' groups."""

_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = {lock};"
    " SET LOCAL idle_in_transaction_session_timeout = '5s';{durable} SELECT position FROM {schema}.counter FOR UPDATE"
)
"""The lock is a statement of its own: what is read after it sees every commit before it."""

_STATES = (
    "SELECT 0, 0::bigint, c.position, c.instant FROM {schema}.counter c"
    " UNION ALL SELECT 1, k.n, d.version::bigint, d.live::int::bigint FROM unnest($1::text[], $2::text[]) WITH ORDINALITY k(type, id, n)"
    " CROSS JOIN LATERAL (SELECT version, body IS NOT NULL AS live FROM {schema}.doc"
    " WHERE type = k.type AND id = k.id ORDER BY version DESC LIMIT 1) d"
    " UNION ALL SELECT 2, k.n, (SELECT c.position FROM {schema}.claim c WHERE c.key = k.key), 0 FROM unnest($3::bytea[])"
    " WITH ORDINALITY k(key, n)"
    " UNION ALL SELECT 3, k.n, (SELECT r.expires FROM {schema}.receipt r WHERE r.key = k.key), 0 FROM unnest($4::bytea[])"
    " WITH ORDINALITY k(key, n)"
)
_DOCS = (
    "INSERT INTO {schema}.doc (position, instant, version, type, id, method, body, document)"
    " SELECT p, s, v, t, i, m, b, {schema}.as_jsonb(j) FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::text[], $5::text[],"
    " $6::text[], $7::bytea[], $8::text[]) k(p, s, v, t, i, m, b, j)"
)
_GROUP = (
    "WITH docs AS (" + _DOCS + "), logged AS (INSERT INTO {schema}.log (position, instant, count, body)"
    " SELECT $9, $13, $10, $11 WHERE $10::int > 0)"
    " UPDATE {schema}.counter SET position = $12, instant = $13"
)
"""Documents (the last part of them), events and the counter in one statement."""

_LOGGED = (
    "INSERT INTO {schema}.log (position, instant, count, body)"
    " SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::int[], $4::bytea[])"
)
_COUNTED = "UPDATE {schema}.counter SET position = $1, instant = greatest(instant, $2)"
_FIND_ROW = "SELECT position, instant, version, type, id, method, body, NULL FROM {schema}.doc WHERE position = $1"
_FIND_PACK = "SELECT position, instant, count, body FROM {schema}.log WHERE position = $1"
_CLAIMS = (
    "INSERT INTO {schema}.claim (key, position, instant) SELECT k, p, $3 FROM unnest($1::bytea[], $2::bigint[]) n(k, p)"
    " ON CONFLICT (key) DO UPDATE SET position = excluded.position, instant = excluded.instant"
)
_RECEIPT = (
    "INSERT INTO {schema}.receipt (key, digest, answer, expires) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (key) DO UPDATE SET digest = excluded.digest, answer = excluded.answer, expires = excluded.expires"
)


class Uncertain(Exception):
    """The connection was lost during COMMIT: whether the group was kept is not known.

    `witness` is the last row that it wrote, which `Writer.kept` looks for (None: it wrote none). `links` are those of its events."""

    witness: "_Row | _Pack | Record | None" = None
    links: Links | None = None


class _State(NamedTuple):
    version: int
    live: bool


_NEVER = _State(0, False)


class _Row(NamedTuple):
    """A row of `doc`."""

    position: int
    instant: int
    version: int
    type: str
    id: str
    method: str
    body: bytes | None
    document: str | None


class _Pack(NamedTuple):
    """A row of `log`."""

    position: int
    instant: int
    number: int
    body: bytes


@dataclass(slots=True)
class _Group:
    """What a group of commits will write, and the states as they are after its earlier commits."""

    position: int = 0
    instant: int = 0
    text: str = ""
    states: dict[tuple[str, str], _State] = field(default_factory=dict)
    claims: dict[bytes, int] = field(default_factory=dict)
    receipts: dict[bytes, int] = field(default_factory=dict)
    rows: list[_Row] = field(default_factory=list)
    claimed: dict[bytes, int] = field(default_factory=dict)
    answered: dict[bytes, Receipt] = field(default_factory=dict)
    events: list[bytes] = field(default_factory=list)
    last: _Row | None = None
    logged: _Pack | None = None
    records: Plan = field(default_factory=lambda: Plan(lambda name: None, 0))
    links: Links | None = None

    @property
    def witness(self) -> _Row | _Pack | Record | None:
        """The last row that is written."""
        return self.logged or self.last or next(iter(self.records.kept), None)


class Writer:
    """The statements of a commit. `jsonb`: whether a copy of each document is kept that can be queried in SQL."""

    def __init__(self, schema: str, bodies: Bodies, clock: Callable[[], int], *, jsonb: bool) -> None:
        self._bodies, self._clock, self._jsonb = bodies, clock, jsonb
        self._states, self._docs, self._group, self._claims, self._receipt, self._logged, self._counted = (
            sql.replace("{schema}", schema) for sql in (_STATES, _DOCS, _GROUP, _CLAIMS, _RECEIPT, _LOGGED, _COUNTED)
        )
        self._find_row, self._find_pack = (sql.replace("{schema}", schema) for sql in (_FIND_ROW, _FIND_PACK))
        self._schema, self.records, self.chain = schema, Records(schema), Chain()
        self.durable(True)

    def durable(self, by_default: bool) -> None:
        """Whether this user's commits wait for the disk by default; if not, each of ours asks for it."""
        extra = "" if by_default else " SET LOCAL synchronous_commit = 'on';"
        self._begin = _BEGIN.replace("{schema}", self._schema).replace("{durable}", extra).replace("{lock}", str(LOCK))

    async def run(self, connection: PoolConnectionProxy, jobs: Sequence[Job]) -> None:
        """Write the jobs in one transaction; each gets its `result`.

        An error that is no Conflict leaves nothing written and is raised as it is, but for Uncertain.
        """
        group = _Group()
        try:
            async with self._transaction(connection):
                group = await self._fill(connection, jobs)
        except Uncertain as lost:
            lost.witness, lost.links = group.witness, group.links
            raise
        if group.links is not None:
            group.links.keep()

    async def _fill(self, connection: PoolConnectionProxy, jobs: Sequence[Job]) -> _Group:
        """Plan and write a group in the open transaction."""
        keys = list({(change.type, change.id): None for job in jobs for change in job.changes})
        claims = list({claim.key: None for job in jobs for claim in job.claims})
        receipts = list({job.receipt.key: None for job in jobs if job.receipt is not None})
        group = await self._read(connection, keys, claims, receipts)
        group.records = await self.records.plan(connection, jobs, self._clock())
        for job in jobs:
            for _ in self._plan(group, job):
                await asyncio.sleep(0)
                await self._send(connection, group)
        await self._write(connection, group)
        return group

    async def kept(self, connection: PoolConnectionProxy, witness: _Row | _Pack | Record) -> bool:
        """Whether a group whose COMMIT was not answered is there: the lock is only given once its transaction has ended."""
        async with self._transaction(connection):
            if isinstance(witness, Record):
                return await self.records.kept(connection, witness)
            if isinstance(witness, _Pack):
                found = await connection.fetchrow(self._find_pack, witness.position)
            else:
                found = await connection.fetchrow(self._find_row, witness.position)
                witness = witness._replace(document=None)  # the copy to query in SQL is spelled in another way
            return found is not None and tuple(found) == tuple(witness)

    async def adopt(self, connection: PoolConnectionProxy, versions: Sequence[Version]) -> None:
        """Write versions of another store as they are (resources.stores.adoption), in one transaction. Raises as `run` does."""
        own = [version for version in versions if events.is_own(version)]
        documents = [version for version in versions if not events.is_own(version)]
        async with self._transaction(connection):
            group = await self._read(connection, list({(v.type, v.id): None for v in documents}), [], [])
            check_order(versions, group.position)
            for version in documents:
                key = (version.type, version.id)
                check_next(version, group.states.get(key, _NEVER).version)
                group.states[key] = _State(version.version, version.body is not None)
            for start in range(0, len(documents), CHUNK):
                rows = [self._row(version, version.body) for version in documents[start : start + CHUNK]]
                await connection.execute(self._docs, *_columns(rows))
            packs = [self._packed(part) for part in events.groups(own)]
            await connection.execute(self._logged, *([list(column) for column in zip(*packs, strict=True)] if packs else [[]] * 4))
            await connection.execute(self._counted, versions[-1].position, max(version.instant for version in versions))

    def _packed(self, run: Sequence[Version]) -> _Pack:
        body = self._bodies.pack_events(b"\n".join(event.body or b"" for event in run))
        return _Pack(run[0].position, run[0].instant, len(run), body)

    @asynccontextmanager
    async def _transaction(self, connection: PoolConnectionProxy) -> AsyncIterator[None]:
        try:
            await connection.execute(self._begin, timeout=LOCK / 1000 + 2)
            yield
        except BaseException:
            await _roll_back(connection)
            raise
        await _commit(connection)

    async def _read(
        self, connection: PoolConnectionProxy, keys: Sequence[tuple[str, str]], claims: Sequence[bytes], receipts: Sequence[bytes]
    ) -> _Group:
        """The counter and all states that a group starts from."""
        found = await connection.fetch(self._states, [k[0] for k in keys], [k[1] for k in keys], claims, receipts)
        group = _Group()
        for kind, number, first, second in found:
            if kind == 0:
                group.position, group.instant = first, max(self._clock() // 1000 * 1000, second)
            elif kind == 1:
                group.states[keys[number - 1]] = _State(first, bool(second))
            elif kind == 2:
                group.claims[claims[number - 1]] = first or 0
            else:
                group.receipts[receipts[number - 1]] = first or 0
        group.text = instant_text(group.instant)
        return group

    def _plan(self, group: _Group, job: Job) -> Iterator[None]:
        """Check a job's preconditions and, if all hold, add its rows to the group."""
        try:
            states = [_check(group, number, change) for number, change in enumerate(job.changes)]
            _check_claims(group, job)
            group.records.check(job.records)
        except Conflict as refused:
            job.result = refused
            return
        written = []
        for number, (change, state) in enumerate(zip(job.changes, states, strict=True)):
            written.append(self._add(group, change, state))
            if number % CHUNK == CHUNK - 1:
                yield
        for claim in job.claims:
            group.claims[claim.key] = group.claimed[claim.key] = group.position
        if job.receipt is not None:
            kept = job.receipt
            answer = kept.answer(written) if callable(kept.answer) else kept.answer
            group.answered[kept.key] = Receipt(kept.key, kept.digest, answer, kept.expires)
        group.events.extend(job.events)
        group.records.add(job.records)
        job.result = written

    def _add(self, group: _Group, change: Change, state: _State) -> Written:
        """Add a change's row to the group and return what it became."""
        group.position += 1
        version, live = state.version + 1, change.draft is not None
        body = None if change.draft is None else change.draft.stamp(version, group.text)
        answered = body if change.echo or body is None else b""
        made = Version(change.type, change.id, version, group.instant, change.method, answered, group.position)
        group.rows.append(self._row(made, body))
        group.states[(change.type, change.id)] = _State(version, live)
        return Written(made, created=not state.live)

    def _row(self, version: Version, body: bytes | None) -> _Row:
        packed = None if body is None else self._bodies.pack(body)
        document = _spelled(body) if body is not None and self._jsonb else None
        return _Row(version.position, version.instant, version.version, version.type, version.id, version.method, packed, document)

    async def _write(self, connection: PoolConnectionProxy, group: _Group) -> None:
        """Send the rest of the group. Where every job conflicted, there is nothing."""
        await self._send(connection, group)
        last = group.rows
        group.last = last[-1] if last else group.last
        await self.records.write(connection, group.records)
        if not group.last and not group.events and not group.claimed and not group.answered:
            return
        first, count = group.position + 1, len(group.events)
        group.links = self.chain.links()
        logged = self._bodies.pack_events(group.links.stamp(group.events, first, group.instant)) if count else b""
        group.logged = _Pack(first, group.instant, count, logged) if count else None
        group.position += count
        await connection.execute(self._group, *_columns(last), first, count, logged, group.position, group.instant)
        if group.claimed:
            await connection.execute(self._claims, list(group.claimed), list(group.claimed.values()), group.instant)
        for kept in group.answered.values():
            await connection.execute(self._receipt, kept.key, kept.digest, kept.answer, kept.expires)

    async def _send(self, connection: PoolConnectionProxy, group: _Group) -> None:
        """Send rows while a large commit is still planned: it holds the lock, and the server must not take us for dead."""
        while len(group.rows) > ROWS:
            part, group.rows = group.rows[:ROWS], group.rows[ROWS:]
            await connection.execute(self._docs, *_columns(part))
            group.last = part[-1]


def _check(group: _Group, number: int, change: Change) -> _State:
    """The state a change starts from. Raises Conflict if its precondition does not hold."""
    state = group.states.get((change.type, change.id), _NEVER)
    check_change(number, change, state.version, state.live)
    return state


def _check_claims(group: _Group, job: Job) -> None:
    check_claims(job.claims, lambda key: group.claims.get(key, 0))
    if job.receipt is not None:
        key = job.receipt.key
        if key in group.answered or group.receipts.get(key, 0) > group.instant:
            raise Conflict("receipt")


def _spelled(body: bytes) -> str | None:
    """The document as text; None where PostgreSQL would take none (what is no UTF-8 or has a NUL is no JSON either)."""
    try:
        return None if b"\0" in body else body.decode()
    except UnicodeDecodeError:
        return None


def _columns(rows: Sequence[_Row]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * 8


async def _commit(connection: PoolConnectionProxy) -> None:
    try:
        answer = await connection.execute("COMMIT")
    except GONE as problem:
        drop(connection)
        raise Uncertain from problem
    if answer != "COMMIT":  # a transaction that failed is rolled back by COMMIT, without an error
        raise asyncpg.InterfaceError(f"COMMIT was answered with {answer}")


async def _roll_back(connection: PoolConnectionProxy) -> None:
    """End a transaction that failed; where even that fails, the connection is thrown away, and the server rolls back by itself."""
    try:
        await connection.execute("ROLLBACK", timeout=2)
    except (asyncpg.PostgresError, *GONE):
        drop(connection)
