"""The parameters of a kick-off as text: from the query string and, with POST, from the Parameters body."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fhir_server.messages import FhirRequest
from fhir_server.operations.parameters import read
from fhir_server.rest.prefer import preferences
from resources.outcomes import bad_request, error
from search.parse import pairs_of

MOST_BODY, MOST_PARAMETERS, MOST_NOTES = 2_000_000, 10_000, 100
"""Bytes of the body of a kick-off, parameters that it may have, and notes that are told of what is left out of account."""

_OF_THE_ANSWER = ("_format", "_pretty")


class Notes:
    """Sentences, each once; of more than MOST_NOTES how many they are."""

    def __init__(self, told: Iterable[str] = ()) -> None:
        self._told, self._more = dict.fromkeys(told), 0

    def append(self, text: str) -> None:
        """One more."""
        if len(self._told) < MOST_NOTES:
            self._told[text] = None
        elif text not in self._told:
            self._more += 1

    def __iter__(self) -> Iterator[str]:
        yield from self._told
        if self._more:
            yield f"There are {self._more} more notes like these"


@dataclass(slots=True)
class Given:
    """Parameter name -> its values. `notes` tell what is left out of account, where the caller asked for lenient handling."""

    lenient: bool
    values: dict[str, list[str]] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)

    def listed(self, name: str) -> list[str]:
        """All values of a parameter; each may be a list with commas
        (https://hl7.org/fhir/uv/bulkdata/STU2/export.html#query-parameters). Raises FhirError 400 for one that is given without any."""
        found = [part for value in self.values.get(name, ()) for part in (text.strip() for text in value.split(",")) if part]
        if name in self.values and not found:
            raise bad_request(f"{name} has no value; leave it out, or say what is meant", name, "value")
        return found

    def one(self, name: str) -> str | None:
        """The value of a parameter that is given once at most. Raises FhirError 400."""
        values = self.values.get(name, [])
        if len(values) > 1:
            raise bad_request(f"{name} is given more than once", name, "value")
        return values[0] if values else None

    def pass_over(self, name: str, text: str, code: str = "not-supported") -> None:
        """What cannot be done: left out of account and told of where the caller is lenient; raises FhirError 400 otherwise."""
        if not self.lenient:
            raise bad_request(f"{text}. Send 'Prefer: handling=lenient' to have it ignored", name, code)
        self.notes.append(text)


def read_given(request: FhirRequest, known: tuple[str, ...]) -> Given:
    """The parameters of a request, of which there are no others than those `known`. Raises FhirError 400."""
    given = Given(preferences(request.headers).lenient)
    for number, (name, value) in enumerate(_pairs(request)):
        if number >= MOST_PARAMETERS:
            raise bad_request(f"A kick-off has {MOST_PARAMETERS} parameters at most", code="too-costly")
        if name in known:
            given.values.setdefault(name, []).append(value)
        elif name not in _OF_THE_ANSWER:
            given.pass_over(name[:64], f"$export has no parameter {name[:64]}; it has {', '.join(known)}")
    return given


def _pairs(request: FhirRequest) -> Iterator[tuple[str, str]]:
    yield from pairs_of(request.query)
    yield from in_body(request)


def in_body(request: FhirRequest) -> Iterator[tuple[str, str]]:
    """The parameters of a POST. Raises FhirError 400, 413."""
    if len(request.body) > MOST_BODY:
        raise error(413, "too-long", f"The parameters of a kick-off have {MOST_BODY} bytes at most; these have {len(request.body)}")
    for parameter in read(request):
        yield str(parameter.get("name", "")), _text(parameter)


def _text(parameter: Mapping[str, Any]) -> str:
    for key, value in parameter.items():
        if key == "valueReference" and isinstance(value, Mapping) and isinstance(value.get("reference"), str):
            return str(value["reference"])
        if key.startswith("value") and isinstance(value, bool):
            return "true" if value else "false"
        if key.startswith("value") and isinstance(value, str | int):
            return str(value)
    name = str(parameter.get("name"))[:64]
    raise bad_request(
        f"The parameter {name} needs a simple value, such as valueString, or a valueReference with a reference", name, "value"
    )
