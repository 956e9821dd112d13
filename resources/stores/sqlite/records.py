"""Records in SQLite (`resources.store.Record`): their statements, for the writer's transaction and for reads."""

from collections.abc import Iterable

import apsw
import msgspec

from resources.store import Record
from resources.stores.records import Name, Plan, live
from resources.stores.sqlite.schema import rows

_COLUMNS = "r.key, r.value, r.revision, r.tags, r.expires"
_ONE = f"SELECT {_COLUMNS} FROM record r WHERE r.kind = ? AND r.key = ?"
_LIVE = " AND (r.expires = 0 OR r.expires > ?) ORDER BY r.key LIMIT ?"
_ALL = f"SELECT {_COLUMNS} FROM record r WHERE r.kind = ? AND r.key > ?{_LIVE}"
_TAGGED = (
    f"SELECT {_COLUMNS} FROM tag t CROSS JOIN record r ON r.kind = t.kind AND r.key = t.key"
    f" WHERE t.kind = ? AND t.tag = ? AND t.key > ?{_LIVE}"
)
_KEEP = (
    "INSERT INTO record (kind, key, revision, expires, tags, value) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET"
    " revision = excluded.revision, expires = excluded.expires, tags = excluded.tags, value = excluded.value"
)
_FORGET = "DELETE FROM record WHERE kind = ? AND key = ?"
_EXPIRED = (
    "DELETE FROM record WHERE (kind, key) IN (SELECT kind, key FROM record WHERE expires > 0 AND expires <= ? LIMIT 1000)"
    " RETURNING kind, key, tags"
)
_UNTAG = "DELETE FROM tag WHERE kind = ? AND tag = ? AND key = ?"
_TAG = "INSERT INTO tag (kind, tag, key) VALUES (?, ?, ?)"

_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(tuple[str, ...]).decode


def read(connection: apsw.Connection, kind: str, key: str, now: int) -> Record | None:
    """The record, unless there is none or it has expired by `now`."""
    return live(_stored(connection, (kind, key)), now)


def kinds(connection: apsw.Connection) -> list[str]:
    """The kinds of all records."""
    return [kind for (kind,) in rows(connection, "SELECT DISTINCT kind FROM record ORDER BY kind")]


def listed(connection: apsw.Connection, kind: str, tag: str | None, after: str, limit: int, now: int) -> list[Record]:
    """See ResourceStore.records."""
    found = (
        rows(connection, _ALL, (kind, after, now, limit))
        if tag is None
        else rows(connection, _TAGGED, (kind, tag, after, now, limit))
    )
    return [_record(kind, row) for row in found]


def planned(connection: apsw.Connection, now: int) -> Plan:
    """What a group will write of records: each is looked up when it is first asked for."""
    found: dict[Name, Record | None] = {}

    def stored(name: Name) -> Record | None:
        if name not in found:
            found[name] = _stored(connection, name)
        return found[name]

    return Plan(stored, now)


def write(connection: apsw.Connection, plan: Plan) -> None:
    """Write them, within the open transaction."""
    if not plan.made:
        return
    many, kept = connection.executemany, plan.kept
    before = [record for name in plan.made if (record := _stored(connection, name)) is not None]
    many(_UNTAG, _tags(before))
    many(_FORGET, plan.forgotten)
    many(_KEEP, [(r.kind, r.key, r.revision, r.expires, _encode(r.tags).decode(), r.value) for r in kept])
    many(_TAG, _tags(kept))


def _stored(connection: apsw.Connection, name: Name) -> Record | None:
    found = rows(connection, _ONE, name)
    return _record(name[0], found[0]) if found else None


def sweep(connection: apsw.Connection, now: int) -> int:
    """Forget records that have expired, no more than 1,000; returns how many. Inside a transaction: their tags go with them."""
    expired = rows(connection, _EXPIRED, (now,))
    connection.executemany(_UNTAG, [(kind, tag, key) for kind, key, tags in expired for tag in _decode(tags)])
    return len(expired)


def _tags(records: Iterable[Record]) -> list[tuple[str, str, str]]:
    return [(record.kind, tag, record.key) for record in records for tag in record.tags]


def _record(kind: str, row: tuple[str, bytes, int, str, int]) -> Record:
    key, value, revision, tags, expires = row
    return Record(kind, key, value, revision, _decode(tags), expires)
