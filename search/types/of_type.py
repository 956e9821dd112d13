"""`:of-type` on identifiers: a value together with the type of its identifier (https://hl7.org/fhir/R4/search.html#token).

It is a composite of the type and the value: both must hold of one Identifier.
"""

from collections.abc import Sequence
from typing import Any

from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types import composite, token
from search.types.text import BadValue, Bases, Converter, Reading, split, unescape
from search.values import CompositeValue, TokenValue, Value

KIND = "token"


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`system|code|value`, of which all are needed. Raises BadValue."""
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) != 3 or not all(parts):
        form = "system|code|value, as in http://terminology.hl7.org/CodeSystem/v2-0203|MR|446053"
        raise BadValue(f"'{text}' is no identifier of a type: write {form}")
    system, code, value = parts
    return (composite.joined((Term(TokenValue(system, code), system_given=True), Term(TokenValue("", value)))),)


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """Each coding of an Identifier's type with the value."""
    return _identifier if fhir_type == "Identifier" else None


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """Type and value of one identifier."""
    return composite.match(term, modifier, value)


def _identifier(values: Sequence[dict[str, Any]]) -> list[Value]:
    found: list[Value] = []
    for value in values:
        if "type" in value and "value" in value:
            written = TokenValue("", value["value"])
            codings = (c for c in value["type"].get("coding", ()) if "code" in c)
            found += [CompositeValue((token.recurring(c.get("system", ""), c["code"]), written)) for c in codings]
    return found
