"""The kinds of search parameters, each a module with the same three functions and modifiers (https://hl7.org/fhir/R4/search.html#ptypes)."""

from collections.abc import Mapping
from typing import Protocol

from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types import date, number, quantity, reference, string, token, uri
from search.types.text import Bases, Converter, Reading
from search.values import Value


class Kind(Protocol):
    """What each of the modules gives."""

    MODIFIERS: frozenset[Modifier]
    """Which modifiers it takes, beside `:Type` for references (https://hl7.org/fhir/R4/search.html#modifiers)."""

    def parse(self, text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
        """One value of a query (escapes still in it) as the terms any of which must match. Raises BadValue."""

    def converter(self, fhir_type: str, bases: Bases) -> Converter | None:
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
"""All that can be searched: composite and special parameters are not among them. README.md tells how to add a kind."""
