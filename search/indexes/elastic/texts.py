"""`_text` and `_content`: the words of documents, which two text fields hold as `search.text.words` made them.

The fields split at white space only, since words are folded already; positions are kept, so that phrases are found exactly.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from search.indexes.elastic.terms import Json
from search.text.expression import Either, Expression, Phrase
from search.values import DocumentText

_WORDS: Mapping[str, Any] = {"type": "text", "analyzer": "whitespace"}

MAPPING: Mapping[str, Any] = {"narrative": _WORDS, "rest": _WORDS}


def text_fields(text: DocumentText | None) -> dict[str, str]:
    """The fields of a document's words."""
    return {"narrative": text.narrative, "rest": text.rest} if text is not None else {}


def compile_text(expression: Expression, *, narrative: bool) -> Json:
    """What a document's words must satisfy."""
    if isinstance(expression, Phrase):
        fields = ("narrative",) if narrative else ("narrative", "rest")
        return _should([_phrase(field, expression) for field in fields])
    if isinstance(expression, Either):
        return _should([compile_text(part, narrative=narrative) for part in expression.parts])
    parts = [compile_text(part, narrative=narrative) for part in expression.parts]
    return {"bool": {"must": parts, "must_not": [compile_text(part, narrative=narrative) for part in expression.without]}}


def _should(parts: Sequence[Json]) -> Json:
    return parts[0] if len(parts) == 1 else {"bool": {"should": list(parts), "minimum_should_match": 1}}


def _phrase(field: str, phrase: Phrase) -> Json:
    *first, last = phrase.words
    if not phrase.prefix:
        return {"match_phrase": {field: " ".join(phrase.words)}} if first else {"term": {field: last}}
    if not first:
        return {"prefix": {field: last}}
    begin: list[Json] = [{"match": {"query": " ".join(first), "max_gaps": 0, "ordered": True}}, {"prefix": {"prefix": last}}]
    return {"intervals": {field: {"all_of": {"ordered": True, "max_gaps": 0, "intervals": begin}}}}
