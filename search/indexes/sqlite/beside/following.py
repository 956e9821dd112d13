"""Sorting by what documents refer to: `_sort=patient:Patient.birthdate`."""

from typing import Any

from resources.store import Key
from search.index import TooCostly
from search.indexes.sqlite.access import Access
from search.indexes.sqlite.custom.reading import fields_of, own_rows
from search.indexes.sqlite.order import value_of
from search.indexes.sqlite.reader import Reader
from search.indexes.sqlite.rows import Row, unpack_rows
from search.indexes.sqlite.schema import FOLDED, NORMAL, Book, Codebook
from search.query import Query, SortKey, Via

MOST = 20_000
"""Matches that can be sorted by another document: each of these is looked up once."""

_DOCUMENT = "SELECT i.id, i.lu, k.rows FROM item i CROSS JOIN packed k ON k.rid = i.rid WHERE i.rid = ?"


class Follower:
    """The values of chained sort keys on one state of the database. Raises TooCostly for more than MOST matches."""

    def __init__(self, reader: Reader, codes: Codebook, query: Query, matches: int) -> None:
        if matches > MOST and any(key.via for key in query.sort):
            raise TooCostly(
                f"More than {MOST} matches cannot be sorted by what they refer to. Narrow the search, or sort by its own parameters."
            )
        self._reader, self._codes = reader, codes
        self._access = Access(reader, codes, (), query.allowed)
        self._known: dict[tuple[SortKey, int, str], Any] = {}

    def __call__(self, key: SortKey, book: Book, rows: list[Row]) -> Any:
        """The smallest value at the end of the chain, the largest when descending; None without any."""
        return self._along(key, 0, book, rows)

    def _along(self, key: SortKey, step: int, book: Book, rows: list[Row]) -> Any:
        via = key.via[step]
        pid = book.fields[via.parameter.stored or via.parameter.code].pid
        names = {v for p, v, _ in rows if p in (pid + NORMAL, pid + FOLDED)}
        values = [value for name in names if (value := self._at(key, step, via, name)) is not None]
        if not values:
            return None
        return max(values) if key.descending else min(values)

    def _at(self, key: SortKey, step: int, via: Via, name: str) -> Any:
        """The value beyond one reference: remembered, since many documents refer to the same."""
        place = (key, step, name)
        if place not in self._known:
            self._known[place] = self._look_up(key, step, via, name)
        return self._known[place]

    def _look_up(self, key: SortKey, step: int, via: Via, name: str) -> Any:
        self._reader.on_time()
        type, _, id = name.partition("/")
        rid = self._access.row(Key(type, id)) if type == via.target else None
        if rid is None:
            return None
        [(id, updated, blob)] = self._reader.rows(_DOCUMENT, (rid,))
        book, last = self._codes.books[type], step + 1 == len(key.via)
        added = fields_of([key.parameter if last else key.via[step + 1].parameter], self._codes)
        rows = unpack_rows(blob)[1] + own_rows(self._reader, added, [rid]).get(rid, [])
        if not last:
            return self._along(key, step + 1, book, rows)
        return value_of(key, book, rows, id, updated)
