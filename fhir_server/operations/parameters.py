"""Reading and writing Parameters resources (https://hl7.org/fhir/R4/parameters.html)."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fhir_server.interactions.accept import errors
from fhir_server.messages import FhirRequest
from resources import documents
from resources.outcomes import FhirError, bad_request
from resources.structure import check
from search.parse import pairs_of


def resource_type(body: bytes) -> str:
    """The `resourceType` of a body, "" if it has none. Raises FhirError 400 if it is not a JSON object."""
    try:
        kind = documents.members(body).get("resourceType")
        return msgspec.json.decode(kind, type=str) if kind is not None else ""
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise bad_request("The body is not a resource in JSON") from None


def read(request: FhirRequest) -> list[dict[str, Any]]:
    """The `parameter` list of the body, a Parameters resource; empty where there is no body. Raises FhirError 400."""
    if not request.body:
        return []
    kind = resource_type(request.body)
    if kind != "Parameters":
        raise bad_request(f"The body must be a Parameters resource, not {kind or 'without resourceType'}", "resourceType")
    issues = check(request.body)
    if errors(issues):
        raise FhirError(400, issues)
    found = documents.decode(request.body).get("parameter", [])
    return [one for one in found if isinstance(one, dict)]


def simple(request: FhirRequest, known: Sequence[str]) -> dict[str, list[str]]:
    """Simple parameters from the query string and, with POST, from the Parameters body: name -> values as text.

    Raises FhirError 400 for a parameter that is not among `known`: ignoring it could answer something else than was asked.
    """
    out: dict[str, list[str]] = {}
    for name, value in given(request):
        if name not in known:
            raise bad_request(f"The operation has no parameter {name[:64]}; it has {', '.join(known)}", code="not-supported")
        out.setdefault(name, []).append(value)
    return out


def given(request: FhirRequest) -> list[tuple[str, str]]:
    """The (name, value) pairs of the query string and, with POST, of the Parameters body, but `_format` and `_pretty`."""
    found = [(name, value) for name, value in pairs_of(request.query) if name not in ("_format", "_pretty")]
    if request.body:
        found += [(str(one.get("name", "")), _text(one)) for one in read(request)]
    return found


def answer(name: str, member: str, value: Mapping[str, Any]) -> bytes:
    """A Parameters resource with one parameter."""
    return documents.encode({"resourceType": "Parameters", "parameter": [{"name": name, member: value}]})


def _text(parameter: Mapping[str, Any]) -> str:
    value = next((v for k, v in parameter.items() if k.startswith("value")), None)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, (dict, list)):
        raise bad_request(
            f"The parameter {str(parameter.get('name'))[:64]} needs a simple value, such as valueString", code="value"
        )
    return str(value)
