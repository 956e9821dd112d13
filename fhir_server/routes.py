"""The REST table (https://hl7.org/fhir/R4/http.html): the dispatcher, the CapabilityStatement and the metrics read the same rows."""

from fhir_server.bundles import batch
from fhir_server.interactions import conditional, history, search
from fhir_server.interactions.capabilities import capabilities
from fhir_server.interactions.create import create
from fhir_server.interactions.delete import delete
from fhir_server.interactions.patch import patch
from fhir_server.interactions.read import read
from fhir_server.interactions.update import update
from fhir_server.interactions.vread import vread
from fhir_server.operations import (
    access_log,
    everything,
    export,
    import_,
    job,
    lastn,
    meta,
    reindex,
    run_view,
    validate,
    view_export,
)
from fhir_server.rest.routing import Route

COMPARTMENTS = ("Patient", "Encounter", "Practitioner", "RelatedPerson", "Device")
"""The types that have a compartment (https://hl7.org/fhir/R4/compartmentdefinition.html)."""

INTERACTIONS = (
    Route("GET", "metadata", "capabilities", capabilities),
    Route("POST", "", "batch", batch.bundle, body="fhir"),
    Route("GET", "", "search-system", search.search_system, access="s"),
    Route("POST", "_search", "search-system", search.search_system, body="form", access="s"),
    Route("GET", "_history", "history-system", history.system, access="s"),
    Route("GET", "[type]", "search-type", search.search_type, access="s"),
    Route("POST", "[type]/_search", "search-type", search.search_type, body="form", access="s"),
    Route("POST", "[type]", "create", create, body="fhir", access="c"),
    Route("PUT", "[type]", "update", conditional.update, body="fhir", access="us", conditional=True),
    Route("PATCH", "[type]", "patch", conditional.patch, body="patch", access="rus", conditional=True),
    Route("DELETE", "[type]", "delete", conditional.delete, access="ds", conditional=True),
    Route("GET", "[type]/_history", "history-type", history.type, access="s"),
    Route("GET", "[type]/[id]", "read", read, access="r"),
    Route("PUT", "[type]/[id]", "update", update, body="fhir", access="u"),
    Route("PATCH", "[type]/[id]", "patch", patch, body="patch", access="ru"),
    Route("DELETE", "[type]/[id]", "delete", delete, access="d"),
    Route("GET", "[type]/[id]/_history", "history-instance", history.instance, access="r"),
    Route("GET", "[type]/[id]/_history/[vid]", "vread", vread, access="r"),
    Route("GET", "[type]/[id]/[compartment]", "search-type", search.search_compartment, access="s", types=COMPARTMENTS),
    Route(
        "POST", "[type]/[id]/[compartment]/_search", "search-type", search.search_compartment, body="form", access="s",
        types=COMPARTMENTS,
    ),
)  # fmt: skip

OPERATIONS = (
    Route("POST", "[type]/$validate", "operation", validate.validate, body="fhir", definition=validate.DEFINITION),
    Route("GET", "[type]/[id]/$validate", "operation", validate.validate, access="r", definition=validate.DEFINITION),
    Route("POST", "[type]/[id]/$validate", "operation", validate.validate, body="fhir", access="r", definition=validate.DEFINITION),
    Route("GET", "$export", "operation", export.system, access="rs", definition=export.DEFINITION),
    Route("POST", "$export", "operation", export.system, body="fhir", access="rs", definition=export.DEFINITION),
    *(
        Route(method, pattern, "operation", handler, body="fhir" if method == "POST" else "none", types=(type,),
              definition=definition, also=(also,))
        for method in ("GET", "POST")
        for pattern, handler, type, definition, also in (
            ("[type]/$export", export.patient, "Patient", export.DEFINITION_PATIENT, "patient-export"),
            ("[type]/[id]/$export", export.group, "Group", export.DEFINITION_GROUP, "group-export"),
        )
    ),
    Route("POST", "$import", "operation", import_.import_, body="fhir", access="c"),
    Route("GET", "$job/[id]", "operation", job.status, any_format=True),
    Route("DELETE", "$job/[id]", "operation", job.cancel),
    Route("GET", "$job/[id]/[file]", "operation", job.file, any_format=True),
    Route("POST", "$reindex", "operation", reindex.reindex, definition=reindex.DEFINITION, administers=True),
    Route("GET", "$meta", "operation", meta.several, access="s", definition=meta.DEFINITION),
    Route("GET", "[type]/$meta", "operation", meta.several, access="s", definition=meta.DEFINITION),
    Route("GET", "[type]/[id]/$meta", "operation", meta.instance, access="r", definition=meta.DEFINITION),
    Route(
        "POST", "[type]/[id]/$meta-add", "operation", meta.add, body="fhir", access="ru", definition=meta.DEFINITION_ADD
    ),
    Route(
        "POST", "[type]/[id]/$meta-delete", "operation", meta.remove, body="fhir", access="ru", definition=meta.DEFINITION_DELETE
    ),
    Route("GET", "[type]/$lastn", "operation", lastn.lastn, access="s", types=("Observation",), definition=lastn.DEFINITION),
    Route(
        "POST", "[type]/$lastn", "operation", lastn.lastn, body="fhir", access="s", types=("Observation",),
        definition=lastn.DEFINITION,
    ),
    Route(
        "GET", "[type]/[id]/$everything", "operation", everything.everything, access="rs", types=("Patient",),
        definition=everything.DEFINITION,
    ),
    Route(
        "POST", "[type]/[id]/$everything", "operation", everything.everything, body="fhir", access="rs", types=("Patient",),
        definition=everything.DEFINITION,
    ),
    Route(
        "GET", "[type]/[id]/$access-log", "operation", access_log.access_log, access="r", types=("Patient",),
        definition=access_log.DEFINITION,
    ),
    Route(
        "POST", "[type]/[id]/$access-log", "operation", access_log.access_log, body="fhir", access="r", types=("Patient",),
        definition=access_log.DEFINITION,
    ),
    *(
        Route(method, pattern, "operation", run_view.run_view, body="fhir" if method == "POST" else "none", types=types,
              definition=run_view.DEFINITION, any_format=True)
        for method in ("GET", "POST")
        for pattern, types in (
            ("$viewdefinition-run", ()),
            *((f"[type]/{name}", ("ViewDefinition",)) for name in ("$run", "$viewdefinition-run")),
            *((f"[type]/[id]/{name}", ("ViewDefinition",)) for name in ("$run", "$viewdefinition-run")),
        )
    ),
    *(
        Route("POST", f"{of}$viewdefinition-export", "operation", view_export.view_export, body="fhir", types=types,
              definition=view_export.DEFINITION, any_format=True)
        for of, types in (("", ()), ("[type]/", ("ViewDefinition",)), ("[type]/[id]/", ("ViewDefinition",)))
    ),
)  # fmt: skip

ROUTES = (*INTERACTIONS, *OPERATIONS)
