"""How many versions a history has, counted by PostgreSQL on its indexes: no body is read."""

from typing import Any

from resources.stores import events
from resources.stores.postgres.connection import LONG, Connections
from resources.stores.postgres.read import Reader


async def count_history(
    connections: Connections,
    reader: Reader,
    schema: str,
    type: str | None,
    id: str | None,
    since: int | None,
    at: tuple[int, int] | None,
) -> int:
    """What `ResourceStore.count_history` promises."""
    if id is not None and type is not None and await reader.event(type, id) is not None:
        return len((await reader.history(type, id, since, at, None, 1)).versions)
    where, values = reader.conditions(type, id, since, at)
    sql = f"SELECT count(*) FROM {schema}.doc d WHERE {' AND '.join(where)}"
    total = int((await connections.fetch(sql, *values, seconds=LONG))[0][0])
    if type == events.TYPE and id is None:
        total += await _count_events(connections, schema, since, at)
    return total


async def _count_events(connections: Connections, schema: str, since: int | None, at: tuple[int, int] | None) -> int:
    where, values = ["true"], list[Any]()
    for value, comparison in ((since, ">="), (at[1] if at else None, "<")):
        if value is not None:
            values.append(value)
            where.append(f"l.position {comparison} {schema}.log_at(${len(values)})")
    sql = f"SELECT coalesce(sum(l.count), 0) FROM {schema}.log l WHERE {' AND '.join(where)}"
    return int((await connections.fetch(sql, *values, seconds=LONG))[0][0])
