"""The REST table (https://hl7.org/fhir/R4/http.html): the dispatcher, the CapabilityStatement and the metrics read the same rows."""

from fhir_server.interactions import batch, conditional, history, search
from fhir_server.interactions.capabilities import capabilities
from fhir_server.interactions.create import create
from fhir_server.interactions.delete import delete
from fhir_server.interactions.patch import patch
from fhir_server.interactions.read import read
from fhir_server.interactions.update import update
from fhir_server.interactions.vread import vread
from fhir_server.operations import everything, meta, validate
from fhir_server.rest.routing import Route

INTERACTIONS = (
    Route("GET", "metadata", "capabilities", capabilities),
    Route("POST", "", "batch", batch.bundle, body="fhir"),
    Route("GET", "", "search-system", search.search_system, offered=False),
    Route("POST", "_search", "search-system", search.search_system, body="form", offered=False),
    Route("GET", "_history", "history-system", history.system),
    Route("GET", "[type]", "search-type", search.search_type),
    Route("POST", "[type]/_search", "search-type", search.search_type, body="form"),
    Route("POST", "[type]", "create", create, body="fhir"),
    Route("PUT", "[type]", "update", conditional.update, body="fhir", alters=True, conditional=True),
    Route("PATCH", "[type]", "patch", conditional.patch, body="patch", alters=True, conditional=True),
    Route("DELETE", "[type]", "delete", conditional.delete, alters=True, conditional=True),
    Route("GET", "[type]/_history", "history-type", history.type),
    Route("GET", "[type]/[id]", "read", read),
    Route("PUT", "[type]/[id]", "update", update, body="fhir", alters=True),
    Route("PATCH", "[type]/[id]", "patch", patch, body="patch", alters=True),
    Route("DELETE", "[type]/[id]", "delete", delete, alters=True),
    Route("GET", "[type]/[id]/_history", "history-instance", history.instance),
    Route("GET", "[type]/[id]/_history/[vid]", "vread", vread),
    Route("GET", "[type]/[id]/[compartment]", "search-type", search.search_compartment, types=("Patient",)),
    Route("POST", "[type]/[id]/[compartment]/_search", "search-type", search.search_compartment, body="form", types=("Patient",)),
)

OPERATIONS = (
    Route("POST", "[type]/$validate", "operation", validate.validate, body="fhir", definition=validate.DEFINITION),
    Route("GET", "[type]/[id]/$validate", "operation", validate.validate, definition=validate.DEFINITION),
    Route("POST", "[type]/[id]/$validate", "operation", validate.validate, body="fhir", definition=validate.DEFINITION),
    Route("GET", "$meta", "operation", meta.several, definition=meta.DEFINITION),
    Route("GET", "[type]/$meta", "operation", meta.several, definition=meta.DEFINITION),
    Route("GET", "[type]/[id]/$meta", "operation", meta.instance, definition=meta.DEFINITION),
    Route(
        "POST", "[type]/[id]/$meta-add", "operation", meta.add, body="fhir", alters=True, definition=meta.DEFINITION_ADD
    ),
    Route(
        "POST", "[type]/[id]/$meta-delete", "operation", meta.remove, body="fhir", alters=True, definition=meta.DEFINITION_DELETE
    ),
    Route(
        "GET", "[type]/[id]/$everything", "operation", everything.everything, types=("Patient",), definition=everything.DEFINITION
    ),
    Route(
        "POST", "[type]/[id]/$everything", "operation", everything.everything, body="fhir", types=("Patient",),
        definition=everything.DEFINITION,
    ),
)  # fmt: skip

ROUTES = (*INTERACTIONS, *OPERATIONS)
