"""Reading from PostgreSQL: each answer from one statement, so from one moment. Bodies are handed on as bytes, never parsed.

The statements leave PostgreSQL's planner one way only, that of an index in its order, whatever its statistics say. Conditions on a
resource's next version stand as scalar subqueries, which are evaluated row by row; as EXISTS it might choose to join the whole table for
a page of a hundred. A type is walked by comparing pairs (type, position); with `type = …` it might choose to walk along all positions, or
to sort all of the type.
"""

from collections.abc import Iterable, Sequence
from heapq import merge
from itertools import islice
from typing import Any

from resources.store import HistoryPage, Key, Receipt, Version
from resources.stores import events
from resources.stores.bodies import Bodies
from resources.stores.postgres.connection import LONG, Connections

END = 1 << 62
"""Above every position and instant."""

BATCH = 500
"""Versions in one list of a scan."""

WINDOW = 1000
"""Rows that one statement of a scan looks at."""

BYTES = 4 * 1024 * 1024
"""Packed bytes of bodies after which it ends before that: what it finds is held in memory as a whole."""

_ALL = "d.type, d.id, d.version, d.instant, d.method, d.body, d.position"
_EVENT = "NULL, NULL, l.count, l.instant, NULL, l.body, l.position"
"""A packed group in the columns of a document; its type is NULL."""

_CURRENT = "SELECT " + _ALL + " FROM {schema}.doc d WHERE d.type = $1 AND d.id = $2 ORDER BY d.version DESC LIMIT 1"
_VERSION = "SELECT " + _ALL + " FROM {schema}.doc d WHERE d.type = $1 AND d.id = $2 AND d.version = $3"
_GROUP = "SELECT " + _EVENT + " FROM {schema}.log l WHERE l.position <= $1 ORDER BY l.position DESC LIMIT 1"
_MANY = (
    "SELECT k.n, d.* FROM unnest($1::text[], $2::text[]) WITH ORDINALITY k(type, id, n) CROSS JOIN LATERAL (SELECT " + _ALL + ""
    " FROM {schema}.doc d WHERE d.type = k.type AND d.id = k.id ORDER BY d.version DESC LIMIT 1) d"
)
_MANY_EVENTS = (
    " UNION ALL SELECT 0, "
    + _EVENT
    + " FROM (SELECT DISTINCT (SELECT max(g.position) FROM {schema}.log g WHERE g.position <= k.p) AS p"
    " FROM unnest($3::bigint[]) k(p)) s CROSS JOIN LATERAL"
    " (SELECT * FROM {schema}.log l WHERE l.position = s.p LIMIT 1) l"
)
_NEWEST = (
    "SELECT greatest("
    "coalesce((SELECT d.position FROM {schema}.doc d WHERE (d.type, d.position) <= (k.type, {end}) AND d.type >= k.type"
    " ORDER BY d.type DESC, d.position DESC LIMIT 1), 0),"
    " CASE WHEN k.type = '"
    + events.TYPE
    + "' THEN coalesce((SELECT l.position + l.count - 1 FROM {schema}.log l ORDER BY l.position DESC"
    " LIMIT 1), 0) ELSE 0 END)"
    ' FROM unnest($1::text[] COLLATE "C") WITH ORDINALITY k(type, n) ORDER BY k.n'
)
_NEXT = (
    "coalesce((SELECT n.{column} FROM {schema}.doc n WHERE n.type = d.type AND n.id = d.id AND n.version = d.version + 1), {end})"
)
_LOG_FROM = "l.position >= coalesce((SELECT max(g.position) FROM {schema}.log g WHERE g.position <= $1 + 1), 0)"
"""The group that position $1 + 1 is in, and all after it."""

_BEHIND = "l.position + l.count > $1 + 1"
"""Not a group that ends before: were it spoilt, what stands behind it would seem to be."""


_BEFORE = (
    "coalesce(sum(CASE WHEN d.kept THEN length(d.body) END)"
    " OVER (ORDER BY d.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)"
)
"""Bytes of the bodies before a row; their lengths are known without reading them."""


class Reader:
    """The statements of a store's reads."""

    def __init__(self, connections: Connections, schema: str, bodies: Bodies) -> None:
        self._connections, self._schema, self._bodies = connections, schema, bodies
        self._current, self._version, self._group, self._many, self._many_events, self._log_from, self._newest = (
            self._sql(sql) for sql in (_CURRENT, _VERSION, _GROUP, _MANY, _MANY + _MANY_EVENTS, _LOG_FROM, _NEWEST)
        )

    def _sql(self, text: str) -> str:
        return text.replace("{schema}", self._schema).replace("{end}", str(END))

    async def read(self, type: str, id: str) -> Version | None:
        """The current version of a resource, or None."""
        event = await self.event(type, id)
        if event is not None:
            return event
        found = await self._connections.fetch(self._current, _plain(type), _plain(id))
        return self._made(found[0]) if found else None

    async def read_version(self, type: str, id: str, version: int) -> Version | None:
        """One version of a resource, or None."""
        event = await self.event(type, id)
        if event is not None:
            return event if version == 1 else None
        if not 0 < version < 1 << 31:
            return None
        found = await self._connections.fetch(self._version, _plain(type), _plain(id), version)
        return self._made(found[0]) if found else None

    async def read_many(self, keys: Sequence[Key]) -> list[Version | None]:
        """The current versions of several resources, in order."""
        if not keys:
            return []
        positions = [events.position_of(key.type, key.id) for key in keys]
        wanted = [p for p in positions if p is not None]
        types, ids = [_plain(key.type) for key in keys], [_plain(key.id) for key in keys]
        if wanted:
            rows = await self._connections.fetch(self._many_events, types, ids, wanted)
        else:
            rows = await self._connections.fetch(self._many, types, ids)
        documents: dict[int, Version] = {}
        logged: dict[int, Version] = {}
        for number, *row in rows:
            if number:
                documents[number - 1] = self._made(row)
            else:
                logged.update((event.position, event) for event in self._unpack(row))
        return [(logged.get(p) if p else None) or documents.get(n) for n, p in enumerate(positions)]

    async def position(self) -> int:
        """The newest position that is committed."""
        return int((await self._connections.fetch(f"SELECT position FROM {self._schema}.counter"))[0][0])

    async def newest(self, types: Sequence[str]) -> list[int]:
        """The position of the newest version of each type, or 0, in one round trip."""
        rows = await self._connections.fetch(self._newest, [_plain(type) for type in types])
        return [int(row[0]) for row in rows]

    async def receipt(self, key: bytes, now: int) -> Receipt | None:
        """The receipt under `key`, unless it has expired by `now`."""
        found = await self._connections.fetch(f"SELECT digest, answer, expires FROM {self._schema}.receipt WHERE key = $1", key)
        return Receipt(key, *found[0]) if found and found[0][2] > now else None

    async def confirmed(self, index: str) -> int:
        """The position that an outside index has confirmed, or 0."""
        found = await self._connections.fetch(f"SELECT position FROM {self._schema}.confirmed WHERE index = $1", index)
        return int(found[0][0]) if found else 0

    async def history(
        self, type: str | None, id: str | None, since: int | None, at: tuple[int, int] | None, before: int | None, limit: int
    ) -> HistoryPage:
        """One page of history, newest first."""
        if id is not None and type is not None and (event := await self.event(type, id)) is not None:
            kept = (before is None or event.position < before) and (since is None or event.instant >= since)
            return HistoryPage([event] if kept and (at is None or event.instant < at[1]) else [], None)
        where, values = self.conditions(type, id, since, at, walked=True)
        values.append(END if before is None else min(before, END))
        typed = type is not None and id is None
        where.append(f"(d.type, d.position) < ($1, ${len(values)})" if typed else f"d.position < ${len(values)}")
        order = "d.type DESC, d.position" if typed else "d.version" if id is not None else "d.position"
        sql = f"SELECT {_ALL} FROM {self._schema}.doc d WHERE {' AND '.join(where)} ORDER BY {order} DESC LIMIT {limit + 1}"
        if type == events.TYPE and id is None:
            sql = f"({sql}) UNION ALL ({self._logged(len(values), since, at, values)} ORDER BY l.position DESC LIMIT {limit + 1})"
        rows = await self._connections.fetch(sql, *values, seconds=LONG if at is not None else None)
        documents = (self._made(row) for row in _sorted(rows, logged=False)[::-1])
        groups = (self._unpack(row) for row in _sorted(rows, logged=True)[::-1])
        logged = (event for group in groups for event in reversed(group) if before is None or event.position < before)
        page = list(islice(merge(documents, logged, key=lambda v: -v.position), limit + 1))
        return HistoryPage(page[:limit], page[limit - 1].position if len(page) > limit else None)

    def conditions(
        self, type: str | None, id: str | None, since: int | None, at: tuple[int, int] | None, *, walked: bool = False
    ) -> tuple[list[str], list[Any]]:
        """What rows `d` of `doc` belong to a history: conditions and the values they name; a type is always $1.

        `walked`: they are asked for downwards from a pair (type, position) that is still to be added.
        """
        where, values = ["true"], list[Any]()
        pairs = walked and type is not None and id is None
        place, moment = ("(d.type, d.position)", "($1, {schema}.doc_at($$))") if pairs else ("d.position", "{schema}.doc_at($$)")

        def add(condition: str, value: Any) -> None:
            values.append(value)
            where.append(self._sql(condition).replace("$$", f"${len(values)}"))

        if type is not None:
            add("d.type >= $$" if pairs else "d.type = $$", _plain(type))
        if id is not None:
            add("d.id = $$", _plain(id))
        if since is not None:
            add(f"{place} >= {moment}", since)
        if at is not None:
            add(f"{place} < {moment}", at[1])
            add(f"{_NEXT.replace('{column}', 'instant')} > $$", at[0])
        return where, values

    def _logged(self, before: int, since: int | None, at: tuple[int, int] | None, values: list[Any]) -> str:
        """The statement for groups of events below the position that `values` has at number `before`."""
        where = [f"l.position < ${before}"]
        for value, comparison in ((since, ">="), (at[1] if at else None, "<")):
            if value is not None:
                values.append(value)
                where.append(f"l.position {comparison} {self._schema}.log_at(${len(values)})")
        return f"SELECT {_EVENT} FROM {self._schema}.log l WHERE {' AND '.join(where)}"

    async def scan(self, type: str | None, until: int, after: int, shard: tuple[int, int]) -> list[Version]:
        """The next live resources of a type (None: all), as of position `until`, above position `after`; none at the end.

        Events of the store are left out: `scan_events` has them. A statement looks at a window of some rows and tells for each whether it
        is wanted, so that it takes the same time however few are.
        """
        values: list[Any] = [after, until]
        kept = f"d.position <= $2 AND d.body IS NOT NULL AND {_NEXT.replace('{column}', 'position')} > $2"
        if shard[1] > 1:  # the hash that hash partitions rest on: it stays the same from one version of PostgreSQL to the next
            kept += f" AND (hashtextextended(d.id, 0) & {END - 1}) % $3 = $4"
            values += [shard[1], shard[0]]
        if type is None:
            window = "d.position > $1 ORDER BY d.position"
        else:
            values.append(_plain(type))
            name = f"${len(values)}"
            window = f"(d.type, d.position) > ({name}, $1) AND d.type <= {name} ORDER BY d.type, d.position"
        rows = self._sql(f"SELECT d.*, {kept} AS kept FROM {{schema}}.doc d WHERE {window} LIMIT {WINDOW}")
        rows = f"SELECT d.*, {_BEFORE} AS before, count(*) OVER () AS count FROM ({rows}) d"
        body = "CASE WHEN d.kept THEN d.body END"
        sql = (
            f"SELECT d.count, CASE WHEN d.kept THEN d.type END, {_ALL.replace('d.body', body)} FROM ({rows}) d WHERE d.before < {BYTES}"
            " ORDER BY d.position"
        )
        while True:
            found = await self._connections.fetch(sql, *values, seconds=LONG)
            versions = [self._made(row[2:]) for row in found if row[1] is not None]
            if versions or not found or found[0][0] < WINDOW or found[-1][8] > until:
                return versions
            values[0] = found[-1][8]

    async def scan_events(self, until: int, after: int, shard: tuple[int, int]) -> list[Version]:
        """The next events up to position `until`, above position `after`; none at the end."""
        while after < until:
            where = f"{self._log_from} AND {_BEHIND} AND l.position <= $2"
            sql = f"SELECT {_EVENT} FROM {self._schema}.log l WHERE {where} ORDER BY l.position LIMIT 50"
            rows = await self._connections.fetch(sql, after, until, seconds=LONG)
            found = [event for row in rows for event in self._unpack(row) if after < event.position <= until]
            kept = [event for event in found if event.position % shard[1] == shard[0]]
            if kept or not found:
                return kept
            after = found[-1].position
        return []

    async def outbox(self, after: int, limit: int) -> list[Version]:
        """The next versions and events after a position, in order."""
        sql = self._sql(
            f"(SELECT {_ALL} FROM {{schema}}.doc d WHERE d.position > $1 ORDER BY d.position LIMIT $2) UNION ALL"
            f" (SELECT {_EVENT} FROM {{schema}}.log l WHERE {_LOG_FROM} ORDER BY l.position LIMIT $2 + 1)"
        )
        rows = await self._connections.fetch(sql, after, limit, seconds=LONG)
        documents = (self._made(row) for row in _sorted(rows, logged=False))
        logged = (event for row in _sorted(rows, logged=True) for event in self._unpack(row) if event.position > after)
        return list(islice(merge(documents, logged, key=lambda v: v.position), limit))

    async def event(self, type: str, id: str) -> Version | None:
        """The event that the store gave this id, or None."""
        position = events.position_of(type, id)
        if position is None:
            return None
        found = await self._connections.fetch(self._group, position)
        return next((e for e in self._unpack(found[0]) if e.position == position), None) if found else None

    def _unpack(self, row: Sequence[Any]) -> list[Version]:
        """The events of a row of `log`."""
        return list(events.unpack(self._bodies.unpack(row[5]), row[6], row[3]))

    def _made(self, row: Iterable[Any]) -> Version:
        type, id, version, instant, method, body, position = row
        return Version(type, id, version, instant, method, None if body is None else self._bodies.unpack(body), position)


def _plain(name: str) -> str:
    """A type or id as it can be asked for: "" (which nothing has) for what could not be stored, and PostgreSQL would refuse as text."""
    return name if name.isascii() and "\0" not in name else ""


def _sorted(rows: Iterable[Sequence[Any]], *, logged: bool) -> list[Sequence[Any]]:
    """The rows that are packed events, or those that are documents, in order of position."""
    return sorted((row for row in rows if (row[0] is None) == logged), key=lambda row: int(row[6]))
