"""Reading from SQLite: statements of a connection that only reads. Bodies are handed on as bytes, never parsed."""

from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from heapq import merge
from itertools import islice
from typing import Any

import apsw

from resources.store import HistoryPage, Key, Receipt, Record, Version
from resources.stores import events
from resources.stores.bodies import Bodies
from resources.stores.sqlite import records as kept
from resources.stores.sqlite.schema import confirmed_name, lazily, rows
from resources.stores.sqlite.types import METHODS, Types, row_hash

_CURRENT = (
    "SELECT r.version, d.instant, d.method, d.body, d.seq FROM res r CROSS JOIN doc d ON d.seq = r.seq"
    " WHERE r.hash = ? AND r.type = ? AND r.id = ?"
)
_CURRENT_ROW = (
    "SELECT r.type, r.id, r.version, d.instant, d.method, d.body, d.seq FROM res r CROSS JOIN doc d ON d.seq = r.seq"
    " WHERE r.row = ?"
)
_ROW = "SELECT row FROM res WHERE hash = ? AND type = ? AND id = ?"
_POSITION = (
    "SELECT max((SELECT coalesce(max(seq), 0) FROM doc), coalesce((SELECT seq + count - 1 FROM log ORDER BY seq DESC LIMIT 1), 0))"
)
"""Two steps to the right end of a tree, 4 µs."""
_EVENT_GROUP = "SELECT seq, count, instant, body FROM log WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
_VERSION = "SELECT version, instant, method, body, seq FROM doc WHERE row = ? AND version = ?"
_NOT_PASSED = "NOT EXISTS (SELECT 1 FROM doc n WHERE n.row = d.row AND n.version = d.version + 1 AND n.{column} <= ?)"

BATCH = 500
"""Versions in one list of a scan or of the outbox."""

BYTES = 8 * 1024 * 1024
"""Bytes of bodies after which a list of a scan ends before that: it is held in memory as a whole."""

Walk = Generator[Version, None, None]
"""Versions read one after the other. Whoever has one closes it: its statement is open until then (`lazily`)."""


class Reader:
    """The read connection's statements."""

    def __init__(self, connection: apsw.Connection, bodies: Bodies, types: Types) -> None:
        self._connection, self._bodies, self._types = connection, bodies, types

    def position(self) -> int:
        """The newest position that is committed."""
        return int(rows(self._connection, _POSITION)[0][0])

    def newest(self, type: str) -> int:
        """The position of the newest version of a type, or 0."""
        sql = "SELECT seq FROM doc WHERE type = ? ORDER BY seq DESC LIMIT 1"
        found = rows(self._connection, sql, (self._types.known(type),))
        if type == events.TYPE:
            found += rows(self._connection, "SELECT seq + count - 1 FROM log ORDER BY seq DESC LIMIT 1")
        return max((int(row[0]) for row in found), default=0)

    def confirmed(self, index: str) -> int:
        """The position that an outside index has confirmed, or 0."""
        found = rows(self._connection, "SELECT value FROM state WHERE name = ?", (confirmed_name(index),))
        return int(found[0][0]) if found else 0

    def read(self, type: str, id: str) -> Version | None:
        """The current version of a resource, or None."""
        position = events.position_of(type, id)
        if position is not None:
            event = self._event(position)
            if event is not None:
                return event
        number = self._types.known(type)
        found = rows(self._connection, _CURRENT, (row_hash(type, id), number, id))
        return self._version(type, id, found[0]) if found else None

    def read_version(self, type: str, id: str, version: int) -> Version | None:
        """One version of a resource, or None."""
        position = events.position_of(type, id)
        if position is not None and (event := self._event(position)) is not None:
            return event if version == 1 else None
        row = self._row(type, id)
        if row is None:
            return None
        found = rows(self._connection, _VERSION, (row, version))
        return self._version(type, id, found[0]) if found else None

    def read_many(self, keys: Sequence[Key]) -> list[Version | None]:
        """The current versions of several resources, in order."""
        positions = [events.position_of(key.type, key.id) for key in keys]
        logged = self._events_at({position for position in positions if position})
        return [(logged.get(n) if n else None) or self._read_key(key) for key, n in zip(keys, positions, strict=True)]

    def _read_key(self, key: Key) -> Version | None:
        if 0 < key.hint < events.ROW:
            found = rows(self._connection, _CURRENT_ROW, (key.hint,))
            if found and found[0][1] == key.id and found[0][0] == self._types.known(key.type):
                return self._version(key.type, key.id, found[0][2:])
        return self.read(key.type, key.id)

    def receipt(self, key: bytes, now: int) -> Receipt | None:
        """The receipt under `key`, unless it has expired by `now`."""
        found = rows(self._connection, "SELECT digest, answer, expires FROM receipt WHERE key = ?", (key,))
        return Receipt(key, *found[0]) if found and found[0][2] > now else None

    def record(self, kind: str, key: str, now: int) -> Record | None:
        """See ResourceStore.record."""
        return kept.read(self._connection, kind, key, now)

    def records(self, kind: str, tag: str | None, after: str, limit: int, now: int) -> list[Record]:
        """See ResourceStore.records."""
        return kept.listed(self._connection, kind, tag, after, limit, now)

    def history(
        self, type: str | None, id: str | None, since: int | None, at: tuple[int, int] | None, before: int | None, limit: int
    ) -> HistoryPage:
        """One page of history, newest first."""
        where, values = ["d.seq < ?"], [before if before is not None else 1 << 62]
        if at is not None:
            where.append(f"d.instant < ? AND {_NOT_PASSED.format(column='instant')}")
            values += [at[1], at[0]]
        walks: list[Walk] = []
        if type is None:
            walks.append(self._walk(where, values, ""))
        elif id is None:
            walks.append(self._walk(["d.type = ?", *where], [self._types.known(type), *values], ""))
            if type == events.TYPE:
                walks.append(self._events_before(before, at))
        else:
            event = self.read(type, id) if events.position_of(type, id) is not None else None
            row = self._row(type, id)
            if event is not None and row is None:
                kept = (before is None or event.position < before) and (at is None or event.instant < at[1])
                return _page(iter([event] if kept else []), since, limit)
            if row is not None:
                walks.append(self._walk(["d.row = ?", *where], [row, *values], "ORDER BY d.version DESC"))
        with _merged(walks, -1) as found:
            return _page(found, since, limit)

    def _walk(self, where: Sequence[str], values: Sequence[Any], order: str) -> Walk:
        """Versions that satisfy the conditions, newest first."""
        sql = f"SELECT d.type, d.row, d.version, d.instant, d.method, d.body, d.seq FROM doc d WHERE {' AND '.join(where)}"
        ids: dict[int, str] = {}
        with lazily(self._connection, f"{sql} {order or 'ORDER BY d.seq DESC'}", values) as found:
            for number, row, *rest in found:
                if row not in ids:
                    ids[row] = rows(self._connection, "SELECT id FROM res WHERE row = ?", (row,))[0][0]
                yield self._version(self._types.name(number), ids[row], rest)

    def scan(self, types: Sequence[str], until: int, after: int, shard: tuple[int, int]) -> list[Version]:
        """The next list of live resources as of position `until`, above position `after`; empty at the end."""
        documents = self._walk(
            [
                "d.seq > ?",
                "d.seq <= ?",
                "d.body IS NOT NULL",
                "d.row % ? = ?",
                _NOT_PASSED.format(column="seq"),
                *self._of_types(types),
            ],
            [after, until, shard[1], shard[0], until],
            "ORDER BY d.seq LIMIT 500",
        )
        walks = [documents, self._events_after(after, until, shard)] if not types or events.TYPE in types else [documents]
        versions, size = list[Version](), 0
        with _merged(walks) as found:
            for version in islice(found, BATCH):
                versions.append(version)
                size += len(version.body or b"")
                if size >= BYTES:
                    break
        return versions

    def _of_types(self, types: Sequence[str]) -> list[str]:
        if not types:
            return []
        numbers = [n for t in types if (n := self._types.known(t)) is not None]
        # of many types the rows are read in their own order: by type they would all have to be sorted, for each list anew
        column = "d.type" if len(numbers) <= 3 else "+d.type"
        return [f"{column} IN ({', '.join(map(str, numbers))})"]

    def outbox(self, after: int, limit: int) -> list[Version]:
        """The next versions and events after a position, in order.

        Documents and events are two statements, each with a snapshot of its own: both end at one position, that no commit of another
        process can come between.
        """
        until = self.position()
        documents = self._walk(["d.seq > ?", "d.seq <= ?"], [after, until], "ORDER BY d.seq")
        with _merged([documents, self._events_after(after, until)]) as found:
            return list(islice(found, limit))

    def _event(self, position: int) -> Version | None:
        return self._events_at((position,)).get(position)

    def _events_at(self, positions: Collection[int]) -> dict[int, Version]:
        """The events at these positions. Each packed group is unpacked once, however many of its events are wanted."""
        found: dict[int, Version] = {}
        first, lines, instant = 0, list[bytes](), 0
        for position in sorted(positions):
            if position >= first + len(lines):
                group = rows(self._connection, _EVENT_GROUP, (position,))
                if not group or position >= group[0][0] + group[0][1]:
                    continue  # there is no event here; a later position may be one
                first, _, instant, body = group[0]
                lines = self._bodies.unpack(body).split(b"\n")
            found[position] = events.version(position, instant, lines[position - first])
        return found

    def _events_before(self, before: int | None, at: tuple[int, int] | None) -> Walk:
        top = before if before is not None else 1 << 62
        with lazily(self._connection, "SELECT seq, instant, body FROM log WHERE seq < ? ORDER BY seq DESC", (top,)) as found:
            for seq, instant, body in found:
                if at is None or instant < at[1]:
                    group = [e for e in events.unpack(self._bodies.unpack(body), seq, instant) if e.position < top]
                    yield from reversed(group)

    def _events_after(self, after: int, until: int, shard: tuple[int, int] = (0, 1)) -> Walk:
        sql = (
            "SELECT seq, instant, body FROM log WHERE seq + count > ? + 1 AND seq <= ?"
            " AND seq >= (SELECT coalesce(max(seq), 0) FROM log WHERE seq <= ? + 1) ORDER BY seq"
        )
        with lazily(self._connection, sql, (after, until, after)) as found:
            for seq, instant, body in found:
                for event in events.unpack(self._bodies.unpack(body), seq, instant):
                    if after < event.position <= until and event.position % shard[1] == shard[0]:
                        yield event

    def _row(self, type: str, id: str) -> int | None:
        found = rows(self._connection, _ROW, (row_hash(type, id), self._types.known(type), id))
        return int(found[0][0]) if found else None

    def _version(self, type: str, id: str, row: Sequence[Any]) -> Version:
        version, instant, method, body, position = row
        unpacked = None if body is None else self._bodies.unpack(body)
        return Version(type, id, version, instant, METHODS[method], unpacked, position)


@contextmanager
def _merged(walks: Sequence[Walk], sign: int = 1) -> Iterator[Iterator[Version]]:
    """The versions of several walks in order of position (`sign` -1: newest first); afterwards all of them have ended, also those that
    wait for their turn when another one fails."""
    with ExitStack() as ends:
        for walk in walks:
            ends.enter_context(closing(walk))
        yield merge(*walks, key=lambda v: sign * v.position)


def _page(versions: Iterator[Version], since: int | None, limit: int) -> HistoryPage:
    """The first `limit` versions; instants never grow going back, so the first one before `since` ends the walk."""
    page: list[Version] = []
    for version in versions:
        if since is not None and version.instant < since:
            break
        if len(page) == limit:
            return HistoryPage(page, page[-1].position)
        page.append(version)
    return HistoryPage(page, None)
