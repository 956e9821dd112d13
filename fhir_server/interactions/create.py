"""create: a new resource under an id of the server's (https://hl7.org/fhir/R4/http.html#create)."""

from fhir_server import idempotency
from fhir_server.context import Context
from fhir_server.interactions import conditional
from fhir_server.interactions.accept import accept
from fhir_server.interactions.answers import of_write
from fhir_server.interactions.write import write
from fhir_server.messages import FhirRequest, FhirResult, Identity
from resources.store import ABSENT, Change


async def create(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """201 with Location. An id in the body does not count. With If-None-Exist: a conditional create. Raises FhirError."""
    if "if-none-exist" in request.headers:
        return await conditional.create(ctx, who, request)

    async def carry_out(ticket: idempotency.Ticket | None) -> FhirResult:
        id = ctx.new_id()
        accepted = await accept(ctx, request.type, request.body, id)
        change = Change(request.type, id, accepted.draft, ABSENT, "POST", accepted.entry)
        receipt = idempotency.receipt(ticket, lambda written: of_write(request, written[0], accepted.warnings))
        [written] = await write(ctx, who, request, [change], interaction="create", receipt=receipt)
        return of_write(request, written, accepted.warnings)

    return await idempotency.once(ctx, who, request, carry_out)
