"""Sorting by what documents refer to: all matches, and the values at the end of their references, are looked up and sorted here.

Elasticsearch has no joins. So this is bounded: beyond MOST matches, or MOST documents of one link, the search is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cmp_to_key, partial
from typing import Any

from search.index import TooCostly
from search.indexes.elastic.beside.scores import ranked
from search.indexes.elastic.compile import access_parts, all_of
from search.indexes.elastic.fields import path
from search.indexes.elastic.include import Access
from search.indexes.elastic.terms import Json, any_of, one_of
from search.parameter import SearchParameter
from search.query import Grants, Query, SortKey
from search.text.scoring import SCORE, scored

MOST = 20_000
"""Matches that can be sorted so, and documents that one link may lead to."""

_PAGE = 10_000

Found = Mapping[str, Mapping[str, list[Any]]]
"""Id -> the fields that were asked for, with their values."""

Place = tuple[Any, ...]
"""A document's values by the sort keys, its date, its id: what a cursor carries."""


def chained(query: Query) -> bool:
    """Whether the query sorts by what documents refer to."""
    return any(key.via for key in query.sort)


async def places(access: Access, query: Query, found: Json) -> list[Place]:
    """The places of all documents that `found` finds, sorted. Raises TooCostly."""
    fields = [_first(key) for key in query.sort if key.parameter.code != SCORE]
    asked = ranked(query, found) if scored(query) else found
    matches, ranks = await _matching(access, query.type, asked, dict.fromkeys(("date", *fields)), scored=scored(query))
    columns = [ranks if key.parameter.code == SCORE else await _column(access, key, matches, query.allowed) for key in query.sort]
    made = [(*(column.get(id) for column in columns), hit["date"][0], id) for id, hit in matches.items()]
    return sorted(made, key=cmp_to_key(partial(compare, query.sort)))


def compare(keys: Sequence[SortKey], a: Place, b: Place) -> int:
    """By the sort keys, None last; then by date and id in the direction of the first key. As `cmp` does."""
    for key, x, y in zip(keys, a, b, strict=False):
        if x != y:
            if x is None or y is None:
                return 1 if x is None else -1
            return -1 if (x < y) is not key.descending else 1
    if a[-2:] == b[-2:]:
        return 0
    return -1 if (a[-2:] < b[-2:]) is not keys[0].descending else 1


def _first(key: SortKey) -> str:
    return _targets(key.via[0].parameter) if key.via else _values(key.parameter)


def _targets(parameter: SearchParameter) -> str:
    return f"{path(parameter)}.t"


def _values(parameter: SearchParameter) -> str:
    code = parameter.stored or parameter.code
    return {"_id": "id", "_lastUpdated": "updated"}.get(code, f"{path(parameter)}.o")


async def _column(access: Access, key: SortKey, matches: Found, allowed: Grants | None) -> dict[str, Any]:
    """Id -> the value by the key, where there is one."""
    ends: dict[str, list[Any]] = {id: hit.get(_first(key), []) for id, hit in matches.items()}
    for number, via in enumerate(key.via):
        last = number + 1 == len(key.via)
        field = _values(key.parameter) if last else _targets(key.via[number + 1].parameter)
        there = await _documents(
            access, via.target, {id for names in ends.values() for id in _ids(via.target, names)}, field, allowed
        )
        ends = {
            start: [value for id in _ids(via.target, names) if id in there for value in there[id].get(field, ())]
            for start, names in ends.items()
        }
    choose = max if key.descending else min
    return {id: choose(values) for id, values in ends.items() if values}


def _ids(type: str, names: Iterable[str]) -> list[str]:
    return [name.removeprefix(f"{type}/") for name in names if name.startswith(f"{type}/")]


async def _matching(
    access: Access, type: str, found: Json, fields: Iterable[str], *, scored: bool
) -> tuple[Found, dict[str, float]]:
    """What `found` finds, and the scores of these documents by id, if they are asked for."""
    matches: dict[str, Mapping[str, list[Any]]] = {}
    ranks: dict[str, float] = {}
    after: list[str] | None = None
    while True:
        body = _body(found, fields) | ({"search_after": after} if after else {}) | {"track_scores": scored}
        (hits,) = await access.ask([(type, body)])
        ranks |= {str(hit.fields["id"][0]): hit.score for hit in hits if hit.score is not None}
        matches |= {str(hit.fields["id"][0]): hit.fields for hit in hits}
        if len(matches) > MOST:
            raise _too_many(type)
        if len(hits) < _PAGE:
            return matches, ranks
        after = [str(hits[-1].fields["id"][0])]


async def _documents(access: Access, type: str, ids: set[str], field: str, allowed: Grants | None) -> Found:
    """Those of the ids that are there and allowed."""
    if len(ids) > MOST:
        raise _too_many(type)
    ordered = sorted(ids)
    asked = []
    for start in range(0, len(ordered), _PAGE):
        named = any_of(one_of("id", ordered[start : start + _PAGE]))
        asked.append((type, _body(all_of([named, *access_parts(type, (), allowed)]), [field])))
    return {str(hit.fields["id"][0]): hit.fields for hits in await access.ask(asked) for hit in hits}


def _body(found: Json, fields: Iterable[str]) -> Json:
    return {
        "size": _PAGE,
        "query": found,
        "sort": [{"id": "asc"}],
        "track_total_hits": False,
        "_source": False,
        "stored_fields": "_none_",
        "docvalue_fields": list(dict.fromkeys(("id", *fields))),
    }


def _too_many(type: str) -> TooCostly:
    text = f"More than {MOST:,} documents of {type} would have to be looked up to sort by what is referred to"
    return TooCostly(f"{text}; narrow the search, or sort by parameters of the type that is searched for.")
