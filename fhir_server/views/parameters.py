"""Parameters of the operations on views: read from the query string and from a Parameters body (https://hl7.org/fhir/R4/parameters.html)."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from fhir_server.messages import FhirRequest
from resources import documents
from resources.ids import valid_id
from resources.outcomes import FhirError, Issue, bad_request, shown
from search.parse import pairs_of

RESOURCES: Final = frozenset(("viewResource", "resource"))
"""Parameters that are resources."""

Parameter = dict[str, msgspec.Raw]


class _Parameters(msgspec.Struct, rename="camel"):
    resource_type: str = ""
    parameter: list[Parameter] = []


_parameters: Final = msgspec.json.Decoder(_Parameters)


def pairs(request: FhirRequest) -> Iterator[tuple[str, Any]]:
    """(name, value) of the query string and of the Parameters in the body: resources as bytes, those with parts as lists of such pairs,
    others as JSON. Raises FhirError 400."""
    for name, value in pairs_of(request.query):
        if name in RESOURCES or name == "view":
            raise wrong(name, f"{name} stands in a Parameters resource in the body, not in the URL", "value")
        yield name, value
    if not request.body:
        return
    try:
        body = _parameters.decode(request.body.removeprefix(b"\xef\xbb\xbf"))
        if body.resource_type != "Parameters":
            raise bad_request("The body must be a Parameters resource", "resourceType")
        for parameter in body.parameter:
            yield _pair(parameter)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise bad_request("The body must be a Parameters resource in JSON", "Parameters.parameter", "structure") from None


def _pair(parameter: Parameter) -> tuple[str, Any]:
    name = msgspec.json.decode(parameter.get("name", msgspec.Raw(b"")), type=str)
    if "part" in parameter:
        return name, [_pair(part) for part in msgspec.json.decode(parameter["part"], type=list[Parameter])]
    return name, _value(name, parameter)


def _value(name: str, parameter: Parameter) -> Any:
    if name in RESOURCES:
        if "resource" not in parameter:
            raise wrong(name, f"The parameter {name} needs a resource", "required")
        return bytes(parameter["resource"])
    return next((documents.decode(bytes(raw)) for key, raw in parameter.items() if key.startswith("value")), None)


def simple(name: str, value: Any) -> str:
    """A simple value, or what a reference says. Raises FhirError 400."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        value = value.get("reference")
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise wrong(name, f"The parameter {shown(name)} needs a simple value or a reference", "value")
    return value


def boolean(name: str, text: str) -> bool:
    """`true` or `false`. Raises FhirError 400."""
    if text not in ("true", "false"):
        raise wrong(name, f"{name} must be true or false", "value")
    return text == "true"


def id_of(name: str, type: str, text: str, base: str) -> str:
    """The id in a reference to a document of the type on this server, which may be the id alone. Raises FhirError 400."""
    found, _, id = text.removeprefix(f"{base}/").rpartition("/")
    if found not in (type, "") or not valid_id(id):
        raise wrong(name, f"{name} must be a reference such as {type}/1", "value")
    return id


def wrong(name: str, text: str, code: str) -> FhirError:
    """A parameter that cannot be taken: 400."""
    return FhirError(400, [Issue("error", code, text, name[:64])])
