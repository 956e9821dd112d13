"""Clauses on several values of one element. A test only: what finds the documents are the clauses that these imply
(`search/expansion/conditions.py`)."""

from search.indexes.sqlite.predicates import Predicate
from search.indexes.sqlite.rows import Row, parts_of
from search.indexes.sqlite.schema import FOLDED, Book, Field
from search.query import Clause, Modifier
from search.types.composite import match


def composite(clause: Clause, field: Field, book: Book) -> Predicate:
    """Documents with an element for which all parts of one of the terms hold."""

    def check(rows: list[Row]) -> bool:
        held = [parts_of(v) for pid, v, _ in rows if pid == field.pid + FOLDED]
        return any(match(term, Modifier.NONE, value) for value in held for term in clause.terms)

    return Predicate(9, check=check)
