"""`_sort=_score`: Elasticsearch's own ranking (BM25) of what is asked of the words of documents."""

from collections.abc import Sequence
from typing import Any

from search.indexes.elastic.terms import Json
from search.indexes.elastic.texts import compile_text
from search.query import Query
from search.text.scoring import SCORE, share, texts_of


def ranked(query: Query, found: Json) -> Json:
    """The same documents as `found`, with a score for what the query asks of their words."""
    asked = [compile_text(each.expression, narrative=each.narrative) for each in texts_of(query.clauses)]
    return {"bool": {"filter": [found], "should": asked}}


def scores(query: Query, places: Sequence[Sequence[Any]]) -> tuple[float | None, ...]:
    """The scores, from 0 to 1, of documents given by their sort values; none where the query does not sort by them."""
    at = next((number for number, key in enumerate(query.sort) if key.parameter.code == SCORE), None)
    return () if at is None else tuple(share(float(place[at])) for place in places)
