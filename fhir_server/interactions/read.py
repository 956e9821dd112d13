"""read: the current version of a resource (https://hl7.org/fhir/R4/http.html#read)."""

from fhir_server.context import Context
from fhir_server.interactions.answers import live, of_version
from fhir_server.messages import FhirRequest, FhirResult, Identity


async def read(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """200 with the document, 304 where the caller has it. Raises FhirError: 404 never there, 410 deleted."""
    return of_version(request, live(request, await ctx.store.read(request.type, request.id)))
