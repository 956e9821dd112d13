"""Which types an answer depends on: a search waits until the index has the latest of all of them."""

from collections.abc import Iterable, Sequence

from fhir_server.context import Context
from fhir_server.searching.codes import names_codes
from search.query import Include, Query, types_of
from search.reading.includes import ends

_TERMINOLOGY = frozenset(("ValueSet", "CodeSystem"))


async def is_late(ctx: Context, queries: Sequence[Query], includes: Iterable[Include] = (), position: int | None = None) -> bool:
    """Whether the index may lack something that these queries, and what they include, depend on, although it was waited for.

    `position` as in `search.index.SearchIndex.caught_up`. The queries as they were read: codes not yet in place of value sets.
    """
    return not await ctx.index.caught_up(depending(ctx, queries, includes), position)


def depending(ctx: Context, queries: Sequence[Query], includes: Iterable[Include] = ()) -> tuple[str, ...]:
    """The types searched for, those at the ends of chains, of chained sort keys and of includes, and those that tell codes."""
    found: set[str] = set()
    for query in queries:
        found.add(query.type)
        found |= types_of(query.clauses)
        found.update(via.target for key in query.sort for via in key.via)
        if names_codes(query):
            found |= _TERMINOLOGY
    found |= _included(ctx, includes)
    return tuple(sorted(found))


def _included(ctx: Context, includes: Iterable[Include]) -> frozenset[str]:
    rules = tuple(includes)
    if any(rule.target is None and not parameter.targets for rule in rules for parameter in rule.parameters):
        return frozenset(ctx.parameters.types)  # a reference to anything
    return ends(rules)
