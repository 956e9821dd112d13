"""How many versions a history has, counted by SQLite on its indexes: no body is read.

Instants never fall along the positions, so a span of time is a span of positions, whose ends are found in some twenty look-ups each.
"""

from typing import Any

import apsw

from resources.stores import events
from resources.stores.sqlite_schema import rows
from resources.stores.sqlite_types import Types, row_hash

_BEYOND = 1 << 62


def count_history(
    connection: apsw.Connection, types: Types, type: str | None, id: str | None, since: int | None, at: tuple[int, int] | None
) -> int:
    """What `ResourceStore.count_history` promises. For one resource well below a millisecond, for others some 20 ns a version."""
    where, values = _span(connection, "doc", since, at)
    if type is not None:
        where.append("d.type = ?")
        values.append(types.known(type))
    if type is not None and id is not None:
        found = rows(
            connection, "SELECT row FROM res WHERE hash = ? AND type = ? AND id = ?", (row_hash(type, id), types.known(type), id)
        )
        if not found:
            position = events.position_of(type, id)
            return 0 if position is None else _logged(connection, since, at, position)
        where.append("d.row = ?")
        values.append(found[0][0])
    if at is not None:
        where.append("NOT EXISTS (SELECT 1 FROM doc n WHERE n.row = d.row AND n.version = d.version + 1 AND n.seq < ?)")
        values.append(_first(connection, "doc", at[0] + 1))
    documents = int(rows(connection, f"SELECT count(*) FROM doc d WHERE {' AND '.join(where)}", values)[0][0])
    return documents + (_logged(connection, since, at, None) if type == events.TYPE and id is None else 0)


def _logged(connection: apsw.Connection, since: int | None, at: tuple[int, int] | None, position: int | None) -> int:
    """How many events there are in the span, or whether there is one at `position`."""
    where, values = _span(connection, "log", since, at)
    if position is None:
        return int(rows(connection, f"SELECT coalesce(sum(count), 0) FROM log d WHERE {' AND '.join(where)}", values)[0][0])
    where.append("d.seq = (SELECT max(seq) FROM log WHERE seq <= ?) AND d.seq + d.count > ?")
    return int(rows(connection, f"SELECT count(*) FROM log d WHERE {' AND '.join(where)}", [*values, position, position])[0][0])


def _span(connection: apsw.Connection, table: str, since: int | None, at: tuple[int, int] | None) -> tuple[list[str], list[Any]]:
    low = _first(connection, table, since) if since is not None else 0
    high = _first(connection, table, at[1]) if at is not None else _BEYOND
    return ["d.seq >= ?", "d.seq < ?"], [low, high]


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
