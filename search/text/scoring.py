"""`_score`: how well documents match what is asked of their words (https://hl7.org/fhir/R4/search.html#score).

Between 0 and 1, the more the better; what it is worth is each index's own affair, and it may change whenever documents do.
"""

import re
from collections.abc import Iterator

from search.parameter import SearchParameter
from search.query import AllOf, AnyOf, Condition, Query, SortKey, Text
from search.text.expression import Expression, Phrase
from search.values import DocumentText

SCORE = "_score"


def score_key(type: str, *, worst_first: bool) -> SortKey:
    """The key of `_sort=_score`, with which the best matches come first, or of `_sort=-_score`."""
    return SortKey(SearchParameter(type, SCORE, "special", "", "", stored=SCORE), not worst_first)


def scored(query: Query) -> bool:
    """Whether the query sorts by scores."""
    return any(key.parameter.code == SCORE for key in query.sort)


def texts_of(conditions: tuple[Condition, ...]) -> Iterator[Text]:
    """What is asked of the words of the documents that are searched for themselves."""
    for condition in conditions:
        if isinstance(condition, Text):
            yield condition
        elif isinstance(condition, AnyOf | AllOf):
            yield from texts_of(condition.conditions)


def share(weight: float) -> float:
    """A weight from 0 on as a score."""
    return weight / (1 + weight)


def score(query: Query, text: DocumentText | None) -> float | None:
    """A plain score: how often the phrases occur. None where nothing is asked of the words."""
    texts = list(texts_of(query.clauses))
    if not texts or text is None:
        return None
    return share(sum(_occurrences(each.expression, text.narrative, "" if each.narrative else text.rest) for each in texts))


def _occurrences(expression: Expression, *parts: str) -> int:
    if isinstance(expression, Phrase):
        end = "" if expression.prefix else r"(?!\S)"
        wanted = re.compile(rf"(?<!\S){re.escape(' '.join(expression.words))}{end}")
        return sum(len(wanted.findall(part)) for part in parts)
    return sum(_occurrences(part, *parts) for part in expression.parts)
