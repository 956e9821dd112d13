"""Chains and `_has`: what they lead to is looked up first, innermost first, and becomes a list of addresses in the query.

Elasticsearch has no joins. A list is bounded: beyond MOST the search is refused as too costly rather than cut without a word.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from search.index import TooCostly
from search.indexes.elastic.beside.asking import PAGE, Asking
from search.indexes.elastic.compile import NO_LINKS, Links, access_parts, all_of, compile_condition
from search.indexes.elastic.fields import path
from search.indexes.elastic.terms import NOTHING, Json, any_of, one_of
from search.parameter import SearchParameter
from search.query import AllOf, AnyOf, Chain, Condition, Grants, Has, Negation, Query

MOST = 50_000
"""Documents that one step of a chain may lead through."""

_BARE: Json = {"_source": False, "stored_fields": "_none_"}


WAYS = 1_000
"""Chains and `_has` of one search, those within others counted. One by a reference to any type is a chain for each type."""


async def links_of(asking: Asking, queries: Sequence[Query]) -> list[Links]:
    """What the chains of each query lead to. Raises TooCostly."""
    ways = sum(_ways(query.clauses) for query in queries)
    if ways > WAYS:
        raise TooCostly(
            f"The search follows references in {ways:,} ways, at most {WAYS:,} are possible: name the types that are meant, such as"
            " subject:Patient.name, or ask for less at a time."
        )
    return await asyncio.gather(*(_resolve(asking, query.type, query.clauses, query.allowed) for query in queries))


def _ways(conditions: Sequence[Condition]) -> int:
    return sum(1 + _ways(each.conditions) for each in _linking(conditions))


async def _resolve(asking: Asking, type: str, conditions: Sequence[Condition], allowed: Grants | None) -> Links:
    wanted = list(dict.fromkeys(_linking(conditions)))
    found = await asyncio.gather(
        *(_chain(asking, each, allowed) if isinstance(each, Chain) else _has(asking, type, each, allowed) for each in wanted)
    )
    return dict(zip(wanted, found, strict=True)) or NO_LINKS


def _linking(conditions: Iterable[Condition]) -> Iterator[Chain | Has]:
    """The outermost chains among the conditions."""
    for condition in conditions:
        if isinstance(condition, Chain | Has):
            yield condition
        elif isinstance(condition, AnyOf | AllOf):
            yield from _linking(condition.conditions)
        elif isinstance(condition, Negation):
            yield from _linking((condition.condition,))


async def _inner(asking: Asking, type: str, conditions: Sequence[Condition], allowed: Grants | None) -> Json:
    links = await _resolve(asking, type, conditions, allowed)
    return all_of([*(compile_condition(each, links) for each in conditions), *access_parts(type, (), allowed)])


async def _chain(asking: Asking, chain: Chain, allowed: Grants | None) -> Json:
    inner = await _inner(asking, chain.target, chain.conditions, allowed)
    if inner is NOTHING:
        return NOTHING
    names = [f"{chain.target}/{id}" for id in await _ids(asking, chain.target, inner)]
    return any_of([query for field in _fields(chain.parameters) for query in one_of(field, names)])


async def _ids(asking: Asking, type: str, inner: Json) -> list[str]:
    found: list[str] = []
    body: dict[str, Any] = {"size": PAGE, "query": inner, "sort": [{"id": "asc"}], "track_total_hits": False, **_BARE}
    while True:
        hits = (await asking.soon(type, body)).hits.hits
        found += [hit.sort[0] for hit in hits]
        if len(found) > MOST:
            raise _too_many(type)
        if len(hits) < PAGE:
            return found
        body = {**body, "search_after": hits[-1].sort}


async def _has(asking: Asking, type: str, has: Has, allowed: Grants | None) -> Json:
    inner = await _inner(asking, has.source, has.conditions, allowed)
    fields = _fields(has.parameters)
    if inner is NOTHING or not fields:
        return NOTHING
    named: Json = {
        str(number): {"terms": {"field": field, "size": MOST + 1, "include": f"{type}/.*"}} for number, field in enumerate(fields)
    }
    answer = await asking.soon(has.source, {"size": 0, "query": inner, "track_total_hits": False, "aggs": named, **_BARE})
    names = {bucket.key for buckets in answer.aggregations.values() for bucket in buckets.buckets}
    if len(names) > MOST:
        raise _too_many(type)
    return any_of(one_of("id", (name.partition("/")[2] for name in sorted(names))))


def _fields(parameters: Sequence[SearchParameter]) -> list[str]:
    return [f"{path(p)}.t" for p in parameters if p.kind == "reference"]


def _too_many(type: str) -> TooCostly:
    return TooCostly(f"A chain leads through more than {MOST:,} documents of {type}; narrow it with another parameter of {type}.")
