"""The kinds of search parameters, each a module with the same three functions and modifiers (https://hl7.org/fhir/R4/search.html#ptypes)."""

from collections.abc import Mapping
from typing import Protocol

from conformance.fhirpath import compile_paths
from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types import (
    composite,
    date,
    identifier,
    label,
    number,
    of_type,
    position,
    quantity,
    reference,
    string,
    token,
    uri,
)
from search.types.text import Bases, Converter, Reading
from search.values import Value


class Kind(Protocol):
    """What each of the modules gives."""

    MODIFIERS: frozenset[Modifier]
    """Which modifiers it takes, beside `:Type` for references (https://hl7.org/fhir/R4/search.html#modifiers)."""

    def parse(self, text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
        """One value of a query (escapes still in it) as the terms any of which must match. Raises BadValue."""

    def converter(self, fhir_type: str, bases: Bases) -> Converter | None:
        """What makes values of JSON values of this FHIR type; None if the type has nothing to compare for this kind."""

    def match(self, term: Term, modifier: Modifier, value: Value) -> bool:
        """Whether one value of a document matches one term."""


class Facet(Protocol):
    """What the module of a modifier gives that looks at values of its own (`search.query.FACETS`): as a Kind, with the kind of
    parameters that take it."""

    KIND: str

    def parse(self, text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]: ...

    def converter(self, fhir_type: str, bases: Bases) -> Converter | None: ...

    def match(self, term: Term, modifier: Modifier, value: Value) -> bool: ...


KINDS: Mapping[str, Kind] = {
    "string": string,
    "token": token,
    "date": date,
    "number": number,
    "quantity": quantity,
    "reference": reference,
    "uri": uri,
    "composite": composite,
    "special": position,
}
"""All that can be searched; the only special parameter with an expression is Location.near. README.md tells how to add a kind."""

MODIFYING: Mapping[Modifier, Facet] = {Modifier.TEXT: label, Modifier.OF_TYPE: of_type, Modifier.IDENTIFIER: identifier}
"""The modules of the modifiers that look at values of their own."""


def takes(parameter: SearchParameter, modifier: Modifier) -> bool:
    """Whether the parameter's elements have what a modifier of MODIFYING looks at: `gender:text` has no text to look at."""
    facet = MODIFYING[modifier]
    if parameter.kind != facet.KIND:
        return False
    return any(facet.converter(path.fhir_type, ()) for path in compile_paths(parameter.expression, parameter.type))


def kind_of(parameter: SearchParameter, modifier: Modifier) -> Kind | Facet:
    """What reads and compares values of a clause."""
    return MODIFYING.get(modifier) or KINDS[parameter.kind]
