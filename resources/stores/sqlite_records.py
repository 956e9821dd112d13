"""Records in SQLite (`resources.store.Record`): their statements, for the writer's transaction and for reads."""

from collections.abc import Iterable, Sequence

import apsw
import msgspec

from resources.store import Record, RecordChange
from resources.stores.preconditions import check_records, made_record
from resources.stores.sqlite_schema import rows

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
_UNTAG = "DELETE FROM tag WHERE kind = ? AND tag = ? AND key = ?"
_TAG = "INSERT INTO tag (kind, tag, key) VALUES (?, ?, ?)"

_encode, _decode = msgspec.json.Encoder().encode, msgspec.json.Decoder(tuple[str, ...]).decode


def read(connection: apsw.Connection, kind: str, key: str, now: int) -> Record | None:
    """The record, unless there is none or it has expired by `now`."""
    found = rows(connection, _ONE, (kind, key))
    return _live(_record(kind, found[0]), now) if found else None


def listed(connection: apsw.Connection, kind: str, tag: str | None, after: str, limit: int, now: int) -> list[Record]:
    """See ResourceStore.records."""
    found = (
        rows(connection, _ALL, (kind, after, now, limit))
        if tag is None
        else rows(connection, _TAGGED, (kind, tag, after, now, limit))
    )
    return [_record(kind, row) for row in found]


class Pending:
    """What a group of commits will write of records, and their states as they are after its earlier commits."""

    def __init__(self, connection: apsw.Connection, now: int) -> None:
        self._connection, self._now = connection, now
        self._found: dict[tuple[str, str], Record | None] = {}
        self._made: dict[tuple[str, str], Record | None] = {}

    def check(self, changes: Sequence[RecordChange]) -> None:
        """Raises Conflict if a precondition does not hold."""
        check_records(changes, self._revision)

    def add(self, changes: Sequence[RecordChange]) -> None:
        """Take the changes of a commit into the group."""
        for change in changes:
            self._made[(change.kind, change.key)] = made_record(change)

    def write(self) -> None:
        """Write them, within the open transaction."""
        if not self._made:
            return
        many = self._connection.executemany
        before = [record for name in self._made if (record := self._stored(*name)) is not None]
        after = [record for record in self._made.values() if record is not None]
        many(_UNTAG, _tags(before))
        many(_FORGET, [name for name, record in self._made.items() if record is None])
        many(_KEEP, [(r.kind, r.key, r.revision, r.expires, _encode(r.tags).decode(), r.value) for r in after])
        many(_TAG, _tags(after))

    def _revision(self, kind: str, key: str) -> int:
        name = (kind, key)
        found = self._made[name] if name in self._made else self._stored(kind, key)
        found = _live(found, self._now) if found is not None else None
        return found.revision if found is not None else 0

    def _stored(self, kind: str, key: str) -> Record | None:
        if (kind, key) not in self._found:
            found = rows(self._connection, _ONE, (kind, key))
            self._found[(kind, key)] = _record(kind, found[0]) if found else None
        return self._found[(kind, key)]


def sweep(connection: apsw.Connection, now: int) -> None:
    """Forget the records that have expired. Inside a transaction."""
    expired = "SELECT kind, key, tags FROM record WHERE expires > 0 AND expires <= ? LIMIT 1000"
    while found := rows(connection, expired, (now,)):
        connection.executemany(_UNTAG, [(kind, tag, key) for kind, key, tags in found for tag in _decode(tags)])
        connection.executemany(_FORGET, [(kind, key) for kind, key, _ in found])


def _tags(records: Iterable[Record]) -> list[tuple[str, str, str]]:
    return [(record.kind, tag, record.key) for record in records for tag in record.tags]


def _record(kind: str, row: tuple[str, bytes, int, str, int]) -> Record:
    key, value, revision, tags, expires = row
    return Record(kind, key, value, revision, _decode(tags), expires)


def _live(record: Record, now: int) -> Record | None:
    return None if 0 < record.expires <= now else record
