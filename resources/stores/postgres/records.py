"""Records in PostgreSQL (`resources.store.Record`): their statements."""

from collections.abc import Sequence
from typing import Any

from asyncpg.pool import PoolConnectionProxy

from resources.store import Record
from resources.stores.commits import Job
from resources.stores.postgres.connection import Connections
from resources.stores.records import Name, Plan, live

_COLUMNS = "kind, key, value, revision, tags, expires"
_FIND = f"SELECT {_COLUMNS} FROM {{schema}}.record r JOIN unnest($1::text[], $2::text[]) AS n(kind, key) USING (kind, key)"
_LISTED = (
    f"SELECT {_COLUMNS} FROM {{schema}}.record WHERE kind = $1 AND key > $2 AND (expires = 0 OR expires > $3)"
    " AND ($5::text[] IS NULL OR tags @> $5) ORDER BY key LIMIT $4"
)
_KEEP = (
    "INSERT INTO {schema}.record (kind, key, value, revision, tags, expires) VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, revision = excluded.revision, tags = excluded.tags,"
    " expires = excluded.expires"
)
_FORGET = (
    "DELETE FROM {schema}.record r USING unnest($1::text[], $2::text[]) AS n(kind, key) WHERE r.kind = n.kind AND r.key = n.key"
)


class Records:
    """The statements for one schema."""

    def __init__(self, schema: str) -> None:
        self._find, self._listed, self._keep, self._forget = (
            sql.replace("{schema}", schema) for sql in (_FIND, _LISTED, _KEEP, _FORGET)
        )
        self.expired = f"DELETE FROM {schema}.record WHERE expires > 0 AND expires <= $1"

    async def plan(self, connection: PoolConnectionProxy, jobs: Sequence[Job], now: int) -> Plan:
        """What a group will write: all records that it speaks of are looked up at once, if there are any."""
        names: list[Name] = list({(change.kind, change.key): None for job in jobs for change in job.records})
        found = await connection.fetch(self._find, *_columns(names)) if names else []
        stored = {(record.kind, record.key): record for record in map(_record, found)}
        return Plan(stored.get, now)

    async def write(self, connection: PoolConnectionProxy, plan: Plan) -> None:
        """Write them, within the open transaction."""
        if plan.forgotten:
            await connection.execute(self._forget, *_columns(plan.forgotten))
        for kept in plan.kept:
            await connection.execute(self._keep, kept.kind, kept.key, kept.value, kept.revision, list(kept.tags), kept.expires)

    async def kept(self, connection: PoolConnectionProxy, record: Record) -> bool:
        """Whether the record is there as it was written."""
        found = await connection.fetch(self._find, [record.kind], [record.key])
        return bool(found) and _record(found[0]) == record

    async def read(self, connections: Connections, kind: str, key: str, now: int) -> Record | None:
        """See ResourceStore.record."""
        found = await connections.fetch(self._find, [kind], [key])
        return live(_record(found[0]), now) if found else None

    async def listed(self, connections: Connections, kind: str, tag: str | None, after: str, limit: int, now: int) -> list[Record]:
        """See ResourceStore.records."""
        found = await connections.fetch(self._listed, kind, after, now, limit, None if tag is None else [tag])
        return [_record(row) for row in found]


def _columns(names: Sequence[Name]) -> tuple[list[str], list[str]]:
    return [kind for kind, _ in names], [key for _, key in names]


def _record(row: Any) -> Record:
    kind, key, value, revision, tags, expires = row
    return Record(kind, key, value, revision, tuple(tags), expires)
