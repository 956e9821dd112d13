"""The SQLite store's tables and pragmas (measured in docs/adr/0003).

res    one row a resource: its current version                 doc   every version's body, append-only, in commit order
log    AuditEvents of a commit group, packed together          claim, receipt   conditional writes, idempotency keys
record, tag   durable state that is no resource, and by what else it is found
type   names of resource types as small numbers                state small counters that survive a restart; also the positions
                                                                     that outside indexes have confirmed, and `unindexed`:
                                                                     documents were written without the participant
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw

from resources.store import StoreUnavailable

VERSION = 3
APPLICATION_ID = 0x46484952  # "FHIR"

TABLES = """
CREATE TABLE type (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE res (
    row INTEGER PRIMARY KEY, hash INTEGER NOT NULL, type INTEGER NOT NULL, id TEXT NOT NULL,
    version INTEGER NOT NULL, seq INTEGER NOT NULL, live INTEGER NOT NULL
);
CREATE INDEX res_hash ON res (hash);
CREATE TABLE doc (
    seq INTEGER PRIMARY KEY, row INTEGER NOT NULL, type INTEGER NOT NULL, version INTEGER NOT NULL,
    instant INTEGER NOT NULL, method INTEGER NOT NULL, body BLOB
);
CREATE INDEX doc_row ON doc (row, version);
CREATE INDEX doc_type ON doc (type);
CREATE TABLE log (seq INTEGER PRIMARY KEY, count INTEGER NOT NULL, instant INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE claim (key BLOB PRIMARY KEY, seq INTEGER NOT NULL, instant INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE receipt (
    key BLOB PRIMARY KEY, digest BLOB NOT NULL, answer BLOB NOT NULL, expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX receipt_expires ON receipt (expires);
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state VALUES ('events_indexed', 0);
"""

_SINCE = {
    2: """
CREATE TABLE record (
    kind TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, expires INTEGER NOT NULL, tags TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX record_expires ON record (expires) WHERE expires > 0;
CREATE TABLE tag (kind TEXT NOT NULL, tag TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (kind, tag, key)) WITHOUT ROWID;
""",
    3: "",
}
"""What came with each later version of the tables. With 3 the tables stay as they are: events are packed with a dictionary of their own,
which programs that know no more than 2 do not have, and must not take for spoilt rows."""

_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 0;
PRAGMA journal_size_limit = 67108864;
PRAGMA temp_store = MEMORY;
PRAGMA foreign_keys = OFF;
PRAGMA trusted_schema = OFF;
"""


def connect(path: Path, *, cache_kib: int, read_only: bool = False) -> apsw.Connection:
    """An open connection with the pragmas set. A file that is made anew is for its owner alone, and so is what SQLite lays beside it.
    Raises StoreUnavailable with a sentence for a person."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    try:
        with suppress(OSError):  # it is there already, or SQLite says below what the matter is
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        connection = apsw.Connection(str(path), flags=flags)
        connection.set_busy_timeout(10_000)
        connection.execute("PRAGMA page_size = 4096")
        for _ in connection.execute(_PRAGMAS):
            pass
        connection.execute(f"PRAGMA cache_size = -{int(cache_kib)}")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except apsw.Error as problem:
        raise StoreUnavailable(
            f"The database {path} cannot be opened: {problem}. Check that the folder exists and is writable."
        ) from None
    return connection


def migrate(connection: apsw.Connection) -> None:
    """Create the tables, or refuse a file that is not ours or is newer than this program. Runs inside the caller's transaction."""
    application = connection.pragma("application_id")
    version = connection.pragma("user_version")
    if version == 0 and application == 0:
        if rows(connection, "SELECT 1 FROM sqlite_schema LIMIT 1"):
            raise StoreUnavailable("This SQLite file belongs to another program. Name another file in FHIR_STORE_URL.")
        connection.execute(TABLES)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        version, application = 1, APPLICATION_ID
    if application != APPLICATION_ID:
        raise StoreUnavailable("This SQLite file belongs to another program. Name another file in FHIR_STORE_URL.")
    if version > VERSION:
        raise StoreUnavailable(f"This database was written by a newer version (layout {version}, this program knows {VERSION}).")
    for later in range(version + 1, VERSION + 1):
        connection.execute(_SINCE[later])
    if version < VERSION:
        connection.execute(f"PRAGMA user_version = {VERSION}")


def confirmed_name(index: str) -> str:
    """The name in `state` of the position that an outside index has confirmed."""
    return f"index:{index}"


def rows(connection: apsw.Connection, sql: str, values: Sequence[Any] = ()) -> list[Any]:
    """All rows of a statement, each a tuple of the columns."""
    return connection.execute(sql, tuple(values)).fetchall()


@contextmanager
def lazily(connection: apsw.Connection, sql: str, values: Sequence[Any] = ()) -> Iterator[apsw.Cursor]:
    """The rows of a statement, read as they are asked for.

    It ends here whatever happens: for as long as one is open, all that this connection reads is as it was when that one began.
    """
    cursor = connection.execute(sql, tuple(values))
    try:
        yield cursor
    finally:
        cursor.close(True)
