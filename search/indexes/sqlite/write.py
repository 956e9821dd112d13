"""What the SQLite index writes: rows of new documents, differences of changed ones, in the store's open transaction."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import apsw

from resources.stores.participant import Applied
from search.indexes.sqlite.deferred.state import Later, forget, read
from search.indexes.sqlite.rows import Row, expand, labels_of, pack_rows, rows_of, unpack_rows
from search.indexes.sqlite.schema import Book, Codebook
from search.values import hash64

_ITEM = "INSERT INTO item (rid, type, id, h, lu, d, present) VALUES (?, ?, ?, ?, ?, ?, ?)"
_ITEM_CHANGED = "UPDATE item SET lu = ?, d = ?, present = ? WHERE rid = ?"
_PACKED = "INSERT INTO packed (rid, rows) VALUES (?, ?)"
_PACKED_CHANGED = "UPDATE packed SET rows = ? WHERE rid = ?"
_LABEL = "INSERT OR IGNORE INTO label (pid, text, v) VALUES (?, ?, ?)"
_ADD = "INSERT INTO idx (pid, v, d, rid, w) VALUES (?, ?, ?, ?, ?)"
_DROP = "DELETE FROM idx WHERE pid = ? AND v = ? AND d = ? AND rid = ? AND w = ?"
_OLD = "SELECT i.lu, i.present, p.rows FROM item i CROSS JOIN packed p ON p.rid = i.rid WHERE i.rid = ?"

_SORTED_FROM = 200
"""Rows from which a batch is sorted first, so that neighbours land on the same pages."""


class _Batch(NamedTuple):
    """Rows to write, by statement."""

    items: list[tuple[Any, ...]]
    items_changed: list[tuple[Any, ...]]
    packed: list[tuple[Any, ...]]
    packed_changed: list[tuple[Any, ...]]
    add: list[tuple[Any, ...]]
    drop: list[tuple[Any, ...]]
    gone: list[tuple[int]]
    labels: dict[tuple[int, str, int], None]


def write(connection: apsw.Connection, codes: Codebook, applied: Sequence[Applied]) -> None:
    """Bring the index up to these changes. Each resource may appear once."""
    batch = _Batch([], [], [], [], [], [], [], {})
    for told in applied:
        change, later = _now(connection, told)
        book = codes.books[change.type]
        old = None if change.new else _old(connection, change.row)
        if not change.live:
            if old is not None:
                _remove(batch, codes, book, change.row, old)
        elif old is None:
            _insert(batch, codes, book, change, later)
        else:
            _replace(batch, codes, book, change, old)
    _execute(connection, batch)


def _now(connection: apsw.Connection, change: Applied) -> tuple[Applied, bool]:
    """The change with its entry, and whether its rows may be written later."""
    if type(change.entry) is not Later:
        return change, False
    deferred = read(connection)
    return change._replace(entry=change.entry.entry), deferred is not None and change.type in deferred.open


class _Old(NamedTuple):
    updated: int
    present: int
    blob: bytes


def _old(connection: apsw.Connection, rid: int) -> _Old | None:
    found: list[Any] = connection.execute(_OLD, (rid,)).fetchall()
    return _Old(*found[0]) if found else None


def _insert(batch: _Batch, codes: Codebook, book: Book, change: Applied, later: bool) -> None:
    d, present, rows = rows_of(book, change.entry)
    rid = change.row
    address = hash64.__wrapped__(f"{change.type}/{change.id}")
    batch.items.append((rid, book.number, change.id, address, change.instant, d, present))
    batch.packed.append((rid, pack_rows(d, rows)))
    batch.labels.update(dict.fromkeys(labels_of(codes.kinds, rows)))
    if not later:
        batch.add.extend(expand(codes.kinds, rows, d, rid))
        batch.add.append((book.updated, change.instant, d, rid, 0))


def _replace(batch: _Batch, codes: Codebook, book: Book, change: Applied, old: _Old) -> None:
    d, present, rows = rows_of(book, change.entry)
    rid = change.row
    blob = pack_rows(d, rows)
    if blob != old.blob:
        old_d, old_rows = unpack_rows(old.blob)
        kept: set[Row] = set(old_rows) & set(rows) if d == old_d else set()
        batch.drop.extend(expand(codes.kinds, (row for row in old_rows if row not in kept), old_d, rid))
        batch.add.extend(expand(codes.kinds, (row for row in rows if row not in kept), d, rid))
        batch.packed_changed.append((blob, rid))
        batch.labels.update(dict.fromkeys(labels_of(codes.kinds, rows)))
    else:
        old_d = d
    batch.drop.append((book.updated, old.updated, old_d, rid, 0))
    batch.add.append((book.updated, change.instant, d, rid, 0))
    batch.items_changed.append((change.instant, d, present, rid))


def _remove(batch: _Batch, codes: Codebook, book: Book, rid: int, old: _Old) -> None:
    d, rows = unpack_rows(old.blob)
    batch.drop.extend(expand(codes.kinds, rows, d, rid))
    batch.drop.append((book.updated, old.updated, d, rid, 0))
    batch.gone.append((rid,))


def _execute(connection: apsw.Connection, batch: _Batch) -> None:
    many = connection.executemany
    if batch.drop:
        many(_DROP, batch.drop)
    if len(batch.add) >= _SORTED_FROM:
        batch.add.sort(key=itemgetter(0, 1))  # v is of one type within a pid
    if batch.gone:
        many("DELETE FROM item WHERE rid = ?", batch.gone)
        many("DELETE FROM packed WHERE rid = ?", batch.gone)
    for statement, rows in (
        (_ITEM, batch.items),
        (_ITEM_CHANGED, batch.items_changed),
        (_PACKED, batch.packed),
        (_PACKED_CHANGED, batch.packed_changed),
        (_ADD, batch.add),
        (_LABEL, batch.labels),
    ):
        if rows:
            many(statement, rows)


def clear(connection: apsw.Connection) -> None:
    """Empty the index's tables."""
    for table in ("item", "idx", "label", "packed"):
        connection.execute(f"DELETE FROM {table}")
    forget(connection)


def fill(connection: apsw.Connection, codes: Codebook, documents: Iterable[Applied], chunk: int = 2000) -> int:
    """Index documents that are not there yet, in sorted batches; returns how many. In the caller's transaction."""
    batch: list[Applied] = []
    done = 0
    for document in documents:
        batch.append(document)
        if len(batch) >= chunk:
            write(connection, codes, batch)
            done += len(batch)
            batch.clear()
    write(connection, codes, batch)
    return done + len(batch)
