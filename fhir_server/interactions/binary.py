"""A Binary as what it holds (https://hl7.org/fhir/R4/binary.html#rest)."""

import re
from base64 import b64decode

import msgspec

from fhir_server.messages import FhirRequest, FhirResult
from fhir_server.rest.bodies import SECURITY
from fhir_server.rest.negotiation import accepts
from resources.outcomes import error
from resources.store import Version

UNKNOWN = "application/octet-stream"

_TYPE = re.compile(
    r"[a-z0-9!#$&^_.+\-]{1,100}/[a-z0-9!#$&^_.+\-]{1,100}(; ?[a-z0-9_\-]{1,40}=[a-z0-9_.:\-\"]{1,80}){0,5}",
    re.ASCII | re.IGNORECASE,
)
_REFERENCE = re.compile(r"[\x21-\x7e]{1,2000}", re.ASCII)


class _Held(msgspec.Struct, rename="camel"):
    content_type: str = UNKNOWN
    data: str = ""
    security_context: dict[str, object] = msgspec.field(default_factory=dict)


def content(request: FhirRequest, version: Version) -> FhirResult:
    """200 with what a live Binary holds, in its own type. Raises FhirError 406 where that is not what the caller takes."""
    assert version.body is not None
    held = msgspec.json.decode(version.body, type=_Held)
    type = held.content_type if _TYPE.fullmatch(held.content_type) else UNKNOWN
    accept = request.headers.get("accept", "")
    if not accepts(accept, type):
        offered = f"{type}, as it is, and application/fhir+json"
        raise error(406, "not-supported", f"{request.type}/{request.id} is offered as {offered}, not as {accept[:80]}")
    headers = {"Content-Disposition": "attachment"}
    of = held.security_context.get("reference")
    if isinstance(of, str) and _REFERENCE.fullmatch(of):
        headers[SECURITY] = of
    data = b64decode(held.data)
    return FhirResult(200, (data,), version.version, version.instant, content_type=type, headers=headers, told=(version,))
