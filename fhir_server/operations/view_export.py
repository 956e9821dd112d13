"""ViewDefinition/$viewdefinition-export: views over a population as files
(https://sql-on-fhir.org/ig/OperationDefinition-ViewDefinitionExport.html). What becomes of it: `operations/job.py`."""

from urllib.parse import urlencode

import msgspec

from fhir_server.context import Context
from fhir_server.exporting.asked import check_preferences
from fhir_server.jobs.starting import start
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.rest.negotiation import check_accept
from fhir_server.views.bulk.asked import read_asked, told
from fhir_server.views.bulk.kind import KIND
from fhir_server.views.bulk.telling import accepted

DEFINITION = "http://sql-on-fhir.org/OperationDefinition/$viewdefinition-export"


async def view_export(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """202: rows of the views, of whatever the caller may search. Raises FhirError as `read_asked`, 406 where the caller cannot read what is
    said of the job: `_format` is the format of its files, also in the URL."""
    check_preferences(request)
    check_accept(request.headers["accept"])
    asked = await read_asked(ctx, who, request)
    begun = await start(ctx, who, request.having(query=urlencode(told(asked))), KIND, asked)
    place = begun.headers["Content-Location"]
    body = msgspec.json.encode(accepted(asked, place.rpartition("/")[2], place))
    return FhirResult(202, (body,), headers=begun.headers)
