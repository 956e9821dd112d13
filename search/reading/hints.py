"""What a query may not mean as it is written: told in the answer, since it is no error (https://hl7.org/fhir/R4/search.html#errors)."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache, lru_cache
from itertools import chain

from conformance.fhirpath import compile_paths
from conformance.load import definitions
from search.parameter import SearchParameter
from search.query import Clause, Condition, Modifier, leaves
from search.units import ucum
from search.values import QuantityValue, TokenValue

_MOST = 10

SHAPING = (
    *("_count", "_total", "_summary", "_elements", "_sort", "_include", "_revinclude", "_contained", "_containedType", "_explain"),
    *("_filter", "_list", "_has", "_text", "_content", "_format", "_pretty", "_type"),
)
"""Names that are no search parameters of a type, for "did you mean"."""


def a(type: str) -> str:
    """The name of a resource type with its article."""
    return f"an {type}" if type[:1] in ("A", "E", "I", "O") else f"a {type}"


def close_to(name: str, names: Iterable[str], most: int = 3) -> str:
    """` (did you mean a or b?)`, or nothing. The name itself is never proposed: it is not its spelling that is wrong."""
    return _close_to(name[:64], tuple(names), most)


@lru_cache(maxsize=256)
def _close_to(name: str, names: tuple[str, ...], most: int) -> str:
    """The same name is often wrong at many places of a query, each type that a chain may lead to being one."""
    found = get_close_matches(name, sorted({*names} - {name}), n=most, cutoff=0.7)
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def hints(types: Sequence[str], conditions: Sequence[Condition], elements: Sequence[str]) -> tuple[str, ...]:
    """Sentences about codes that no resource can have, and about elements that none of `types` (those that are shown) has."""
    found: dict[str, None] = {}
    for each in chain(_codes(conditions), _elements(types, elements)):  # no more are looked for than are told
        found[each] = None
        if len(found) == _MOST:
            break
    return tuple(found)


def _codes(conditions: Sequence[Condition]) -> Iterator[str]:
    """Codes of elements that can only have codes of a known set, and not these; units that are none."""
    for leaf in leaves(conditions):
        if not isinstance(leaf, Clause):
            continue
        if leaf.parameter.kind == "quantity":
            yield from _units(leaf)
        elif leaf.modifier in (Modifier.NONE, Modifier.NOT) and (known := _known(leaf.parameter)):
            yield from _unknown(leaf, known)


def _unknown(clause: Clause, known: frozenset[str]) -> Iterator[str]:
    parameter = clause.parameter
    for value, term in ((term.value, term) for term in clause.terms):
        if not isinstance(value, TokenValue):
            continue
        if term.system_given and value.system:
            systems = f"; they are of {' or '.join(sorted(parameter.bound)[:3])}" if parameter.bound else ""
            yield f"No {parameter.type} has a {parameter.code} of the system {value.system[:100]!r}{systems}"
        elif term.code_given and value.code not in known:
            hint = close_to(value.code, known) or (f"; there are {', '.join(sorted(known))}" if len(known) <= _MOST else "")
            yield f"No {parameter.type} has {parameter.code} {value.code[:100]!r}, which is no code of it{hint}"


def _units(clause: Clause) -> Iterator[str]:
    """Units of UCUM's system that the table of units does not have."""
    for term in clause.terms:
        value = term.value
        if isinstance(value, QuantityValue) and value.system == ucum.SYSTEM and not ucum.alike(value.code):
            hint = close_to(value.code, ucum.codes())
            yield f"{clause.parameter.code}: {value.code[:100]!r} is no unit of UCUM that is known here; it is compared as written{hint}"


@lru_cache(maxsize=1_024)
def _known(parameter: SearchParameter) -> frozenset[str]:
    """The codes that a parameter can have, where these are a known set; none where they are not."""
    if not parameter.bound and parameter.kind == "token" and parameter.expression and not parameter.custom:
        types = {path.fhir_type for path in compile_paths(parameter.expression, parameter.type)}
        return frozenset(("true", "false")) if types == {"boolean"} else frozenset()
    return frozenset[str]().union(*parameter.bound.values())


def _elements(types: Sequence[str], asked: Sequence[str]) -> Iterator[str]:
    """Names in `_elements` that none of the types has."""
    for name in asked:
        first, _, rest = name.partition(".")
        of = [type for type in types if type == first] or list(types)
        wanted = (rest if of == [first] else name).partition(".")[0]
        if wanted and not any(wanted in _names(type) for type in of):
            known = frozenset[str]().union(*map(_names, of))
            types_here = f"{' and '.join(of[:5])} {'has' if len(of) == 1 else 'have'}"
            yield f"_elements: {types_here} no element {wanted[:100]!r}{close_to(wanted, known)}"


@cache
def _names(type: str) -> frozenset[str]:
    """What a resource type's own elements are called."""
    return frozenset(each for element in definitions().types[type].elements.values() for each in (element.name, *element.json))
