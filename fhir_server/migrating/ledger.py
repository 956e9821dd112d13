"""The account of a migration, on disk: each resource with the hash of what came, what was wrong, counts, and how far it has come.

A file of SQLite in the migration's own folder; it holds ids and hashes, and of what was wrong the sentences that tell so.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from fhir_server.migrating.contract import Place, Wrong

_SCHEMA = """
create table if not exists resource (type text, id text, digest blob, place text, primary key (type, id)) without rowid;
create table if not exists target (type text, id text, place text, primary key (type, id)) without rowid;
create table if not exists wrong (number integer primary key, told blob);
create table if not exists count (what text, type text, count integer, primary key (what, type)) without rowid;
create table if not exists note (name text primary key, value blob) without rowid;
"""

Counts = dict[str, Counter[str]]
"""What is counted ("written") -> type -> how many."""


class Entry(NamedTuple):
    """A resource that is to be in the store: the hash of what came, and from where."""

    type: str
    id: str
    digest: bytes
    where: str


class Target(NamedTuple):
    """A resource that is referred to, and by what first."""

    type: str
    id: str
    where: str


class Ledger:
    """Opened for one process. Everything of a chunk is put down in one transaction."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=normal")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def place(self) -> Place:
        """How far it has come."""
        value = self.note("place")
        return msgspec.json.decode(value, type=Place) if value else Place()

    def note(self, name: str) -> bytes | None:
        """What was kept under this name."""
        row = self._db.execute("select value from note where name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep(self, name: str, value: bytes) -> None:
        """Keep something under this name."""
        self._db.execute("insert or replace into note values (?, ?)", (name, value))

    def known(self, type: str, ids: Sequence[str]) -> dict[str, tuple[bytes, str]]:
        """Of these ids, those that came before: their hashes, and from where."""
        marks = ",".join("?" * len(ids))
        rows = self._db.execute(f"select id, digest, place from resource where type = ? and id in ({marks})", (type, *ids))
        return {id: (bytes(found), where) for id, found, where in rows}

    def put(
        self, entries: Iterable[Entry], targets: Iterable[Target], wrong: Iterable[Wrong], counts: Counts, place: Place
    ) -> None:
        """What came of a chunk, and where the next one begins."""
        self._db.execute("begin immediate")
        try:
            self._db.executemany("insert or replace into resource values (?, ?, ?, ?)", entries)
            self._db.executemany("insert or ignore into target values (?, ?, ?)", targets)
            self._told(wrong)
            for what, of in counts.items():
                for type, count in of.items():
                    self._db.execute(
                        "insert into count values (?, ?, ?) on conflict do update set count = count + excluded.count",
                        (what, type, count),
                    )
            self.keep("place", msgspec.json.encode(place))
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def counts(self) -> Counts:
        """All counts so far."""
        found: Counts = {}
        for what, type, count in self._db.execute("select what, type, count from count"):
            found.setdefault(what, Counter())[type] = count
        return found

    def entries(self, size: int) -> Iterator[list[Entry]]:
        """All resources, in lists of one type."""
        for (type,) in self._db.execute("select distinct type from resource order by type").fetchall():
            last = ""
            while rows := self._db.execute(
                "select type, id, digest, place from resource where type = ? and id > ? order by id limit ?", (type, last, size)
            ).fetchall():
                yield [Entry(type, id, bytes(digest), where) for type, id, digest, where in rows]
                last = rows[-1][1]

    def missing(self, size: int) -> Iterator[list[Target]]:
        """What is referred to and did not come, in lists."""
        rows = self._db.execute(
            "select * from target as t where not exists (select 1 from resource as r where r.type = t.type and r.id = t.id)"
        )
        while some := rows.fetchmany(size):
            yield [Target(*row) for row in some]

    def wrongs(self) -> Iterator[Wrong]:
        """What was wrong, in the order in which it was found."""
        for (told,) in self._db.execute("select told from wrong order by number"):
            yield msgspec.json.decode(told, type=Wrong)

    def _told(self, wrong: Iterable[Wrong]) -> None:
        self._db.executemany("insert into wrong (told) values (?)", [(msgspec.json.encode(each),) for each in wrong])
