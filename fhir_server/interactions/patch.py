"""patch: change parts of a resource (https://hl7.org/fhir/R4/http.html#patch).

JSON Patch (RFC 6902, `application/json-patch+json`) and FHIRPath Patch (https://hl7.org/fhir/R4/fhirpatch.html, a Parameters resource).
Inside a Bundle a JSON Patch comes as a Binary. What is not patched stays as it was, decimals to the digit; the outcome is checked like any
document that comes in.
"""

from base64 import b64decode
from collections.abc import Callable
from typing import Any

import msgspec

from conformance import fhirpath_patch
from fhir_server import idempotency
from fhir_server.access.refusals import outside
from fhir_server.access.views import readable
from fhir_server.contention import repeated
from fhir_server.context import Context
from fhir_server.interactions.accept import Accepted, accept, aside, errors, structural
from fhir_server.interactions.answers import live, of_write
from fhir_server.interactions.write import write
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.rest.conditional import if_match
from resources import documents, json_patch
from resources.outcomes import FhirError, bad_request, error, precondition_failed
from resources.store import Change, Version

JSON_PATCH = "application/json-patch+json"
RACES = ("version", "deleted")
"""Conflicts after which a patch without If-Match is applied to what is there now."""

Patch = Callable[[str, dict[str, Any]], dict[str, Any]]
"""(resource type, document) -> the patched document. May change the document it is given. Raises FhirError."""


async def patch(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """200 with the new version. Raises FhirError: 404, 410, 412 for If-Match, 415 for other kinds of patches, 422 for a bad outcome."""
    change = read_patch(request.body, request.headers.get("content-type", ""))
    wanted = if_match(request.headers)

    async def attempt(ticket: idempotency.Ticket | None) -> FhirResult:
        version = live(request, await ctx.store.read(request.type, request.id))
        check_version(version, wanted)
        return await commit(ctx, who, request, version, change, ticket)

    async def carry_out(ticket: idempotency.Ticket | None) -> FhirResult:
        reasons = RACES if wanted is None else ()
        return await repeated(lambda: attempt(ticket), reasons, (request.type, request.id))

    return await idempotency.once(ctx, who, request, carry_out)


async def commit(
    ctx: Context, who: Identity, request: FhirRequest, version: Version, change: Patch, ticket: idempotency.Ticket | None
) -> FhirResult:
    """Patch `version` and write the outcome. Raises Conflict where `version` is no longer the current one, unless If-Match named it."""
    new, accepted = await patched(ctx, version, change)
    receipt = idempotency.receipt(ticket, lambda written: of_write(request, written[0], accepted.warnings))
    through = ("receipt",) if if_match(request.headers) is not None else ("receipt", *RACES)
    [written] = await write(ctx, who, request, [new], interaction="patch", receipt=receipt, through=through, replaced=(version,))
    return of_write(request, written, accepted.warnings)


async def patched(ctx: Context, version: Version, change: Patch) -> tuple[Change, Accepted]:
    """The Change that replaces `version` by its patched document. Raises FhirError, 403 where the caller may not read it: what becomes of
    a patch tells what was there."""
    assert version.body is not None
    if ctx.decision is not None and not readable(ctx, version):
        raise outside(ctx.decision, "r", version.type)
    body = await aside(len(version.body), _apply, version, version.body, change)
    accepted = await accept(ctx, version.type, body, version.id)
    return Change(version.type, version.id, accepted.draft, version.version, "PATCH", accepted.entry), accepted


def _apply(version: Version, body: bytes, change: Patch) -> bytes:
    document = change(version.type, documents.decode(body))
    if document.get("resourceType") != version.type or document.get("id") != version.id:
        text = f"A patch cannot change resourceType or id; they have to stay {version.type} and {version.id}"
        raise error(422, "business-rule", text)
    return documents.encode(document)


def check_version(version: Version, wanted: int | None) -> None:
    """Raises FhirError 412 unless `version` is the one that If-Match names (None: any)."""
    if wanted is not None and version.version != wanted:
        name = f"{version.type}/{version.id}"
        raise precondition_failed(
            f"{name} is in version {version.version}, not {wanted}; read it again and repeat the change on what it is now"
        )


def read_patch(body: bytes, content_type: str) -> Patch:
    """The patch in a request body. Raises FhirError: 400 where it cannot be read, 415 for a kind that is not supported."""
    mime = content_type.partition(";")[0].strip().lower()
    if mime == JSON_PATCH:
        return _json_patch(body)
    if mime in ("", "application/fhir+json", "application/json", "text/json"):
        return _resource_patch(body)
    text = f"A patch as {mime[:64]} is not supported; send {JSON_PATCH}, or a FHIRPath Patch (Parameters) as application/fhir+json"
    raise error(415, "not-supported", text, **{"Accept-Patch": f"{JSON_PATCH}, application/fhir+json"})


def _json_patch(body: bytes) -> Patch:
    try:
        operations: Any = documents.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise bad_request(f"The JSON Patch is not JSON: {cause}", code="structure") from None
    if not isinstance(operations, list):
        hint = "; a FHIRPath Patch goes as application/fhir+json" if isinstance(operations, dict) else ""
        raise bad_request(f"A JSON Patch is an array of operations{hint}", code="structure")
    return lambda _, document: json_patch.apply(document, operations)


def _resource_patch(body: bytes) -> Patch:
    """A FHIRPath Patch in a Parameters resource, or a JSON Patch in a Binary (as Bundle entries carry it)."""
    issues = structural(body)
    if errors(issues):
        raise FhirError(400, issues)
    resource = documents.decode(body)
    kind = resource.get("resourceType")
    if kind == "Parameters":
        return lambda type, document: fhirpath_patch.apply(type, document, resource)
    if kind == "Binary" and str(resource.get("contentType", "")).partition(";")[0].strip().lower() == JSON_PATCH:
        return _json_patch(_data(resource))
    raise bad_request(
        f"A patch is a Parameters resource (FHIRPath Patch) or a Binary with contentType {JSON_PATCH}, not a {kind}", "resourceType"
    )


def _data(binary: dict[str, Any]) -> bytes:
    try:
        return b64decode("".join(str(binary.get("data", "")).split()), validate=True)
    except ValueError:
        raise bad_request("Binary.data is not base64", "Binary.data") from None
