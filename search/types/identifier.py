"""`:identifier` on references: what a reference names by a business identifier (https://hl7.org/fhir/R4/search.html#reference)."""

from collections.abc import Sequence
from typing import Any

from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types import token
from search.types.text import Bases, Converter, Reading
from search.values import TokenValue, Value

KIND = "reference"


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`system|value`, `value`, `|value` or `system|`, as for tokens. Raises BadValue."""
    return token.parse(text, parameter, modifier, reading)


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """Reference.identifier."""
    return _identifier if fhir_type == "Reference" else None


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """As for tokens."""
    return token.match(term, modifier, value)


def _identifier(values: Sequence[dict[str, Any]]) -> list[Value]:
    found = [value["identifier"] for value in values if "identifier" in value]
    return [TokenValue(v.get("system", ""), v.get("value", "")) for v in found if "value" in v or "system" in v] if found else []
