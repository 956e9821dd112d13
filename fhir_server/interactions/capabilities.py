"""capabilities: what this server can do (https://hl7.org/fhir/R4/http.html#capabilities)."""

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

from conformance.capability import FHIR_VERSION, build
from conformance.load import definitions
from fhir_server.context import Context
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.permission import APPEND_ONLY
from fhir_server.rest.routing import Router
from fhir_server.signing_in.security import rest_security
from fhir_server.version import server_version
from resources import documents
from resources.outcomes import bad_request
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.parse import pairs_of
from search.text.conditions import offered

MODES = ("full", "normative", "terminology")

DATE = "2026-11-22"
"""When what the statement says last changed."""

Custom = tuple[SearchParameter, ...]

EVERYWHERE = {
    "_filter": "An expression over the parameters of the type: https://hl7.org/fhir/R4/search_filter.html",
    "_has": "What others refer to: _has:Observation:patient:code=1234, to any depth",
    "_list": "The items of a List, by its id; no functional lists",
}
"""Parameters of every type that have no definition of their own in R4."""

BULK_DATA = "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data"
"""What this server fulfils beside R4 itself."""

_BASE = "urn:base"
_OPEN = {"description": "Sign-in is off (FHIR_AUTH=off): everybody who reaches this address reads and writes everything."}


async def capabilities(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """200 with the CapabilityStatement, or with mode=terminology the TerminologyCapabilities. Raises FhirError 400 for other modes.

    Nothing of a patient is in it, so it is not audited.
    """
    mode = dict(pairs_of(request.query)).get("mode", "full")
    if mode not in MODES:
        raise bad_request(f"mode must be one of {', '.join(MODES)}", code="value")
    if mode == "terminology":
        return FhirResult(200, (documents.encode(_terminology(request.base)),))
    settings = ctx.settings
    security = _OPEN if settings.auth == "off" else await rest_security(ctx)
    said = documents.encode(security)
    return FhirResult(200, (_at(request.base, ctx.routes, ctx.parameters, ctx.custom.defined, settings.conditional_delete, said),))


@lru_cache(maxsize=8)
def _at(base: str, routes: Router[Context], parameters: Parameters, custom: Custom, conditional_delete: str, said: bytes) -> bytes:
    """The statement for one base URL (the Host header may name others)."""
    return _statement(routes, parameters, custom, conditional_delete, said).replace(_BASE.encode(), base.encode())


@lru_cache(maxsize=2)
def _statement(routes: Router[Context], parameters: Parameters, custom: Custom, conditional_delete: str, said: bytes) -> bytes:
    """The statement; `custom` are those of the parameters that may change while the server runs, `said` is what it says of sign-in."""
    types = tuple(
        t for t in parameters.types if t not in definitions().added_types
    )  # a CapabilityStatement of R4 can name no others
    changeable = tuple(t for t in parameters.types if t not in APPEND_ONLY)
    offered = [replace(row, types=changeable) if row.alters and not row.types else row for row in routes.routes]
    return documents.encode(
        build(
            interactions=[row for row in offered if row.interaction != "operation"],
            operations=[row for row in offered if row.interaction == "operation"],
            resource_types=types,
            search_parameters={t: _searchable(t, parameters) for t in types},
            base_url=_BASE,
            version=server_version(),
            date=DATE,
            security=json.loads(said),
            everywhere=EVERYWHERE,
            compartments=[f"http://hl7.org/fhir/CompartmentDefinition/{name}" for name in _compartments(routes)],
            conditional_delete=conditional_delete,
            instantiates=(BULK_DATA,),
        )
    )


def _compartments(routes: Router[Context]) -> list[str]:
    """The compartments that can be searched within, as their definitions are called."""
    return sorted({name.lower() for row in routes.routes if "[compartment]" in row.pattern for name in row.types})


def _searchable(type: str, parameters: Parameters) -> list[SearchParameter]:
    words = offered(type, parameters)
    return [p for p in parameters.of(type).values() if p.searchable or p.code in words]


def _terminology(base: str) -> dict[str, Any]:
    """This server expands and validates nothing of its own: required bindings are checked, terminology is not served."""
    return {
        "resourceType": "TerminologyCapabilities",
        "url": f"{base}/metadata?mode=terminology",
        "version": server_version(),
        "name": "FhirServerTerminology",
        "status": "active",
        "date": DATE,
        "kind": "instance",
        "software": {"name": "fhir-server", "version": server_version()},
        "implementation": {"description": f"FHIR {FHIR_VERSION} server without terminology operations", "url": base},
    }
