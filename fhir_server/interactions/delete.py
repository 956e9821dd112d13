"""delete: the resource is no longer there; its history stays (https://hl7.org/fhir/R4/http.html#delete)."""

from fhir_server.context import Context
from fhir_server.interactions.write import expected, write
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.rest.prefer import preferences
from resources.outcomes import Issue, operation_outcome
from resources.store import ANY, Change, Conflict

NOT_THERE = ("missing", "deleted")
"""Conflicts of a deletion that finds nothing to delete, perhaps because another was first."""


async def delete(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """204, or 200 with an OperationOutcome if that is preferred; the same where there is nothing (any more) to delete.

    Raises FhirError 412 where If-Match does not hold.
    """
    name = f"{request.type}/{request.id}"
    expect = await expected(ctx, request)
    change = Change(request.type, request.id, None, expect, "DELETE")
    try:
        [written] = await write(ctx, who, request, [change], interaction="delete", through=NOT_THERE if expect == ANY else ())
    except Conflict:
        return _answer(request, FhirResult(204, touched=(name,)), f"{name} does not exist; there is nothing to delete")
    version = written.version
    result = FhirResult(204, version=version.version, instant=version.instant, touched=(name,))
    return _answer(request, result, f"{name} was deleted")


def _answer(request: FhirRequest, result: FhirResult, text: str) -> FhirResult:
    if preferences(request.headers).answer == "OperationOutcome":
        result.status = 200
        result.body = (operation_outcome([Issue("information", "informational", text)]),)
    return result
