"""Patient/[id]/$access-log: who looked at, or changed, what is in a patient's record (docs/api/operation/access-log.md).

Auditors, administrators and clients that may search all AuditEvents see them as they are. Patients see those of their own record, without
network addresses, queries, and whatever tells of others.
"""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from fhir_server.access.own import own_patients
from fhir_server.access.views import whole
from fhir_server.auditing.agents import SYSTEMS
from fhir_server.context import Context
from fhir_server.interactions.answers import LATE, present
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.operations.parameters import simple
from fhir_server.rest.query_string import CURSOR, page_links, page_size, take
from fhir_server.searching.depending import is_late
from resources import documents
from resources.bundles import outcome_entry, search_entry, searchset
from resources.outcomes import FhirError, Issue, not_found, operation_outcome
from resources.store import Version
from search.parse import parse

DEFINITION = "urn:fhir-server:operation-definition:access-log"

PARAMETERS = ("date", "_count")


async def access_log(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """200 with a searchset of AuditEvents, newest first, paged; `date` narrows it as in a search.

    Raises FhirError 404 for a patient that there never was, or that the caller may not see, 403 for another's log, 400 for parameters that
    cannot be understood.
    """
    name = f"Patient/{request.id}"
    if await ctx.store.read("Patient", request.id) is None:
        raise not_found(f"{name} does not exist")
    everything = ctx.decision is None or ctx.decision.search is None or ctx.decision.search.whole("AuditEvent")
    behind = whole(ctx)
    if not everything and not await _own(behind, who, request.id):
        raise _forbidden()
    text, sealed = take(request.query, CURSOR)
    given = simple(request.having(query=text), PARAMETERS)
    count = page_size(ctx, given.get("_count", [None])[-1])
    dates = [("date", value) for value in given.get("date", ())]
    pairs = [("entity", name), ("_sort", "-date"), ("_total", "none"), ("_count", str(max(count, 1))), *dates]
    query = parse("AuditEvent", pairs, parameters=ctx.parameters, base_url=ctx.settings.bases).query
    applied = urlencode([*dates, *([("_count", count)] if "_count" in given else [])])
    context = f"{name}/$access-log?{urlencode(dates)}".encode()
    late = await is_late(behind, (query,))
    place = ctx.cursors.open(sealed, context) if sealed is not None else None
    page = await behind.index.search(replace(query, cursor=place))
    found = await present(behind, page.keys)
    entries = [_entry(request, version, everything) for version in found]
    if late:
        entries.append(outcome_entry(operation_outcome([LATE])))
    links = page_links(
        f"{request.base}/{name}/$access-log", applied, ctx.cursors.seal(page.cursor, context) if page.cursor else None
    )
    return FhirResult(200, (searchset(entries, links=links, total=None),), touched=(name,))


async def _own(ctx: Context, who: Identity, id: str) -> bool:
    """Whether the record is the caller's own: the user's, or that of a client which was given this one patient's."""
    access = who.access
    if access is None:
        return False
    if access.role == "patient":
        return id in await own_patients(ctx.store, access.fhir_user)
    return not access.role and access.patient == id


def _forbidden() -> FhirError:
    text = "An access log is shown to the patient whose record it is about, to auditors and to administrators"
    return FhirError(403, [Issue("error", "forbidden", text)])


def _entry(request: FhirRequest, version: Version, everything: bool) -> bytes:
    assert version.body is not None
    body = version.body if everything else documents.encode(shown_to_patient(documents.decode(version.body), request.id))
    return search_entry(request.base, version.type, version.id, body)


def shown_to_patient(event: dict[str, Any], patient: str) -> dict[str, Any]:
    """What a patient sees of an event: when, what kind of access, who (names and roles of people and apps), to what of the record."""
    shown: dict[str, Any] = {
        name: event[name] for name in ("resourceType", "id", "type", "subtype", "action", "recorded", "outcome") if name in event
    }
    shown["meta"] = {"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}]}
    shown["agent"] = [_agent(agent, patient) for agent in event.get("agent", ())]
    shown["source"] = {"observer": _named(event.get("source", {}).get("observer", {}))}
    shown["entity"] = _entities(event.get("entity", ()), patient)
    return shown


def _agent(agent: dict[str, Any], patient: str) -> dict[str, Any]:
    kept: dict[str, Any] = {name: agent[name] for name in ("type", "role", "name", "requestor", "purposeOfUse") if name in agent}
    who = agent.get("who", {})
    if kept.get("name") == who.get("identifier", {}).get("value"):  # the sign-in name, for want of a display name
        kept.pop("name", None)
    reference = str(who.get("reference", ""))
    if reference == f"Patient/{patient}" or reference.startswith(("Practitioner/", "PractitionerRole/")):
        kept["who"] = {"reference": reference}
    elif not reference and "role" not in agent and _is_system(agent):
        kept["who"] = _named(who)
    return kept  # of another patient, or somebody's family, the role says enough; nobody's sign-in name is shown


def _is_system(agent: dict[str, Any]) -> bool:
    """Whether it is an app or this server: who signs in or changes rights has neither role nor type, and a sign-in name."""
    codings = agent.get("type", {}).get("coding", ())
    return any((coding.get("system"), coding.get("code")) in SYSTEMS for coding in codings)


def _named(reference: dict[str, Any]) -> dict[str, Any]:
    return {name: reference[name] for name in ("reference", "identifier", "display") if name in reference} or {"display": "unknown"}


def _entities(entities: Any, patient: str) -> list[dict[str, Any]]:
    """The patient, and of the other resources the types, each once: which document it was may tell of somebody else."""
    types: dict[str, None] = {}
    for entity in entities:
        type, _, id = str(entity.get("what", {}).get("reference", "")).partition("/")
        if id and type != "Patient":
            types[type] = None
    return [
        {
            "what": {"reference": f"Patient/{patient}"},
            "role": {"system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "1"},
        },
        *({"what": {"type": type}, "description": type} for type in types),
    ]
