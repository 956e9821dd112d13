"""The Prefer header (https://hl7.org/fhir/R4/http.html#ops, RFC 7240)."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from fhir_server.messages import Return

_RETURNS: dict[str, Return] = {
    "minimal": "minimal",
    "representation": "representation",
    "operationoutcome": "OperationOutcome",
}


class Preferences(NamedTuple):
    """What the caller would like. `lenient`: unknown search parameters are to be ignored rather than refused."""

    answer: Return = "representation"
    lenient: bool = False
    asynchronous: bool = False


def preferences(headers: Mapping[str, str]) -> Preferences:
    """The preferences of a request. Of one given twice the first counts; what is not understood does not (RFC 7240, section 2)."""
    value = headers.get("prefer")
    return _read(value) if value else Preferences()


@lru_cache(maxsize=256)
def _read(header: str) -> Preferences:
    given: dict[str, str] = {}
    for part in header.replace(";", ",").split(","):
        name, _, value = (text.strip().strip('"').lower() for text in part.partition("="))
        given.setdefault(name, value)
    return Preferences(
        _RETURNS.get(given.get("return", ""), "representation"), given.get("handling") == "lenient", "respond-async" in given
    )
