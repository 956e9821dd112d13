"""Patient/[id]/$everything: a patient's whole record (https://hl7.org/fhir/R4/patient-operation-everything.html).

All documents of the patient's compartment, type by type, and what they refer to outside of it: practitioners, organisations,
locations, medications and devices. The record of accesses (AuditEvent) comes only where `_type` names it. Every page carries its own
referred-to documents, so one may come again on a later page.

`_type` names the types of what is returned. Where what is referred to is among them, pages go through the other types of the compartment
that refer to it as well, without reading or returning these documents: such a page may hold little or nothing and still have a next one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from fhir_server.context import Context
from fhir_server.interactions.answers import LATE, live, present
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.operations.parameters import simple
from fhir_server.rest.query_string import CURSOR, instant_range, page_links, page_size, take
from fhir_server.searching.depending import is_late
from fhir_server.searching.included import Filled, filled, further, opened
from resources.bundles import Link, outcome_entry, search_entry, searchset
from resources.outcomes import bad_request, operation_outcome
from resources.store import Key
from search.compartments import linking
from search.index import Result
from search.parse import parse
from search.query import Clause, Compartment, Include, Query

DEFINITION = "http://hl7.org/fhir/OperationDefinition/Patient-everything"

PARAMETERS = ("_since", "_type", "_count", "start", "end")

REFERRED = ("Practitioner", "PractitionerRole", "Organization", "Location", "Medication", "Device", "RelatedPerson")


@dataclass(frozen=True, slots=True)
class Asked:
    """The operation's parameters, read. `types` are those of the compartment that pages go through, of which `shown` are returned;
    `applied` is what the links repeat."""

    types: tuple[str, ...]
    shown: frozenset[str]
    count: int
    applied: tuple[tuple[str, str], ...]
    since: tuple[str, ...]
    referred: tuple[str, ...]
    start: str | None
    end: str | None


async def everything(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """200 with a searchset, paged. Raises FhirError 404 or 410 for the patient, 400 for parameters that cannot be understood."""
    query, sealed = take(request.query, CURSOR)
    asked = _read(ctx, request.having(query=query))
    live(request, await ctx.store.read("Patient", request.id))
    url = f"{request.base}/Patient/{request.id}/$everything"
    applied = urlencode(asked.applied)
    context = f"Patient/{request.id}/$everything?{applied}".encode()
    rest, cursor = opened(ctx.cursors.open(sealed, context)) if sealed is not None else (None, None)
    queries = _queries(ctx, request.id, asked)
    late = await is_late(ctx, queries, _includes(ctx, asked.referred, asked.types))

    async def find(count: int) -> Result:
        return await ctx.index.search_in_turn(queries, count=count, cursor=cursor)

    def includes(keys: Sequence[Key]) -> list[Include]:
        return _includes(ctx, asked.referred, {key.type for key in keys})

    if rest is not None:
        found = await further(ctx, rest, cursor, includes([Key(rest.type, rest.id)]))
    else:
        found = await filled(ctx, await find(asked.count), includes, find)
    links = page_links(url, applied, ctx.cursors.seal(found.place, context) if found.place is not None else None)
    return await _answer(ctx, request, asked, found, links, late)


def _read(ctx: Context, request: FhirRequest) -> Asked:
    given = simple(request, PARAMETERS)
    known = ("Patient", *(t for t in ctx.parameters.types if t != "Patient" and linking("Patient", t, ctx.parameters)))
    types = tuple(name for value in given.get("_type", ()) for name in value.split(",") if name)
    for name in types:
        if name not in ctx.routes.types:
            raise bad_request(f"_type names {name[:64]}, which is not a resource type of FHIR R4", code="value")
    applied = tuple((name, value) for name in PARAMETERS for value in given.get(name, ()))
    for name in ("_since", "start", "end"):
        for value in given.get(name, ()):
            instant_range(name, value)
    count = page_size(ctx, given["_count"][-1]) if "_count" in given else ctx.settings.max_count
    if count == 0:
        raise bad_request("_count must be 1 or more for $everything", code="value")
    wanted = tuple(t for t in known if (t in types if types else t != "AuditEvent"))
    referred = tuple(t for t in REFERRED if not types or t in types)
    walked = (*wanted, *(t for t in known if types and t not in (*wanted, "AuditEvent") and _includes(ctx, referred, (t,))))
    since = tuple(given.get("_since", ()))
    return Asked(
        walked, frozenset(wanted), count, applied, since, referred, given.get("start", [None])[-1], given.get("end", [None])[-1]
    )


def _queries(ctx: Context, patient: str, asked: Asked) -> list[Query]:
    """One for each type: the same dates, compared with what the type calls its clinical date."""
    changed = _dates(ctx, "_lastUpdated", [f"ge{value}" for value in asked.since])
    during = _dates(ctx, "date", [f"{prefix}{value}" for prefix, value in (("ge", asked.start), ("le", asked.end)) if value])
    queries = []
    for type in asked.types:
        found, date = ctx.parameters.of(type), ctx.parameters.clinical_date(type)
        clauses = [replace(clause, parameter=found["_lastUpdated"]) for clause in changed]
        if date is not None:
            clauses += [replace(clause, parameter=found[date]) for clause in during]
        queries.append(Query(type, tuple(clauses), (Compartment(patient),)))
    return queries


def _dates(ctx: Context, name: str, values: Sequence[str]) -> list[Clause]:
    """Clauses of a date parameter of Observation: a date is read the same for every type."""
    pairs = [(name, value) for value in values]
    found = parse("Observation", pairs, parameters=ctx.parameters, base_url=ctx.settings.bases).query.clauses if pairs else ()
    return [clause for clause in found if isinstance(clause, Clause)]


async def _answer(ctx: Context, request: FhirRequest, asked: Asked, found: Filled, links: Iterable[Link], late: bool) -> FhirResult:
    documents = await present(ctx, [key for key in found.page.keys if key.type in asked.shown])
    referred = await present(ctx, found.included)
    entries = [search_entry(request.base, v.type, v.id, v.body) for v in documents if v.body is not None]
    entries += [search_entry(request.base, v.type, v.id, v.body, "include") for v in referred if v.body is not None]
    if late:
        entries.append(outcome_entry(operation_outcome([LATE])))
    return FhirResult(200, (searchset(entries, links=links, total=None),), told=(*documents, *referred))


def _includes(ctx: Context, referred: Sequence[str], types: Iterable[str]) -> list[Include]:
    """For each type of the page: all its references to what a record refers to outside of its compartment."""
    out = []
    for type in sorted(types):
        references = [p for p in ctx.parameters.of(type).values() if p.kind == "reference" and p.searchable]
        for target in referred:
            pointing = tuple(p for p in references if not p.targets or target in p.targets)
            if pointing:
                out.append(Include(type, pointing, target))
    return out
