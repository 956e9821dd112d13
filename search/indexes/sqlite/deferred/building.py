"""Index rows of documents that were written without them: made from `packed`, sorted, so that neighbours land on the same pages.

What is written meanwhile is written as always: rows that are there already are passed over here, and what was read of a document that has
changed since is taken back.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from threading import Event
from typing import Any, NamedTuple

import apsw

from resources.store import StoreUnavailable
from search.indexes.sqlite.rows import expand, unpack_rows
from search.indexes.sqlite.schema import Book, Codebook

CHUNK = 10_000
"""Documents whose rows are sorted together: some 40 MB."""

_IndexRow = tuple[Any, ...]

_CHUNK = (
    "SELECT i.rid, i.type, i.lu, p.rows FROM item i CROSS JOIN packed p ON p.rid = i.rid"
    " WHERE i.rid > ? AND i.type IN (SELECT value FROM json_each(?)) ORDER BY i.rid LIMIT ?"
)
_SAME = "SELECT i.rid, i.lu, p.rows FROM item i CROSS JOIN packed p ON p.rid = i.rid WHERE i.rid BETWEEN ? AND ?"
_ONE = "SELECT i.type, i.lu, p.rows FROM item i CROSS JOIN packed p ON p.rid = i.rid WHERE i.rid = ?"
_ADD = "INSERT OR IGNORE INTO idx (pid, v, d, rid, w) VALUES (?, ?, ?, ?, ?)"
_DROP = "DELETE FROM idx WHERE pid = ? AND v = ? AND d = ? AND rid = ? AND w = ?"


class Chunk(NamedTuple):
    """Documents by their numbers, each with (type's number, instant, packed rows), and all their rows, sorted."""

    documents: dict[int, tuple[int, int, bytes]]
    rows: list[_IndexRow]


@contextmanager
def snapshot(path: str) -> Iterator[apsw.Connection]:
    """A connection of its own that sees one state of the file: for threads."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(10_000)
        connection.execute("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4000; BEGIN")
        yield connection
    finally:
        connection.close()


def numbers(codes: Codebook, types: Sequence[str]) -> str:
    """The numbers of types, as JSON."""
    return "[" + ",".join(str(codes.books[type].number) for type in types) + "]"


def chunk(path: str, codes: Codebook, types: Sequence[str], after: int) -> Chunk:
    """The next documents of these types behind number `after`, none where there are no more."""
    with snapshot(path) as connection:
        found = connection.execute(_CHUNK, (after, numbers(codes, types), CHUNK))
        documents = {rid: (type, updated, blob) for rid, type, updated, blob in found}
    rows = [row for rid, document in documents.items() for row in _rows(codes, rid, *document)]
    rows.sort(key=itemgetter(0, 1))  # v is of one type within a pid
    return Chunk(documents, rows)


def _rows(codes: Codebook, rid: int, type: int, updated: int, blob: bytes) -> list[_IndexRow]:
    d, rows = unpack_rows(blob)
    return [*expand(codes.kinds, rows, d, rid), (codes.books[codes.names[type]].updated, updated, d, rid, 0)]


def add(connection: apsw.Connection, rows: Sequence[_IndexRow]) -> None:
    """Write rows that are not there yet. In the caller's transaction."""
    connection.executemany(_ADD, rows)


def changed(path: str, made: Chunk) -> list[int]:
    """The numbers of those documents that are not what they were when their rows were made."""
    documents = made.documents
    with snapshot(path) as connection:
        there = connection.execute(_SAME, (min(documents), max(documents)))
        same = {rid for rid, updated, blob in there if rid in documents and documents[rid][1:] == (updated, blob)}
    return [rid for rid in documents if rid not in same]


def correct(connection: apsw.Connection, codes: Codebook, made: Chunk, wrong: Sequence[int]) -> None:
    """Take back the rows of documents that have changed meanwhile, but for those that they still have. In the caller's transaction."""
    for rid in wrong:
        now: list[Any] = connection.execute(_ONE, (rid,)).fetchall()
        kept = set(_rows(codes, rid, *now[0])) if now else set()
        connection.executemany(_DROP, [row for row in _rows(codes, rid, *made.documents[rid]) if row not in kept])


def disagreeing(path: str, codes: Codebook, types: Sequence[str], stop: Event) -> list[str]:
    """Those of the types whose documents have other rows than they should: more, fewer, or of other documents. Takes some 25 µs a
    document; raises StoreUnavailable where `stop` is set meanwhile."""
    with snapshot(path) as connection:
        return [type for type in types if _differs(connection, codes, codes.books[type], stop)]


def _differs(connection: apsw.Connection, codes: Codebook, book: Book, stop: Event) -> bool:
    counts, sums = Counter[int](), Counter[int]()
    for rid, type, updated, blob in connection.execute(_CHUNK, (-1, f"[{book.number}]", -1)):
        if stop.is_set():
            raise StoreUnavailable("The process is ending.")
        for row in set(_rows(codes, rid, type, updated, blob)):
            counts[row[0]] += 1
            sums[row[0]] += rid
    for pid in {*counts, book.walk, book.patient, book.updated, *_own(book)}:
        found: Any = connection.execute("SELECT count(*), coalesce(sum(rid), 0) FROM idx WHERE pid = ?", (pid,)).fetchall()
        if found[0] != (counts[pid], sums[pid]):
            return True
    return False


def _own(book: Book) -> set[int]:
    return {field.pid + role for field in book.fields.values() if not field.custom for role in range(4)}


def clear(connection: apsw.Connection, book: Book) -> None:
    """Take all rows of a type away, to be made anew. In the caller's transaction."""
    connection.executemany(
        "DELETE FROM idx WHERE pid = ?", [(pid,) for pid in (book.walk, book.patient, book.updated, *_own(book))]
    )
