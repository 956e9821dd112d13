"""`:text` on tokens: the text beside a code, compared from its start, without case and accents
(https://hl7.org/fhir/R4/search.html#token: CodeableConcept.text, Coding.display, Identifier.type.text)."""

from collections.abc import Iterable
from typing import Any

from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types.text import BadValue, Bases, Converter, Reading, unescape
from search.values import LabelValue, Value, fold

KIND = "token"


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`blood pr` -> one term. Raises BadValue for text in which nothing is left to compare."""
    folded = fold(unescape(text))
    if not folded:
        raise BadValue(f"'{text}' has no characters to compare with")
    return (Term(LabelValue(folded)),)


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """The texts of concepts, codings and identifiers' types."""
    return {"CodeableConcept": _concept, "Coding": _coding, "Identifier": _identifier}.get(fhir_type)


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """Starts with."""
    assert isinstance(term.value, LabelValue) and isinstance(value, LabelValue)
    return value.folded.startswith(term.value.folded)


def _coding(value: dict[str, Any]) -> list[Value]:
    return _labels(((value.get("display"), value.get("code", "")),))


def _concept(value: dict[str, Any]) -> list[Value]:
    text, codings = value.get("text"), value.get("coding", ())
    first = next((coding["code"] for coding in codings if "code" in coding), "")
    found = [(text, first)]
    for coding in codings:
        display = coding.get("display")
        if display != text:  # mostly they are the same
            found.append((display, coding.get("code", first)))
    return _labels(found)


def _labels(found: Iterable[tuple[str | None, str]]) -> list[Value]:
    return [LabelValue(folded, code) for text, code in found if text is not None and (folded := fold(text))]


def _identifier(value: dict[str, Any]) -> list[Value]:
    """R4 names the text of the type only; what the type's codings display is the same to the one who searches."""
    type = value.get("type")
    return [label._replace(code=None) for label in _concept(type) if isinstance(label, LabelValue)] if type else []
