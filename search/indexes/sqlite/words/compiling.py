"""Conditions on words as predicates on the full-text table."""

from collections.abc import Sequence

from search.indexes.sqlite.predicates import Predicate, Stream, json
from search.indexes.sqlite.reader import Reader
from search.indexes.sqlite.schema import Book
from search.query import Query, Text
from search.text.expression import Either, Expression, Phrase
from search.text.scoring import share, texts_of

_JOINED = "(SELECT i.d, i.rid FROM txt t CROSS JOIN item i ON i.rid = t.rowid WHERE t.txt MATCH ? AND i.type = ?)"


def compile_text(condition: Text, book: Book) -> Predicate:
    """The predicate of a condition on words; the tables must be there (`Texts.settle`)."""
    wanted = _wanted(condition)
    stream = Stream(0, "1", (wanted, book.number), table=_JOINED)
    return Predicate(
        3,
        (stream,),
        "p.rid IN (SELECT t.rowid FROM txt t WHERE t.txt MATCH ?)",  # read once, however many rows are tested
        (wanted,),
        few="EXISTS (SELECT 1 FROM txt t WHERE t.txt MATCH ? AND t.rowid = p.rid)",  # some 17 µs a row
    )


def scores_of(reader: Reader, query: Query, rids: Sequence[int]) -> dict[int, float]:
    """The scores of documents given by their rows: BM25 of what is asked of their words."""
    weights: dict[int, float] = {}
    for condition in texts_of(query.clauses):
        sql = "SELECT rowid, -bm25(txt) FROM txt WHERE txt MATCH ? AND rowid IN (SELECT value FROM json_each(?))"
        for rid, weight in reader.rows(sql, (_wanted(condition), json(rids))):
            weights[rid] = weights.get(rid, 0.0) + weight
    return {rid: share(weight) for rid, weight in weights.items()}


def _wanted(condition: Text) -> str:
    return f"{'{narrative}' if condition.narrative else '{narrative rest}'} : ({_match(condition.expression)})"


def _match(expression: Expression) -> str:
    """In the language of FTS5. Words hold nothing but letters and digits, so nothing needs to be escaped."""
    if isinstance(expression, Phrase):
        return f'"{" ".join(expression.words)}"{" *" if expression.prefix else ""}'
    if isinstance(expression, Either):
        return f"({' OR '.join(_match(part) for part in expression.parts)})"
    found = f"({' AND '.join(_match(part) for part in expression.parts)})"
    return f"({found} NOT ({' OR '.join(_match(part) for part in expression.without)}))" if expression.without else found
