"""Clauses on places: a range of latitudes, each place of which is measured."""

from search.indexes.sqlite.predicates import Predicate, Stream
from search.indexes.sqlite.rows import Row
from search.indexes.sqlite.schema import Book, Field
from search.query import Clause
from search.types.position import apart, band
from search.values import PositionValue


def position(clause: Clause, field: Field, book: Book) -> Predicate:
    """Places near one of those asked for."""
    asked = [term.value for term in clause.terms if isinstance(term.value, PositionValue)]
    near = "{0}.v >= ? AND {0}.v <= ? AND fhir_apart({0}.v, {0}.w, ?, ?) <= ?"
    streams = tuple(Stream(field.pid, near, (*band(place), *place)) for place in asked)

    def check(rows: list[Row]) -> bool:
        held = [(v, w) for pid, v, w in rows if pid == field.pid]
        return any(apart(*there, place.latitude, place.longitude) <= place.radius for there in held for place in asked)

    return Predicate(4, streams, check=check)
