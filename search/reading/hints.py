"""What a query may not mean as it is written: told in the answer, since it is no error (https://hl7.org/fhir/R4/search.html#errors)."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import lru_cache

from conformance.load import definitions
from search.parameter import SearchParameter
from search.query import Clause, Condition, Modifier, leaves
from search.values import TokenValue

_MOST = 10

SHAPING = (
    *("_count", "_total", "_summary", "_elements", "_sort", "_include", "_revinclude", "_contained", "_containedType", "_explain"),
    *("_filter", "_list", "_has", "_text", "_content", "_format", "_pretty", "_type"),
)
"""Names that are no search parameters of a type, for "did you mean"."""


def close_to(name: str, names: Iterable[str], most: int = 3) -> str:
    """` (did you mean a or b?)`, or nothing."""
    found = get_close_matches(name[:64], sorted(names), n=most, cutoff=0.7)
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def hints(types: Sequence[str], conditions: Sequence[Condition], elements: Sequence[str]) -> tuple[str, ...]:
    """Sentences about codes that no resource can have, and about elements that none of `types` (those that are shown) has."""
    found = dict.fromkeys((*_codes(conditions), *_elements(types, elements)))
    return tuple(found)[:_MOST]


def _codes(conditions: Sequence[Condition]) -> Iterator[str]:
    """Codes of elements that can only have codes of a known set, and not these."""
    for leaf in leaves(conditions):
        if not isinstance(leaf, Clause) or not leaf.parameter.bound or leaf.modifier not in (Modifier.NONE, Modifier.NOT):
            continue
        known = _known(leaf.parameter)
        for term in leaf.terms:
            if isinstance(term.value, TokenValue) and term.code_given and term.value.code not in known:
                hint = close_to(term.value.code, known) or (
                    f"; there are {', '.join(sorted(known))}" if len(known) <= _MOST else ""
                )
                yield f"No {leaf.parameter.type} has {leaf.parameter.code} {term.value.code[:100]!r}, which is no code of it{hint}"


@lru_cache(maxsize=1_024)
def _known(parameter: SearchParameter) -> frozenset[str]:
    return frozenset[str]().union(*parameter.bound.values())


def _elements(types: Sequence[str], asked: Sequence[str]) -> Iterator[str]:
    """Names in `_elements` that none of the types has."""
    for name in asked:
        first, _, rest = name.partition(".")
        of = [type for type in types if type == first] or list(types)
        wanted = (rest if of == [first] else name).partition(".")[0]
        known = {
            each for type in of for element in definitions().types[type].elements.values() for each in (element.name, *element.json)
        }
        if wanted and wanted not in known:
            types_here = f"{' and '.join(of[:5])} {'has' if len(of) == 1 else 'have'}"
            yield f"_elements: {types_here} no element {wanted[:100]!r}{close_to(wanted, known)}"
