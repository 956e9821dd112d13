"""How many versions a history has, counted by SQLite on its indexes: no body is read.

Instants never fall along the positions, so a span of time is a span of positions, whose ends are found in some twenty look-ups each.
"""

from typing import Any

import apsw

from resources.stores import events
from resources.stores.sqlite.schema import rows
from resources.stores.sqlite.types import Types, row_hash

_ROW = "SELECT row FROM res WHERE hash = ? AND type = ? AND id = ?"


def count_history(
    connection: apsw.Connection, types: Types, type: str | None, id: str | None, since: int | None, at: tuple[int, int] | None
) -> int:
    """What `ResourceStore.count_history` promises. For one resource some 20 µs; for a type or all, see docs/adr/0003."""
    if type is None:
        return _documents(connection, "doc_type", [], [], since, at)
    number = types.known(type)
    if id is None:
        found = _documents(connection, "doc_type", ["d.type = ?"], [number], since, at)
        return found + (_logged(connection, [], [], since, at) if type == events.TYPE else 0)
    row = rows(connection, _ROW, (row_hash(type, id), number, id))
    if row:
        return _documents(connection, "doc_row", ["d.row = ?"], [row[0][0]], since, at)
    position = events.position_of(type, id)
    return 0 if position is None else _one_event(connection, position, since, at)


def _documents(
    connection: apsw.Connection, index: str, where: list[str], values: list[Any], since: int | None, at: tuple[int, int] | None
) -> int:
    """Versions in `doc`, by an index that has all that is asked (the planner would walk the table, bodies and all)."""
    where, values = _span(connection, "doc", where, values, since, at)
    if at is not None:  # and no later version of the same resource came before the span began
        where = [*where, "NOT EXISTS (SELECT 1 FROM doc n WHERE n.row = d.row AND n.version = d.version + 1 AND n.seq < ?)"]
        values = [*values, _first(connection, "doc", at[0] + 1)]
    return _number(connection, f"SELECT count(*) FROM doc d INDEXED BY {index}", where, values)


def _logged(connection: apsw.Connection, where: list[str], values: list[Any], since: int | None, at: tuple[int, int] | None) -> int:
    """The events that the store wrote itself. They never change, so each is current from its instant on."""
    return _number(connection, "SELECT coalesce(sum(count), 0) FROM log d", *_span(connection, "log", where, values, since, at))


def _one_event(connection: apsw.Connection, position: int, since: int | None, at: tuple[int, int] | None) -> int:
    where = ["d.seq = (SELECT max(seq) FROM log WHERE seq <= ?)", "d.seq + d.count > ?"]
    return min(1, _logged(connection, where, [position, position], since, at))


def _span(
    connection: apsw.Connection, table: str, where: list[str], values: list[Any], since: int | None, at: tuple[int, int] | None
) -> tuple[list[str], list[Any]]:
    if since is not None:
        where, values = [*where, "d.seq >= ?"], [*values, _first(connection, table, since)]
    if at is not None:
        where, values = [*where, "d.seq < ?"], [*values, _first(connection, table, at[1])]
    return where, values


def _first(connection: apsw.Connection, table: str, instant: int) -> int:
    """The position from which on everything in `table` is of `instant` or later."""
    low, high = 0, int(rows(connection, f"SELECT coalesce(max(seq), 0) + 1 FROM {table}")[0][0])
    while low < high:
        middle = (low + high) // 2
        found = rows(connection, f"SELECT seq, instant FROM {table} WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,))
        if not found or found[0][1] >= instant:
            high = middle
        else:
            low = found[0][0] + 1
    return low


def _number(connection: apsw.Connection, sql: str, where: list[str], values: list[Any]) -> int:
    return int(rows(connection, f"{sql} WHERE {' AND '.join(where)}" if where else sql, values)[0][0])
