"""$export: a population as files (https://hl7.org/fhir/uv/bulkdata/STU2/export.html). What becomes of it: `operations/job.py`."""

from fhir_server.access.views import seen
from fhir_server.context import Context
from fhir_server.exporting.asked import Level, check_preferences, read_asked
from fhir_server.exporting.cohort import checked_patients
from fhir_server.exporting.given import in_body
from fhir_server.jobs.starting import start
from fhir_server.messages import FhirRequest, FhirResult, Identity

DEFINITION = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export"
DEFINITION_PATIENT = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export"
DEFINITION_GROUP = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export"


async def system(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """202: everything that the caller may see."""
    return await _export(ctx, who, request, "system")


async def patient(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """202: the records of all patients, or of those named."""
    return await _export(ctx, who, request, "patient")


async def group(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """202: the records of the members of a Group. Raises FhirError 404 or 410 where it is not there."""
    return await _export(ctx, who, request, "group")


async def _export(ctx: Context, who: Identity, request: FhirRequest, level: Level) -> FhirResult:
    check_preferences(request)
    if ctx.decision is not None:  # the rows below a patient leave it to this which types the token must reach
        ctx = seen(ctx, ctx.decision, "rs")
    asked = await checked_patients(ctx, who, read_asked(ctx, who, request, level), ctx.clock())
    return await start(ctx, who, request, "export", asked, in_body(request))
