"""Which documents an access decision leaves: tests on rows that were not found by a search, such as those of includes."""

from collections.abc import Sequence
from typing import Any

from resources.store import Key
from search.indexes.sqlite.compile import compile_access
from search.indexes.sqlite.plan import tests_of
from search.indexes.sqlite.predicates import NEVER
from search.indexes.sqlite.reader import Reader
from search.indexes.sqlite.schema import Book, Codebook
from search.query import Compartment, Grants
from search.values import hash64

Tests = tuple[str, tuple[Any, ...]]


class Access:
    """A decision's compartments and grants, on one state of the database: inside a transaction of the reader."""

    def __init__(self, reader: Reader, codes: Codebook, compartments: Sequence[Compartment], allowed: Grants | None) -> None:
        self.reader, self.codes = reader, codes
        self._compartments, self._allowed = compartments, allowed
        self._free = allowed is None and not compartments
        self._tests: dict[str, Tests | None] = {}

    def tests(self, book: Book) -> Tests | None:
        """Conditions on a row p of this type (with `d` and `rid`) and their values; None if no document of the type is left."""
        if self._free:
            return "", ()
        if book.name not in self._tests:
            predicates = compile_access(self._compartments, self._allowed, book, self.reader.any_of)
            self._tests[book.name] = None if NEVER in predicates else tests_of(self.reader, predicates)
        return self._tests[book.name]

    def within(self, keys: Sequence[Key]) -> list[Key]:
        """Those of the keys, in their order, that are there and left."""
        return [key for key in keys if self.row(key) is not None]

    def row(self, key: Key) -> int | None:
        """The row of a document that is there and left."""
        book = self.codes.books.get(key.type)
        tests = self.tests(book) if book else None
        if book is None or tests is None:
            return None
        sql = f"SELECT p.rid FROM item p WHERE p.h = ? AND p.id = ? AND p.type = ?{tests[0]}"
        found = self.reader.rows(sql, (hash64(f"{key.type}/{key.id}"), key.id, book.number, *tests[1]))
        return found[0][0] if found else None
