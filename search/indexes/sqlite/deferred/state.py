"""Types whose documents may be written without their index rows for a while: what is kept of that, in the index's own tables."""

from typing import Any, NamedTuple

import apsw
import msgspec

from search.indexes.sqlite.schema import set_state
from search.values import Entry

_NAME = "deferred"
_READ = "SELECT value FROM idx_state WHERE name = ?"


class Later(NamedTuple):
    """`Change.entry` of a document whose rows may be written later, if its type is one of those by then."""

    entry: Entry


class Deferred(msgspec.Struct, omit_defaults=True):
    """`open`: type -> until when, in microseconds since the epoch, documents may come without their rows (0: no more). `building`: types
    whose rows are being written, in the order of documents' numbers, by `builder` until `until`; those up to `after`, `done` of them,
    have theirs."""

    open: dict[str, int] = {}
    building: tuple[str, ...] = ()
    builder: str = ""
    until: int = 0
    after: int = 0
    done: int = 0

    @property
    def types(self) -> set[str]:
        """All types in which nothing can be found now."""
        return {*self.open, *self.building}


_decode = msgspec.json.Decoder(Deferred).decode


def read(connection: apsw.Connection) -> Deferred | None:
    """What is deferred, if anything is. In a transaction of the caller's."""
    found: Any = connection.execute(_READ, (_NAME,)).get
    return _decode(found) if found else None


def keep(connection: apsw.Connection, deferred: Deferred) -> None:
    """Keep it; nothing where nothing is deferred. In a transaction of the caller's."""
    if deferred.types:
        set_state(connection, _NAME, msgspec.json.encode(deferred).decode())
    else:
        forget(connection)


def forget(connection: apsw.Connection) -> None:
    """All rows are there, or will be made in another way."""
    connection.execute("DELETE FROM idx_state WHERE name = ?", (_NAME,))
