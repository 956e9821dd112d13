"""Writing to SQLite: one transaction for a group of commits.

Every precondition is checked in Python against the database and against what earlier commits of the same group did; a commit that
conflicts is left out and the others go on. Only then rows are written, one `executemany` a table (docs/adr/0003).
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import apsw

from resources.instants import instant_text
from resources.store import Change, Conflict, Version, Written
from resources.stores import events
from resources.stores.adoption import check_next, check_order
from resources.stores.bodies import Bodies, is_spoilt
from resources.stores.chain import Chain, Links
from resources.stores.commits import Job
from resources.stores.participant import Applied, Participant
from resources.stores.preconditions import check_change, check_claims
from resources.stores.records import Plan
from resources.stores.sqlite import records as kept
from resources.stores.sqlite.schema import confirmed_name, lazily, rows
from resources.stores.sqlite.types import METHODS, Types, row_hash

log = logging.getLogger(__name__)

CHUNK = 100
"""Changes between two breaths of the event loop in a large commit (about 15 ms)."""

_INDEXED = 8 * 1024
"""Bytes of packed events after which a transaction that indexes them ends: nobody is served meanwhile."""

FORGET = 200
"""Groups of events that are removed in one transaction."""

_FIND = "SELECT row, version, live FROM res WHERE hash = ? AND type = ? AND id = ?"
_ADD = "INSERT INTO res (row, hash, type, id, version, seq, live) VALUES (?, ?, ?, ?, ?, ?, ?)"
_MOVE = "UPDATE res SET version = ?, seq = ?, live = ? WHERE row = ?"
_BODY = "INSERT INTO doc (seq, row, type, version, instant, method, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
_LOG = "INSERT INTO log (seq, count, instant, body) VALUES (?, ?, ?, ?)"
_CLAIM = (
    "INSERT INTO claim (key, seq, instant) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET seq = excluded.seq, instant = excluded.instant"
)
_OLD = "SELECT seq, count, instant FROM log WHERE seq + count - 1 <= ? AND seq < (SELECT max(seq) FROM log) ORDER BY seq LIMIT ?"
_UNINDEXED = "INSERT OR IGNORE INTO state (name, value) VALUES ('unindexed', 1)"
_CONFIRM = "INSERT INTO state (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
_RECEIPT = (
    "INSERT INTO receipt (key, digest, answer, expires) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET digest = excluded.digest, answer = excluded.answer, expires = excluded.expires"
)


class _State(NamedTuple):
    row: int
    version: int
    live: bool
    new: bool


@dataclass(slots=True)
class _Group:
    """What a group of commits will write, and the states as they are after its earlier commits."""

    instant: int
    text: str
    records: Plan
    links: Links
    states: dict[tuple[str, str], _State] = field(default_factory=dict)
    added: list[tuple[object, ...]] = field(default_factory=list)
    moved: list[tuple[object, ...]] = field(default_factory=list)
    bodies: list[tuple[object, ...]] = field(default_factory=list)
    claims: dict[bytes, int] = field(default_factory=dict)
    receipts: dict[bytes, tuple[object, ...]] = field(default_factory=dict)
    events: list[bytes] = field(default_factory=list)
    applied: dict[int, Applied] = field(default_factory=dict)


class Writer:
    """The write connection's statements. All calls happen while the store holds the file's write lock."""

    def __init__(
        self, connection: apsw.Connection, bodies: Bodies, types: Types, participant: Participant | None, clock: Callable[[], int]
    ) -> None:
        self._connection, self._bodies, self._types = connection, bodies, types
        self._participant, self._clock = participant, clock
        self._data_version = -1
        self._seq = self._row = self._instant = 0
        self._told = False
        self.chain = Chain()

    def run(self, jobs: Sequence[Job]) -> Generator[None, None, None]:
        """Write the jobs in one transaction, pausing (yield) now and then so that the caller may let others run.

        Each job gets its `result`. An error that is no Conflict rolls everything back and is raised.
        """
        with self._transaction():
            group = self._begin()
            for job in jobs:
                yield from self._plan(group, job)
            yield from self._flush(group)
        group.links.keep()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._commit()
        except BaseException:
            self._data_version = -1
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except apsw.Error:
            self.chain.renew()  # whatever is there after all, no other event will claim to follow the same one
            raise

    def _begin(self) -> _Group:
        """Counters as they stand: read again only if another process wrote since our last commit."""
        data_version = self._connection.pragma("data_version")
        if data_version != self._data_version:
            self.recount()
            self._data_version = data_version
        self._instant = max(self._clock() // 1000 * 1000, self._instant)
        records = kept.planned(self._connection, self._clock())
        return _Group(self._instant, instant_text(self._instant), records, self.chain.links())

    def recount(self) -> None:
        """Read the newest position, row number and instant from the file."""
        found = rows(
            self._connection,
            "SELECT (SELECT max(seq) FROM doc), (SELECT max(seq + count - 1) FROM log WHERE seq = (SELECT max(seq) FROM log)),"
            " (SELECT max(row) FROM res), (SELECT instant FROM doc ORDER BY seq DESC LIMIT 1),"
            " (SELECT instant FROM log ORDER BY seq DESC LIMIT 1)",
        )
        document, event, row, written, logged = found[0]
        self._seq, self._row = max(document or 0, event or 0), row or 0
        self._instant = max(written or 0, logged or 0)
        self._told = False

    def _plan(self, group: _Group, job: Job) -> Iterator[None]:
        """Check a job's preconditions and, if all hold, add its rows to the group."""
        try:
            states = []
            for number, change in enumerate(job.changes):
                states.append(self._check(group, number, change))
                if number % CHUNK == CHUNK - 1:
                    yield
            self._check_claims(group, job)
            group.records.check(job.records)
        except Conflict as refused:
            job.result = refused
            return
        written = []
        for number, (change, state) in enumerate(zip(job.changes, states, strict=True)):
            written.append(self._write(group, change, state))
            if number % CHUNK == CHUNK - 1:
                yield
        for claim in job.claims:
            group.claims[claim.key] = self._seq
        if job.receipt is not None:
            answer = job.receipt.answer
            kept = answer(written) if callable(answer) else answer
            group.receipts[job.receipt.key] = (job.receipt.key, job.receipt.digest, kept, job.receipt.expires)
        group.events.extend(job.events)
        group.records.add(job.records)
        job.result = written

    def _check(self, group: _Group, number: int, change: Change) -> _State:
        """The state a change starts from. Raises Conflict if its precondition does not hold."""
        state = group.states.get((change.type, change.id)) or self._find(change)
        check_change(number, change, state.version, state.live)
        return state

    def _find(self, change: Change | Version) -> _State:
        type_ = self._types.number(change.type)
        found = rows(self._connection, _FIND, (row_hash(change.type, change.id), type_, change.id))
        return _State(found[0][0], found[0][1], bool(found[0][2]), False) if found else _State(0, 0, False, True)

    def _check_claims(self, group: _Group, job: Job) -> None:
        check_claims(job.claims, lambda key: group.claims.get(key) or self._claimed(key))
        if job.receipt is not None:
            kept = rows(self._connection, "SELECT expires FROM receipt WHERE key = ?", (job.receipt.key,))
            if job.receipt.key in group.receipts or (kept and kept[0][0] > group.instant):
                raise Conflict("receipt")

    def _claimed(self, key: bytes) -> int:
        found = rows(self._connection, "SELECT seq FROM claim WHERE key = ?", (key,))
        return int(found[0][0]) if found else 0

    def _write(self, group: _Group, change: Change, state: _State) -> Written:
        """Add a change's rows to the group and return what it became."""
        self._seq += 1
        type_, version, live = self._types.number(change.type), state.version + 1, change.draft is not None
        row = state.row
        if not row:
            self._row = row = self._row + 1
            group.added.append((row, row_hash(change.type, change.id), type_, change.id, version, self._seq, live))
        else:
            group.moved.append((version, self._seq, live, row))
        body = None if change.draft is None else change.draft.stamp(version, group.text)
        packed = None if body is None else self._bodies.pack(body)
        group.bodies.append((self._seq, row, type_, version, group.instant, METHODS.index(change.method), packed))
        if self._participant is not None:
            group.applied[row] = self._applied(self._participant, group, change, state, row, body)
        group.states[(change.type, change.id)] = _State(row, version, live, False)
        answered = body if change.echo or body is None else b""
        written = Version(change.type, change.id, version, group.instant, change.method, answered, self._seq)
        return Written(written, created=not state.live)

    def _applied(
        self, participant: Participant, group: _Group, change: Change, state: _State, row: int, body: bytes | None
    ) -> Applied:
        """What the participant is told of a change, and of what earlier commits of the group did to the same resource."""
        entry, earlier = change.entry, group.applied.get(row)
        if entry is None and body is not None:
            entry = participant.prepare(change.type, body)
        new = state.new if earlier is None else earlier.new
        created = (not state.live) if earlier is None else earlier.created
        return Applied(row, change.type, change.id, group.instant, entry, created, new, body is not None)

    def _flush(self, group: _Group) -> Iterator[None]:
        """Write the group's rows."""
        many = self._connection.executemany
        for statement, values in ((_ADD, group.added), (_MOVE, group.moved), (_BODY, group.bodies)):
            for start in range(0, len(values), CHUNK):
                many(statement, values[start : start + CHUNK])
                if len(values) > CHUNK:
                    yield
        if group.claims:
            many(_CLAIM, [(key, seq, group.instant) for key, seq in group.claims.items()])
        if group.receipts:
            many(_RECEIPT, list(group.receipts.values()))
        kept.write(self._connection, group.records)
        if self._participant is None and group.bodies and not self._told:
            self._connection.execute(_UNINDEXED)  # and again after another process wrote: it may have built the index anew
            self._told = True
        if self._participant is not None and group.applied:
            applied = list(group.applied.values())
            for start in range(0, len(applied), CHUNK):
                self._participant.write(self._connection, applied[start : start + CHUNK])
                if len(applied) > CHUNK:
                    yield
        if group.events:
            self._log(group)

    def _log(self, group: _Group) -> None:
        for part in events.portions(group.events):
            first, count = self._seq + 1, len(part)
            packed = self._bodies.pack_events(group.links.stamp(part, first, group.instant))
            self._connection.execute(_LOG, (first, count, group.instant, packed))
            self._seq += count

    def adopt(self, versions: Sequence[Version]) -> Generator[None, None, None]:
        """Write versions of another store as they are (see ResourceStore.adopt), with pauses, in one transaction."""
        with self._transaction():
            group = self._begin()
            check_order(versions, self._seq)
            own = [version for version in versions if events.is_own(version)]
            latest: dict[int, Version] = {}
            for number, version in enumerate(v for v in versions if not events.is_own(v)):
                latest[self._adopt(group, version)] = version
                if number % CHUNK == CHUNK - 1:
                    yield
            if self._participant is not None:
                for row, version in latest.items():
                    entry = None if version.body is None else self._participant.prepare(version.type, version.body)
                    live, new = version.body is not None, group.states[(version.type, version.id)].new
                    group.applied[row] = Applied(row, version.type, version.id, version.instant, entry, new, new, live)
            yield from self._flush(group)
            for run in events.groups(own):
                packed = self._bodies.pack_events(b"\n".join(event.body or b"" for event in run))
                self._connection.execute(_LOG, (run[0].position, len(run), run[0].instant, packed))
            self._seq = versions[-1].position if versions else self._seq
            self._instant = max([self._instant, *(version.instant for version in versions)])

    def _adopt(self, group: _Group, version: Version) -> int:
        """Add a version's rows to the group; returns its row. In the group's states `new` says whether all of the resource is."""
        key = (version.type, version.id)
        state = group.states.get(key) or self._find(version)
        check_next(version, state.version)
        type_, live, row = self._types.number(version.type), version.body is not None, state.row
        if row:
            group.moved.append((version.version, version.position, live, row))
        else:
            self._row = row = self._row + 1
            group.added.append((row, row_hash(*key), type_, version.id, version.version, version.position, live))
        packed = None if version.body is None else self._bodies.pack(version.body)
        method = METHODS.index(version.method)
        group.bodies.append((version.position, row, type_, version.version, version.instant, method, packed))
        group.states[key] = _State(row, version.version, live, state.new)
        return row

    def index_events(self, limit: int) -> tuple[int, bool]:
        """Let the participant write its rows of the next `limit` or so events, of fewer where they are large; how many were done, and
        whether there may be more. What is spoilt is passed over, and told in the log: the others must not wait for it. Raises
        StoreUnavailable where this program is too old."""
        if self._participant is None:
            return 0, False
        with self._transaction():
            return self._index_events(self._participant, limit)

    def _index_events(self, participant: Participant, limit: int) -> tuple[int, bool]:
        after = rows(self._connection, "SELECT value FROM state WHERE name = 'events_indexed'")[0][0]
        applied: list[Applied] = []
        done = size = 0
        for seq, count, instant, body in rows(
            self._connection, "SELECT seq, count, instant, body FROM log WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        ):
            made = self._entries(participant, seq, instant, body)
            applied += made
            done += max(count, 1)
            after = made[-1].row - events.ROW if made else seq
            size += len(body)
            if done >= limit or size >= _INDEXED:
                break
        if done:
            participant.write(self._connection, applied)
            self._connection.execute("UPDATE state SET value = ? WHERE name = 'events_indexed'", (after,))
        return done, done >= limit or size >= _INDEXED

    def _entries(self, participant: Participant, seq: int, instant: int, body: bytes) -> list[Applied]:
        """What the participant is told of a group of events, without those that nobody can read."""
        found: list[Version] = []
        made: list[Applied] = []
        with _passing_over(seq):
            found.extend(events.unpack(self._bodies.unpack(body), seq, instant))
        for event in found:
            with _passing_over(event.position):
                entry = participant.prepare(event.type, event.body or b"")
                made.append(Applied(events.ROW + event.position, event.type, event.id, instant, entry, True, True))
        return made

    def forget_events(self, until: int) -> int:
        """See ResourceStore.forget_events."""
        with self._transaction():
            if self._participant is not None:
                until = min(until, rows(self._connection, "SELECT value FROM state WHERE name = 'events_indexed'")[0][0])
            found = rows(self._connection, _OLD, (until, FORGET))
            if self._participant is not None:
                for seq, count, instant in found:
                    gone = [events.forgotten(events.version(seq + number, instant, b"")) for number in range(count)]
                    self._participant.write(self._connection, gone)
            self._connection.executemany("DELETE FROM log WHERE seq = ?", [(seq,) for seq, *_ in found])
            return sum(count for _, count, _ in found)

    def unindexed(self) -> bool:
        """Whether something was written without a participant, such as while Elasticsearch was the index, since the last rebuild."""
        return bool(rows(self._connection, "SELECT 1 FROM state WHERE name = 'unindexed'"))

    def rebuild(self, participant: Participant, watch: Callable[[str, int], None] = lambda type, count: None) -> int:
        """Have the participant index everything anew, in the open transaction; events follow in the background. Returns how many.

        `watch` is told of each document's type, and of 1."""
        self._connection.execute("UPDATE state SET value = 0 WHERE name = 'events_indexed'")
        self._connection.execute("DELETE FROM state WHERE name = 'unindexed'")
        with closing(self._live(watch)) as documents:
            return participant.rebuild(self._connection, documents)

    def _live(self, watch: Callable[[str, int], None]) -> Generator[tuple[int, str, str, int, bytes], None, None]:
        sql = (
            "SELECT r.row, r.type, r.id, d.instant, d.body FROM res r CROSS JOIN doc d ON d.seq = r.seq WHERE r.live ORDER BY r.row"
        )
        with lazily(self._connection, sql) as found:
            for row, type_, id, instant, body in found:
                name = self._types.name(type_)
                yield row, name, id, instant, self._bodies.unpack(body)
                watch(name, 1)

    def sweep(self) -> bool:
        """Forget receipts and records that have expired, and claims that no running request can hold any more, in one transaction;
        whether there may be more records to forget."""
        now = self._clock()
        with self._transaction():
            self._connection.execute("DELETE FROM receipt WHERE expires < ?", (now,))
            self._connection.execute("DELETE FROM claim WHERE instant < ?", (now - 3_600_000_000,))
            return kept.sweep(self._connection, now) > 0

    def confirm(self, index: str, position: int | None) -> None:
        """Keep an outside index's confirmed position; None forgets the index."""
        if position is None:
            self._connection.execute("DELETE FROM state WHERE name = ?", (confirmed_name(index),))
        else:
            self._connection.execute(_CONFIRM, (confirmed_name(index), position))


@contextmanager
def _passing_over(position: int) -> Iterator[None]:
    """What is spoilt at this position is told in the log, and nothing else."""
    try:
        yield
    except Exception as problem:
        if not is_spoilt(problem):
            raise
        extra = {"event": f"event-{position}", "problem": type(problem).__name__}
        log.critical("an AuditEvent cannot be read and is left out of the index", extra=extra)
