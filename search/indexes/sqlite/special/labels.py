"""Clauses on the texts beside codes (`:text`)."""

from search.indexes.sqlite.intervals import before
from search.indexes.sqlite.predicates import Listing, Predicate, Stream, at_value
from search.indexes.sqlite.rows import CODED, CUT
from search.indexes.sqlite.schema import FOLDED, NORMAL, Book, Field
from search.query import Clause
from search.values import LabelValue


def label(clause: Clause, field: Field, book: Book) -> Predicate:
    """The codes that have such a text somewhere find the documents, which are then tested: of two predicates both must hold."""
    test = note(clause, field, book)
    streams: list[Stream] = []
    for text in _texts(clause):
        of_text, args = _from(text[:CUT])
        found = f"FROM label l WHERE l.pid = ? AND {of_text}"
        among, listed = f"{{0}}.v IN (SELECT +l.v {found})", f"SELECT DISTINCT l.v, 0 {found}"
        for own in field.pids:
            wanted = (own + NORMAL, *args)
            streams.append(Stream(own, among, wanted, listing=Listing(listed, wanted, at_value(own))))
            wanted = (own + CODED, *args)
            streams += [Stream(pid, among, wanted, listing=Listing(listed, wanted, at_value(pid))) for pid in field.beside]
    return Predicate(3, any=((Predicate(3, tuple(streams), check=test.check), test),))


def note(clause: Clause, field: Field, book: Book) -> Predicate:
    """Texts of identifiers' types, which nearly all documents have alike: a test only."""
    starts, own = tuple(_texts(clause)), {pid + role for pid in field.pids for role in (NORMAL, FOLDED)}
    return Predicate(9, check=lambda rows: any(pid in own and v.startswith(starts) for pid, v, _ in rows))


def _texts(clause: Clause) -> list[str]:
    return [term.value.folded for term in clause.terms if isinstance(term.value, LabelValue)]


def _from(start: str) -> tuple[str, tuple[str, ...]]:
    """Labels that begin with a text, as a condition."""
    end = before(start)
    return ("l.text >= ?", (start,)) if end is None else ("l.text >= ? AND l.text < ?", (start, end))
