"""String parameters: text compared from its start, without case and accents (https://hl7.org/fhir/R4/search.html#string)."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types.text import BadValue, Bases, Converter, Reading, unescape
from search.values import StringValue, Value, fold

_PARTS = {
    "HumanName": ("text", "family", "given", "prefix", "suffix"),
    "Address": ("text", "line", "city", "district", "state", "country", "postalCode"),
}
"""The parts of a complex type, each compared by itself."""

MODIFIERS = frozenset({Modifier.EXACT, Modifier.CONTAINS, Modifier.MISSING})


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`peter` -> one term. Raises BadValue for text in which nothing is left to compare (such as a lone accent)."""
    value = StringValue(fold(exact := unescape(text)), exact)
    if not value.folded and modifier is not Modifier.EXACT:
        raise BadValue(f"'{text}' has no characters to compare with")
    return (Term(value),)


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """Plain text is one value, a HumanName or Address one for each of its parts."""
    if fhir_type in ("string", "markdown", "code", "uri", "url", "id"):
        return _texts
    if fhir_type in _PARTS:
        return partial(_complex, _PARTS[fhir_type])
    return None


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """Starts with, or as the modifier says: equal as written, equal when folded, contains, or ends with."""
    assert isinstance(term.value, StringValue) and isinstance(value, StringValue)
    if modifier is Modifier.EXACT:
        return value.exact == term.value.exact
    if modifier is Modifier.CONTAINS:
        return term.value.folded in value.folded
    if modifier is Modifier.EQUALS:
        return value.folded == term.value.folded
    if modifier is Modifier.ENDS:
        return value.folded.endswith(term.value.folded)
    return value.folded.startswith(term.value.folded)


@lru_cache(maxsize=16_384)
def _text(text: str) -> Value:
    """The value of a text: names and places recur, among documents and among the parameters of one."""
    return StringValue(fold(text), text)


def _texts(values: Sequence[str]) -> list[Value]:
    return [_text(value) for value in values]


def _complex(names: tuple[str, ...], values: Sequence[dict[str, Any]]) -> list[Value]:
    found: list[Value] = []
    for value in values:
        for name in names:
            if name in value:
                part = value[name]
                if part.__class__ is str:
                    found.append(_text(part))
                elif part:
                    found += [_text(text) for text in part if text is not None]
    return found
