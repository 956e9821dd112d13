"""$import: files of NDJSON into the store (https://github.com/smart-on-fhir/bulk-import). What becomes of it: `operations/job.py`."""

from fhir_server.context import Context
from fhir_server.importing.asked import check_access, check_preferences, read_asked, told
from fhir_server.importing.manifest import KIND
from fhir_server.jobs.starting import start
from fhir_server.messages import FhirRequest, FhirResult, Identity


async def import_(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """202: the inputs of the manifest are fetched and stored. Raises FhirError 400 for a manifest that cannot be carried out, 403."""
    check_preferences(request)
    asked = read_asked(ctx, request)
    check_access(ctx.decision, asked)
    return await start(ctx, who, request, KIND, asked, told(asked))
