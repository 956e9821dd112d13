"""`:text` on tokens: the text beside a code, compared from its start, without case and accents
(https://hl7.org/fhir/R4/search.html#token: CodeableConcept.text, Coding.display, Identifier.type.text)."""

from collections.abc import Sequence
from functools import lru_cache
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


def _coding(values: Sequence[dict[str, Any]]) -> list[Value]:
    found = [_label(value["display"], value.get("code", "")) for value in values if "display" in value]
    return [label for label in found if label.folded]


def _concept(values: Sequence[dict[str, Any]]) -> list[Value]:
    return [_label(text, code) for value in values for text, code in _texts(value) if fold(text)]


def _texts(concept: dict[str, Any]) -> list[tuple[str, str]]:
    """The texts of a concept, each with a code beside it ("" where there is none)."""
    text, codings = concept.get("text"), concept.get("coding", ())
    first = next((coding["code"] for coding in codings if "code" in coding), "")
    shown = [(coding["display"], coding.get("code", first)) for coding in codings if "display" in coding]
    others = [pair for pair in shown if pair[0] != text]  # mostly they are the same
    return [(text, first), *others] if text is not None else others


@lru_cache(maxsize=4_096)
def _label(text: str, code: str | None) -> LabelValue:
    """The value of a text beside a code: most documents have the same ones."""
    return LabelValue(fold(text), code)


def _identifier(values: Sequence[dict[str, Any]]) -> list[Value]:
    """R4 names the text of the type only; what the type's codings display is the same to the one who searches."""
    texts = [text for value in values if "type" in value for text, _ in _texts(value["type"])]
    return [_label(text, None) for text in texts if fold(text)]
