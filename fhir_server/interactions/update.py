"""update: a new version of a resource, or a new resource under the caller's id (https://hl7.org/fhir/R4/http.html#update)."""

from fhir_server.context import Context
from fhir_server.interactions.accept import accept
from fhir_server.interactions.answers import of_write
from fhir_server.interactions.write import expected, write
from fhir_server.messages import FhirRequest, FhirResult, Identity
from resources.outcomes import bad_request
from resources.store import Change


async def update(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """200, or 201 if there was no such resource. Raises FhirError: 400 where the body's id is not the URL's, 412 for If-Match."""
    accepted = await accept(ctx, request.type, request.body, request.id)
    check_id(accepted.document.get("id"), request.id)
    expect = await expected(ctx, request)
    change = Change(request.type, request.id, accepted.draft, expect, "PUT", accepted.entry)
    [written] = await write(ctx, who, request, [change], interaction="update")
    return of_write(request, written, accepted.warnings)


def check_id(found: object, wanted: str) -> None:
    """Raises FhirError 400 unless the body has the id of the URL."""
    if found is None:
        raise bad_request(f"The body has no id; an update needs the id of the URL ({wanted}) in it", "id", "required")
    if found != wanted:
        raise bad_request(f"The body's id ({str(found)[:64]}) is not the id of the URL ({wanted})", "id", "value")
