"""Building the participant's tables of a SQLite file anew while nobody else uses the file."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import apsw

from resources.instants import now
from resources.store import StoreUnavailable
from resources.stores.bodies import Bodies
from resources.stores.participant import Participant
from resources.stores.sqlite.schema import connect, migrate, rows
from resources.stores.sqlite.types import Types
from resources.stores.sqlite.write import Writer

_EVENTS = 1_000
"""Events indexed in one transaction."""


def rebuild(path: Path, participant: Participant, begin: Callable[[int], None], watch: Callable[[str, int], None]) -> None:
    """Have the participant index all documents of the file anew, in one transaction, and then the events.

    `begin` is told how many live documents there are, events not counted; `watch` of each type and number of documents that were indexed
    since it was called before. Raises StoreUnavailable while another process has the file open (a server that runs keeps in mind how far
    rows of its own are that a rebuild takes away), and where the file cannot be written.
    """
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # whoever opens the store meanwhile waits here
    try:
        connection = connect(path, cache_kib=64_000)
        try:
            _alone(connection, path)
            _rebuild(connection, participant, begin, watch)
        except apsw.Error as problem:
            raise StoreUnavailable(f"The search index of {path} cannot be built anew: {problem}.") from None
        finally:
            connection.close()
    finally:
        os.close(lock)


def _alone(connection: apsw.Connection, path: Path) -> None:
    """SQLite leaves its write-ahead log only while no other connection is open, in any process."""
    connection.set_busy_timeout(0)
    try:
        connection.pragma("journal_mode", "delete")
    except apsw.BusyError:
        raise StoreUnavailable(f"The database {path} is in use: stop the server, and other commands, first.") from None
    connection.set_busy_timeout(10_000)
    connection.pragma("journal_mode", "wal")


def _rebuild(
    connection: apsw.Connection, participant: Participant, begin: Callable[[int], None], watch: Callable[[str, int], None]
) -> None:
    types = Types(connection)
    writer = Writer(connection, Bodies(), types, participant, now)
    connection.execute("BEGIN IMMEDIATE")
    migrate(connection)
    types.load()
    participant.install(connection)
    begin(rows(connection, "SELECT count(*) FROM res WHERE live")[0][0])
    writer.rebuild(participant, watch)
    connection.execute("COMMIT")
    more = True
    while more:
        done, more = writer.index_events(_EVENTS)
        if done:
            watch("AuditEvent", done)
