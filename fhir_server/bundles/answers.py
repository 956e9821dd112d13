"""The entries of a batch-response or transaction-response (https://hl7.org/fhir/R4/bundle.html#bundle-unique), as bytes."""

from base64 import b64encode
from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from fhir_server.messages import FhirRequest, FhirResult
from resources.instants import instant_text
from resources.outcomes import FhirError, Issue, not_supported, operation_outcome
from resources.store import Version

_text = msgspec.json.Encoder().encode
_WRITES = frozenset(("POST", "PUT", "PATCH", "DELETE"))


def preferred(request: FhirRequest) -> str:
    """The Prefer header for a Bundle's writes: as asked, else `return=minimal` (a Bundle's answer would repeat all that was sent)."""
    prefer = request.headers.get("prefer", "")
    return prefer if "return=" in prefer.replace(" ", "").lower() else ", ".join(filter(None, (prefer, "return=minimal")))


def bundle(type: str, pieces: Sequence[bytes]) -> tuple[bytes, ...]:
    """The body of a Bundle of `type` whose entries are `pieces`, one piece an entry; entry n is number 2n + 1 of the body."""
    if not pieces:
        return (b'{"resourceType":"Bundle","type":"%b"}' % type.encode(),)
    body = [b'{"resourceType":"Bundle","type":"%b","entry":[' % type.encode()]
    for piece in pieces:
        body += (piece, b",")
    body[-1] = b"]}"
    return tuple(body)


def of_result(request: FhirRequest, result: FhirResult) -> bytes:
    """The entry of an interaction that was carried out. A HEAD has no content. Raises FhirError 400 for an answer that is sent as it comes,
    however long: it fits into no Bundle."""
    if result.stream is not None:
        raise not_supported("This is answered as a stream, which cannot be part of a Bundle; ask for it in a request of its own")
    content = b"" if request.method == "HEAD" or result.status in (204, 304) else b"".join(result.body)
    if content and "json" not in result.content_type:
        content = b'{"resourceType":"Binary","contentType":%b,"data":"%b"}' % (_text(result.content_type), b64encode(content))
    outcome = b""
    if request.method in _WRITES and "$" not in request.path and content.startswith(b'{"resourceType":"OperationOutcome"'):
        content, outcome = b"", content
    return entry(result.status, result.location or "", result.version, result.instant, content, outcome)


def of_failure(failure: FhirError) -> bytes:
    """The entry of an interaction that was refused."""
    return entry(failure.status, "", None, None, b"", operation_outcome(failure.issues))


def of_change(status: int, version: Version, wanted: str) -> bytes:
    """The entry of a resource that a transaction wrote, or found. `wanted`: minimal, representation or OperationOutcome."""
    name = f"{version.type}/{version.id}"
    content = version.body or b"" if wanted == "representation" else b""
    outcome = b""
    if wanted == "OperationOutcome":
        done = {200: "is there", 201: "was created", 204: "was deleted"}[status]
        outcome = operation_outcome([Issue("information", "informational", f"{name} {done} in version {version.version}")])
    location = "" if version.body is None else f"{name}/_history/{version.version}"
    return entry(status, location, version.version, version.instant, content, outcome)


def entry(status: int, location: str, version: int | None, instant: int | None, content: bytes, outcome: bytes) -> bytes:
    """One `Bundle.entry` with its response. `location` is relative to the base, as in the specification's example; `instant`:
    microseconds since the epoch; `content`, `outcome`: resources' bytes or b""."""
    parts = [b'"status":"%d %b"' % (status, HTTPStatus(status).phrase.encode())]
    if location:
        parts.append(b'"location":%b' % _text(location))
    if version is not None:
        parts.append(b'"etag":"W/\\"%d\\""' % version)
    if instant is not None:
        parts.append(b'"lastModified":"%b"' % instant_text(instant).encode())
    if outcome:
        parts.append(b'"outcome":%b' % outcome)
    head = b'"resource":%b,' % content if content else b""
    return b'{%b"response":{%b}}' % (head, b",".join(parts))
