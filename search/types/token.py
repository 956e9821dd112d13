"""Token parameters: codes and identifiers, with or without their system (https://hl7.org/fhir/R4/search.html#token).

Codes and systems are compared as written, case included. Elements of type `code` carry no system; where their binding tells the code
systems (`SearchParameter.bound`), a query may name one of these.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from search.parameter import SearchParameter
from search.query import NAMING_CODES, Modifier, Term
from search.types.text import BadValue, Bases, Converter, Reading, split, unescape
from search.values import TokenValue, UriValue, Value

_SPECIAL_VALUES = "http://hl7.org/fhir/special-values"
_PLAIN = frozenset({"string", "id", "uri", "url", "canonical", "oid", "uuid", "markdown", "date", "dateTime", "instant", "time"})
_NUMBERS = frozenset({"integer", "positiveInt", "unsignedInt", "decimal"})

MODIFIERS = frozenset({Modifier.NOT, Modifier.MISSING})


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`code`, `system|code`, `|code` (no system) or `system|` (any code of it); with `:in` and `:not-in` the URL of a value set.

    Raises BadValue."""
    if modifier in NAMING_CODES:
        return (_naming(text, parameter, modifier, reading),)
    if parameter.code == "_id":
        return (Term(TokenValue("", unescape(text))),)
    parts = [unescape(part) for part in split(text, "|")]
    if len(parts) == 1:
        return (Term(TokenValue("", parts[0])),)
    if len(parts) > 2:
        raise BadValue(f"'{text}' has more than one |: write system|code, and \\| for a | that belongs to the code")
    system, code = parts
    if not system and not code:
        raise BadValue("'|' names neither a system nor a code")
    if system in parameter.bound:
        return _bound(parameter.bound[system], code)
    if system == _SPECIAL_VALUES and code in ("true", "false"):
        return (Term(TokenValue("", code)),)
    return (Term(TokenValue(system, code), system_given=True, code_given=bool(code)),)


def _naming(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> Term:
    """The term of `:in`, `:not-in`, `:above` or `:below`, which stands for codes that are looked up later."""
    if modifier in (Modifier.IN, Modifier.NOT_IN):
        url = unescape(text)
        own = next((base for base in (*reading.bases, reading.asked) if base and url.startswith(base)), "")
        return Term(UriValue(url.removeprefix(own)))
    parts = [unescape(part) for part in split(text, "|")]
    system = parts[0] if len(parts) == 2 else next(iter(parameter.bound)) if len(parts) == 1 and len(parameter.bound) == 1 else ""
    if not system or not parts[-1]:
        raise BadValue(f"'{text}' must name a system and a code, as in http://loinc.org|1234-5")
    return Term(TokenValue(system, parts[-1]), system_given=True)


def _bound(codes: frozenset[str], code: str) -> tuple[Term, ...]:
    """Terms for a code of the implied system, or for all of them."""
    wanted = [code] if code else sorted(codes)
    return tuple(Term(TokenValue("", each)) for each in wanted)


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """Makes (system, code) of each coding, identifier or plain value, with the code "" where it has a system only: `system|` finds it.
    What has neither makes nothing."""
    if fhir_type in _PLAIN:
        return _plain
    if fhir_type in _NUMBERS:
        return _number
    return _CONVERTERS.get(fhir_type)


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """Equal code and, where asked for, equal system. (`:not` is the clause's to turn round.)"""
    assert isinstance(term.value, TokenValue) and isinstance(value, TokenValue)
    if term.system_given and value.system != term.value.system:
        return False
    return not term.code_given or value.code == term.value.code


@lru_cache(maxsize=4_096)
def recurring(system: str, code: str) -> Value:
    """The value of a code of a system: most documents have the same ones."""
    return TokenValue(system, code)


def _plain(values: Sequence[str]) -> list[Value]:
    return [TokenValue("", value) for value in values]


def _codes(values: Sequence[str]) -> list[Value]:
    return [recurring("", value) for value in values]


def _number(values: Sequence[object]) -> list[Value]:
    return [TokenValue("", str(value)) for value in values]


def _boolean(values: Sequence[bool]) -> list[Value]:
    return [recurring("", "true" if value else "false") for value in values]


def _coding(values: Sequence[dict[str, Any]]) -> list[Value]:
    return [recurring(c.get("system", ""), c.get("code", "")) for c in values if "code" in c or "system" in c]


def _concept(values: Sequence[dict[str, Any]]) -> list[Value]:
    return _coding([coding for value in values for coding in value.get("coding", ())])


def _identifier(values: Sequence[dict[str, Any]]) -> list[Value]:
    return [TokenValue(v.get("system", ""), v.get("value", "")) for v in values if "value" in v or "system" in v]


def _contact(values: Sequence[dict[str, Any]]) -> list[Value]:
    return [TokenValue("", value["value"]) for value in values if "value" in value]


_CONVERTERS: dict[str, Converter] = {
    "boolean": _boolean,
    "code": _codes,
    "Coding": _coding,
    "CodeableConcept": _concept,
    "Identifier": _identifier,
    "ContactPoint": _contact,
}
