"""Composite parameters: several values that must hold of one and the same element (https://hl7.org/fhir/R4/search.html#combining).

What an element's values are, `search/expansion/composites.py` finds; where the element is the whole resource, nothing is kept and the query
becomes the clauses of its components (`search/expansion/conditions.py`).
"""

from collections.abc import Mapping, Sequence
from itertools import product
from types import ModuleType

from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types import date, number, quantity, reference, string, token, uri
from search.types.text import BadValue, Bases, Converter, Reading, split
from search.values import (
    CompositeValue,
    DateValue,
    NumberValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    UriValue,
    Value,
)

PARTS: Mapping[str, ModuleType] = {
    "string": string,
    "token": token,
    "date": date,
    "number": number,
    "quantity": quantity,
    "reference": reference,
    "uri": uri,
}
"""The kinds that a component may be of."""

_OF_VALUE: Mapping[type, ModuleType] = {
    StringValue: string,
    TokenValue: token,
    DateValue: date,
    NumberValue: number,
    QuantityValue: quantity,
    ReferenceValue: reference,
    UriValue: uri,
}

MODIFIERS = frozenset[Modifier]()


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`http://loinc.org|8480-6$gt140`: a value for each component, each with its own prefix. Raises BadValue."""
    parts = split(text, "$")
    components = [component.parameter for component in parameter.components]
    if len(parts) != len(components) or not all(parts):
        wanted = "$".join(f"<{component.code}>" for component in components)
        raise BadValue(f"'{text}' has {_parts(parts)}, but {parameter.code} takes {len(components)}: {wanted} (write \\$ for a $)")
    found = [PARTS[c.kind].parse(part, c, Modifier.NONE, reading) for c, part in zip(components, parts, strict=True)]
    return tuple(joined(terms) for terms in product(*found))


def _parts(parts: Sequence[str]) -> str:
    if not all(parts):
        return "an empty part"
    return "one part" if len(parts) == 1 else f"{len(parts)} parts"


def joined(terms: Sequence[Term]) -> Term:
    """One term of terms that must match one value's parts."""
    return Term(CompositeValue(tuple(term.value for term in terms)), parts=tuple(terms))


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """None: a composite's values are several of an element's."""
    return None


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """Each part matches, as the kind of its component compares."""
    assert isinstance(value, CompositeValue)
    pairs = zip(term.parts, value.parts, strict=True)
    return all(_OF_VALUE[type(held)].match(part, Modifier.NONE, held) for part, held in pairs)
