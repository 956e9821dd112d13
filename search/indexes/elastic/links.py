"""Chains and `_has`: what they lead to is looked up first, innermost first, and becomes a list of addresses in the query.

Elasticsearch has no joins. A list is bounded: beyond MOST the search is refused as too costly rather than cut without a word.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from search.index import TooCostly
from search.indexes.elastic.compile import NO_LINKS, Links, access_parts, all_of, compile_condition
from search.indexes.elastic.fields import path
from search.indexes.elastic.terms import NOTHING, Json, any_of, one_of
from search.parameter import SearchParameter
from search.query import AllOf, AnyOf, Chain, Condition, Grants, Has, Negation, Query

MOST = 50_000
"""Documents that one step of a chain may lead through."""

_PAGE = 10_000


class Asker(Protocol):
    """Who can ask Elasticsearch."""

    async def raw(self, type: str, body: Json) -> bytes:
        """The answer to a search of the type; b"" where it has no index (then it has no documents either)."""


class _Hit(msgspec.Struct):
    sort: list[str]


class _Hits(msgspec.Struct):
    hits: list[_Hit] = []


class _Bucket(msgspec.Struct):
    key: str


class _Buckets(msgspec.Struct):
    buckets: list[_Bucket] = []


class _Answer(msgspec.Struct):
    hits: _Hits = msgspec.field(default_factory=_Hits)
    aggregations: dict[str, _Buckets] = {}


_decode = msgspec.json.Decoder(_Answer).decode


async def links_of(asker: Asker, query: Query) -> Links:
    """What the query's chains lead to. Raises TooCostly."""
    return await _resolve(asker, query.type, query.clauses, query.allowed)


async def _resolve(asker: Asker, type: str, conditions: Sequence[Condition], allowed: Grants | None) -> Links:
    found: dict[Condition, Json] = {}
    for condition in _linking(conditions):
        if condition in found:
            continue
        if isinstance(condition, Chain):
            found[condition] = await _chain(asker, condition, allowed)
        else:
            found[condition] = await _has(asker, type, condition, allowed)
    return found or NO_LINKS


def _linking(conditions: Iterable[Condition]) -> Iterator[Chain | Has]:
    """The outermost chains among the conditions."""
    for condition in conditions:
        if isinstance(condition, Chain | Has):
            yield condition
        elif isinstance(condition, AnyOf | AllOf):
            yield from _linking(condition.conditions)
        elif isinstance(condition, Negation):
            yield from _linking((condition.condition,))


async def _inner(asker: Asker, type: str, conditions: Sequence[Condition], allowed: Grants | None) -> Json:
    links = await _resolve(asker, type, conditions, allowed)
    return all_of([*(compile_condition(each, links) for each in conditions), *access_parts(type, (), allowed)])


async def _chain(asker: Asker, chain: Chain, allowed: Grants | None) -> Json:
    inner = await _inner(asker, chain.target, chain.conditions, allowed)
    if inner is NOTHING:
        return NOTHING
    names = [f"{chain.target}/{id}" for id in await _ids(asker, chain.target, inner)]
    return any_of([query for field in _fields(chain.parameters) for query in one_of(field, names)])


async def _ids(asker: Asker, type: str, inner: Json) -> list[str]:
    found: list[str] = []
    body: dict[str, Any] = {"size": _PAGE, "query": inner, "sort": [{"id": "asc"}], "track_total_hits": False}
    while True:
        answer = await asker.raw(type, body)
        hits = _decode(answer).hits.hits if answer else []
        found += [hit.sort[0] for hit in hits]
        if len(found) > MOST:
            raise _too_many(type)
        if len(hits) < _PAGE:
            return found
        body = {**body, "search_after": hits[-1].sort}


async def _has(asker: Asker, type: str, has: Has, allowed: Grants | None) -> Json:
    inner = await _inner(asker, has.source, has.conditions, allowed)
    fields = _fields(has.parameters)
    if inner is NOTHING or not fields:
        return NOTHING
    named: Json = {
        str(number): {"terms": {"field": field, "size": MOST + 1, "include": f"{type}/.*"}} for number, field in enumerate(fields)
    }
    answer = await asker.raw(has.source, {"size": 0, "query": inner, "track_total_hits": False, "aggs": named})
    if not answer:
        return NOTHING
    names = {bucket.key for buckets in _decode(answer).aggregations.values() for bucket in buckets.buckets}
    if len(names) > MOST:
        raise _too_many(type)
    return any_of(one_of("id", (name.partition("/")[2] for name in sorted(names))))


def _fields(parameters: Sequence[SearchParameter]) -> list[str]:
    return [f"{path(p)}.t" for p in parameters if p.kind == "reference"]


def _too_many(type: str) -> TooCostly:
    return TooCostly(f"A chain leads through more than {MOST:,} documents of {type}; narrow it with another parameter of {type}.")
