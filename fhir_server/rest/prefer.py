"""The Prefer header (https://hl7.org/fhir/R4/http.html#ops, RFC 7240)."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from fhir_server.messages import Return
from resources.outcomes import bad_request

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
    """The preferences of a request; unknown ones do not count. Raises FhirError 400 for a known one with an unknown value."""
    value = headers.get("prefer")
    return _read(value) if value else Preferences()


@lru_cache(maxsize=256)
def _read(header: str) -> Preferences:
    found = Preferences()
    for part in header.replace(";", ",").split(","):
        name, _, value = (text.strip().strip('"').lower() for text in part.partition("="))
        if name == "return":
            if value not in _RETURNS:
                raise bad_request("Prefer: return must be minimal, representation or OperationOutcome", code="value")
            found = found._replace(answer=_RETURNS[value])
        elif name == "handling":
            if value not in ("strict", "lenient"):
                raise bad_request("Prefer: handling must be strict or lenient", code="value")
            found = found._replace(lenient=value == "lenient")
        elif name == "respond-async":
            found = found._replace(asynchronous=True)
    return found
