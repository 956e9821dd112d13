"""Which types of documents a search has to look at."""

from collections.abc import Iterable, Sequence

from resources.store import Key
from search.query import AllOf, AnyOf, Chain, Condition, Has, Include, Negation, Query


def looked_at(queries: Iterable[Query], includes: Sequence[Include] = (), keys: Iterable[Key] = ()) -> set[str] | None:
    """The types; None: any."""
    found = {key.type for key in keys}
    for query in queries:
        found.add(query.type)
        found.update(via.target for key in query.sort for via in key.via)
        found |= _of(query.clauses)
    for include in includes:
        ends = {include.target} if include.target else {end for each in include.parameters for end in each.ends or ("",)}
        if "" in ends:
            return None
        found |= {include.source, *(end for end in ends if end)}
    return found - {""}


def _of(conditions: Iterable[Condition]) -> set[str]:
    found: set[str] = set()
    for each in conditions:
        if isinstance(each, Chain):
            found |= {each.target} | _of(each.conditions)
        elif isinstance(each, Has):
            found |= {each.source} | _of(each.conditions)
        elif isinstance(each, AnyOf | AllOf):
            found |= _of(each.conditions)
        elif isinstance(each, Negation):
            found |= _of((each.condition,))
    return found
