"""vread: one version of a resource (https://hl7.org/fhir/R4/http.html#vread)."""

from fhir_server.context import Context
from fhir_server.interactions.answers import of_version
from fhir_server.messages import FhirRequest, FhirResult, Identity
from resources.outcomes import gone, not_found


async def vread(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """200 with that version, 304 where the caller has it. Raises FhirError: 404 no such version, 410 this version is a deletion."""
    name = f"{request.type}/{request.id}"
    number = request.version
    version = None
    if number.isascii() and number.isdigit() and len(number) < 18:
        version = await ctx.store.read_version(request.type, request.id, int(number))
    if version is None:
        raise not_found(f"{name} has no version {number[:20]}; see {name}/_history")
    if version.body is None:
        raise gone(f"Version {number} is the deletion of {name}")
    return of_version(request, version)
