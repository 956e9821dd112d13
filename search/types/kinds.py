"""The kinds of search parameters, each a module with the same three functions (https://hl7.org/fhir/R4/search.html#ptypes)."""

from collections.abc import Mapping
from typing import Protocol

from search.parameters import SearchParameter
from search.query import Modifier, Term
from search.types import date, number, quantity, reference, string, token, uri
from search.types.text import Converter, Reading
from search.values import Value


class Kind(Protocol):
    """What each of the modules gives."""

    def parse(self, text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
        """One value of a query (escapes still in it) as the terms any of which must match. Raises BadValue."""

    def converter(self, fhir_type: str, base_url: str) -> Converter | None:
        """What makes values of a JSON value of this FHIR type; None if the type has nothing to compare for this kind."""

    def match(self, term: Term, modifier: Modifier, value: Value) -> bool:
        """Whether one value of a document matches one term."""


KINDS: Mapping[str, Kind] = {
    "string": string,
    "token": token,
    "date": date,
    "number": number,
    "quantity": quantity,
    "reference": reference,
    "uri": uri,
}
"""Composite and special parameters are not among them: they cannot be searched."""

MODIFIERS: Mapping[str, frozenset[Modifier]] = {
    "string": frozenset({Modifier.EXACT, Modifier.CONTAINS, Modifier.MISSING}),
    "token": frozenset({Modifier.NOT, Modifier.MISSING}),
    "date": frozenset({Modifier.MISSING}),
    "number": frozenset({Modifier.MISSING}),
    "quantity": frozenset({Modifier.MISSING}),
    "reference": frozenset({Modifier.MISSING}),
    "uri": frozenset({Modifier.MISSING}),
}
"""Which modifiers each kind takes, beside `:Type` for references (https://hl7.org/fhir/R4/search.html#modifiers)."""
