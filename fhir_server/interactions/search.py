"""search: find resources of one type, of several, or within a compartment (http://hl7.org/fhir/R4/http.html#search,
https://hl7.org/fhir/R4/search.html).
"""

from fhir_server.access.refusals import insufficient
from fhir_server.context import Context
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.permission import require
from fhir_server.searching.answer import answer
from fhir_server.searching.asked import Narrow, named_types, pairs, read_across, read_one
from fhir_server.searching.inside import answer_inside
from resources.outcomes import error, not_found
from search.compartments import linking, within
from search.query import Compartment

_SHAPES = frozenset(("_format", "_pretty", "_count", "_total", "_summary", "_elements", "_sort", "_cursor", "_explain"))
"""Parameters that say nothing about what is to be found."""


async def search_type(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """GET [type]?… and POST [type]/_search: 200 with a searchset. Raises FhirError 400 with every wrong parameter."""
    asked = read_one(ctx, request, request.type, f"{request.base}/{request.type}")
    return await (answer if asked.first.contained == "false" else answer_inside)(ctx, request, asked)


async def search_compartment(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """GET [compartment]/[id]/[type]?… and [compartment]/[id]/*?…: what matches within one Patient's, Encounter's, Practitioner's,
    RelatedPerson's or Device's compartment (https://hl7.org/fhir/R4/compartmentdefinition.html). Raises FhirError 404 for a type that
    does not exist or never lies there.
    """
    owner, type = f"{request.type}/{request.id}", request.operation
    url = f"{request.base}/{owner}/{type}"
    narrow = _narrow(ctx, request.type, request.id)
    if type == "*":
        named, rest = named_types(ctx, pairs(request))
        for name in named:
            _check_lies(ctx, request, name)
        lying = tuple(t for t in ctx.parameters.types if linking(request.type, t, ctx.parameters) is not None)
        types = _reachable(ctx, named, lying)
        asked = await read_across(ctx, request, types, rest, url, named=bool(named), narrow=narrow, place=owner)
        return await answer(ctx, request, asked)
    if type not in ctx.routes.types:
        raise not_found(f"{type[:64]} is not a resource type, so {owner} has no such part")
    _check_lies(ctx, request, type)
    return await answer(ctx, request, read_one(ctx, request, type, url, narrow, owner))


async def search_system(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """GET [base]?_type=… and POST [base]/_search: what matches, of the types that `_type` names or of all.

    Raises FhirError 400 for a parameter that not all of the types have, and where nothing at all is asked for.
    """
    types, rest = named_types(ctx, pairs(request))
    if not types and all(name.partition(":")[0] in _SHAPES or not value.strip(" ,") for name, value in rest):
        text = (
            "A search over all types needs something to look for: name types, as in [base]?_type=Patient,Practitioner, or criteria"
        )
        raise error(400, "too-costly", f"{text} that all types have, as in [base]?_lastUpdated=gt2026-01-01")
    named = bool(types)
    types = _reachable(ctx, types, ctx.parameters.types)
    return await answer(ctx, request, await read_across(ctx, request, types, rest, request.base, named=named))


def _reachable(ctx: Context, named: tuple[str, ...], all: tuple[str, ...]) -> tuple[str, ...]:
    """The types to search: those named, or of all those that the caller may search. Raises FhirError 403 for one that is named and may not
    be searched, and where there is none."""
    for name in named:
        require(ctx.decision, "s", name)
    types = named or tuple(t for t in all if ctx.decision is None or ctx.decision.covers("s", t))
    if not types and ctx.decision is not None:
        raise insufficient(ctx.decision, "s", "")
    return types


def _check_lies(ctx: Context, request: FhirRequest, type: str) -> None:
    if linking(request.type, type, ctx.parameters) is None:
        text = f"{type} never lies in the {request.type} compartment"
        raise not_found(f"{text} (https://hl7.org/fhir/R4/compartmentdefinition-{request.type.lower()}.html)")


def _narrow(ctx: Context, compartment: str, id: str) -> Narrow:
    """What limits a query to a compartment: that of a Patient stands in the index itself."""
    if compartment == "Patient":
        return lambda query: query.with_filter(Compartment(id))
    return lambda query: query.with_filter(clauses=(within(compartment, id, query.type, ctx.parameters),))
