"""$reindex: index what is stored anew for the search parameters that SearchParameter resources define.

The rows of the official parameters are written in the very commit of their document and cannot fall behind; they are made anew when a new
release of the server changes them. $reindex is for the parameters that were added, should anybody doubt what they find.
"""

from fhir_server.context import Context
from fhir_server.messages import FhirRequest, FhirResult, Identity
from resources.outcomes import Issue, operation_outcome

DEFINITION = "urn:fhir-server:operation-definition:reindex"


async def reindex(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """POST $reindex: 202 with an OperationOutcome that names the parameters; searches by them are answered 503 with their progress until
    all documents are indexed."""
    await ctx.custom.refresh()
    names = await ctx.custom.reindex()
    told = f"The documents are being indexed anew for {', '.join(names)}" if names else "No search parameters were added here"
    text = f"{told}. Searches by a parameter say how far that has come until it is done" if names else told
    return FhirResult(202 if names else 200, (operation_outcome([Issue("information", "informational", text)]),))
