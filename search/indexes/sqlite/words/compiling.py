"""Conditions on words as predicates on the full-text table."""

from search.indexes.sqlite.predicates import Predicate, Stream
from search.indexes.sqlite.schema import Book
from search.query import Text
from search.text.expression import Either, Expression, Phrase

_JOINED = "(SELECT i.d, i.rid FROM txt t CROSS JOIN item i ON i.rid = t.rowid WHERE t.txt MATCH ? AND i.type = ?)"


def compile_text(condition: Text, book: Book) -> Predicate:
    """The predicate of a condition on words; the tables must be there (`Texts.settle`)."""
    columns = "{narrative}" if condition.narrative else "{narrative rest}"
    wanted = f"{columns} : ({_match(condition.expression)})"
    stream = Stream(0, "1", (wanted, book.number), table=_JOINED)
    return Predicate(
        3,
        (stream,),
        "p.rid IN (SELECT t.rowid FROM txt t WHERE t.txt MATCH ?)",  # read once, however many rows are tested
        (wanted,),
        few="EXISTS (SELECT 1 FROM txt t WHERE t.txt MATCH ? AND t.rowid = p.rid)",  # some 17 µs a row
    )


def _match(expression: Expression) -> str:
    """In the language of FTS5. Words hold nothing but letters and digits, so nothing needs to be escaped."""
    if isinstance(expression, Phrase):
        return f'"{" ".join(expression.words)}"{" *" if expression.prefix else ""}'
    if isinstance(expression, Either):
        return f"({' OR '.join(_match(part) for part in expression.parts)})"
    found = f"({' AND '.join(_match(part) for part in expression.parts)})"
    return f"({found} NOT ({' OR '.join(_match(part) for part in expression.without)}))" if expression.without else found
