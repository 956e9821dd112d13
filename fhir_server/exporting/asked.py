"""What an export is asked for: the parameters of a kick-off, read and checked (https://hl7.org/fhir/uv/bulkdata/STU2/export.html, and what
https://hl7.org/fhir/uv/bulkdata/export.html adds).

A request that cannot be understood, or that contradicts itself, is refused before there is a job. With `Prefer: handling=lenient` what is
not known is left out of account; the export's error file then says so.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from conformance.load import definitions
from fhir_server.access.consents import local
from fhir_server.access.refusals import insufficient
from fhir_server.access.types import BY_PATIENT
from fhir_server.context import Context
from fhir_server.exporting.deidentified.hiding import Method, exported, read_method
from fhir_server.exporting.filtering import Filter, read_filters
from fhir_server.exporting.given import Given, read_given
from fhir_server.messages import FhirRequest, Identity
from fhir_server.rest.prefer import preferences
from fhir_server.rest.query_string import instant_range
from resources.ids import valid_id
from resources.instants import instant_text
from resources.outcomes import bad_request, error, not_allowed
from search.compartments import linking

Level = Literal["system", "patient", "group"]

NDJSON = "application/fhir+ndjson"
PARQUET = "application/vnd.apache.parquet"
FORMATS = {NDJSON: NDJSON, "application/ndjson": NDJSON, "ndjson": NDJSON, PARQUET: PARQUET}
"""What `_outputFormat` may say -> the Content-Type of the files."""

PARAMETERS = (
    "_outputFormat", "_since", "_until", "_type", "_typeFilter", "_elements", "patient", "includeAssociatedData", "organizeOutputBy",
    "allowPartialManifests", "_deidentify",
)  # fmt: skip

SUPPORTING = frozenset(
    ("Device", "HealthcareService", "Location", "Medication", "Organization", "Practitioner", "PractitionerRole", "Substance")
)
"""Types that come below a patient where something of the records refers to them: who and what it takes to understand these. (Devices that
name their patient are of the record themselves.)"""

PROVENANCE: dict[str, Literal["latest", "relevant"]] = {
    "LatestProvenanceResources": "latest",
    "RelevantProvenanceResources": "relevant",
}


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parameters of an export. `base` is the FHIR base that it was asked at, `group` the id of the Group, `patients` the ids of
    `patient` (None: all of the level), `types` what to export in order (None: whatever the caller may see). `since` and `until` are in
    microseconds since the epoch (0: without). `organized`: by Patient. `deidentified`: how documents are de-identified. `notes` are
    sentences for the error file."""

    level: Level
    base: str = ""
    group: str = ""
    types: tuple[str, ...] | None = None
    since: int = 0
    until: int = 0
    format: str = NDJSON
    filters: tuple[Filter, ...] = ()
    elements: tuple[str, ...] = ()
    patients: tuple[str, ...] | None = None
    provenance: Literal["", "latest", "relevant"] = ""
    organized: bool = False
    partial: bool = False
    lenient: bool = False
    deidentified: Method = ""
    notes: tuple[str, ...] = ()


def read_asked(ctx: Context, who: Identity, request: FhirRequest, level: Level) -> Asked:
    """What the caller's request asks for. Raises FhirError 400, 403 for types that the caller may see nothing of."""
    given = read_given(request, PARAMETERS)
    method = read_method(ctx, who, given)
    types = _types(ctx, given, level, method)
    if types is None and ctx.decision is not None and not any(of_level(ctx, each, level) for each in types_of(ctx, level)):
        raise insufficient(ctx.decision, "rs", "Patient" if level != "system" else "")
    since, until = _window(ctx, given)
    format, possible = _format(given), _possible(ctx, types, level)
    return Asked(
        level,
        request.base,
        group=request.id if level == "group" else "",
        types=types,
        since=since,
        until=until,
        format=format,
        filters=read_filters(ctx, given, request.base, possible, ctx.clock(), alone=bool(method)),
        elements=_elements(ctx, given, possible),
        patients=_patients(ctx, given, request, level),
        provenance=_provenance(given),
        organized=_organized(ctx, given, format, types),
        partial=_partial(given),
        lenient=given.lenient,
        deidentified=method,
        notes=tuple(given.notes),
    )


def types_of(ctx: Context, level: Level) -> list[str]:
    """The types that an export has where it does not name them: all that the caller may find; below a patient those of its compartment,
    Provenance, and SUPPORTING. The record of accesses, and types that R4 does not have, come only where they are named."""
    decision = ctx.decision
    return [
        type
        for type in sorted(ctx.routes.types - definitions().added_types - {"AuditEvent"})
        if (of_level(ctx, type, level) or type in SUPPORTING) and (decision is None or decision.covers("s", type))
    ]


def of_level(ctx: Context, type: str, level: Level) -> bool:
    """Whether documents of the type are exported for themselves, not only where something refers to them."""
    return level == "system" or in_compartment(ctx, type)


def in_compartment(ctx: Context, type: str) -> bool:
    """Whether documents of the type can be about a patient: those of the Patient compartment
    (https://hl7.org/fhir/R4/compartmentdefinition-patient.html), and some that name their patient outside of it."""
    return type == "Patient" or type in BY_PATIENT or bool(linking("Patient", type, ctx.parameters))


def _types(ctx: Context, given: Given, level: Level, method: Method) -> tuple[str, ...] | None:
    if "_type" not in given.values:
        return None
    found, outside = dict[str, None](), dict[str, None]()
    for name in given.listed("_type"):
        if name not in ctx.routes.types:
            given.pass_over("_type", f"_type names {name[:64]}, which is not a resource type of FHIR R4", "value")
        elif not exported(method, name):
            given.pass_over("_type", f"_type names {name}, of which nothing comes out of a de-identified export")
        elif not of_level(ctx, name, level) and name not in SUPPORTING:
            outside[name] = None
        elif ctx.decision is not None and not ctx.decision.covers("s", name):
            if not given.lenient:
                raise insufficient(ctx.decision, "rs", name)
            given.notes.append(f"_type names {name}, for which the access token has no scope")
        else:
            found[name] = None
    beside = not any(of_level(ctx, name, level) for name in found)
    if outside or (found and beside):
        text = f"_type names {', '.join(outside or found)}, outside of the Patient compartment; [base]/$export has them"
        if not beside:  # https://hl7.org/fhir/uv/bulkdata/export.html#query-parameters: an error where nothing else is named
            given.notes.append(text)
        else:
            given.pass_over("_type", text)
    return tuple(found)


def _possible(ctx: Context, types: Sequence[str] | None, level: Level) -> frozenset[str]:
    return frozenset(types if types is not None else types_of(ctx, level))


def _window(ctx: Context, given: Given) -> tuple[int, int]:
    since, until = (_instant(name, given.one(name)) for name in ("_since", "_until"))
    if since > ctx.clock():
        raise bad_request(f"_since lies in the future; it is {instant_text(ctx.clock())} now", "_since", "value")
    if until and until <= since:
        raise bad_request("_until is not later than _since, so that nothing lies between them", "_until", "value")
    return since, until


def _instant(name: str, value: str | None) -> int:
    return instant_range(name, value)[0] if value is not None else 0


def _format(given: Given) -> str:
    value = given.one("_outputFormat")
    if value is None:
        return NDJSON
    # a plus sign that the caller did not escape arrives as a space
    media = value.strip().replace(" ", "+")
    if media not in FORMATS:
        text = f"_outputFormat={value[:64]} is not offered; there is {', '.join(FORMATS)}"
        raise bad_request(text, "_outputFormat", "not-supported")
    return FORMATS[media]


def _elements(ctx: Context, given: Given, possible: frozenset[str]) -> tuple[str, ...]:
    """The names as they are written, `id` or `Patient.name`: those that there are, of the types that are `possible`."""
    found = dict[str, None]()
    for name in given.listed("_elements"):
        type, _, element = name.rpartition(".")
        types = [type] if type else ctx.routes.types
        if any(element in _names(each) for each in types if each in ctx.routes.types):
            if type and type not in possible:
                given.pass_over("_elements", f"_elements is about {type}, which this export does not have", "value")
            else:
                found[name] = None
        else:
            text = f"_elements names {name[:64]}, which is no element at the top of a resource, as id or Patient.name are"
            given.pass_over("_elements", text, "value")
    return tuple(found)


def _names(type: str) -> set[str]:
    elements = definitions().types[type].elements.values()
    return {name for element in elements for name in (element.name, *element.json)}


def _patients(ctx: Context, given: Given, request: FhirRequest, level: Level) -> tuple[str, ...] | None:
    values = given.values.get("patient")
    if values is None:
        return None
    if level == "system":
        text = "patient goes with Patient/$export and Group/[id]/$export; [base]/$export has no parameter patient"
        raise bad_request(text, "patient", "not-supported")
    found = dict[str, None]()
    for value in given.listed("patient"):
        type, _, id = local(value, (*ctx.settings.bases, request.base)).partition("/")
        if type != "Patient" or not valid_id(id):
            raise bad_request(
                f"patient={value[:100]} is no reference to a Patient of this server, such as Patient/1", "patient", "value"
            )
        found[id] = None
    return tuple(found)


def _provenance(given: Given) -> Literal["", "latest", "relevant"]:
    found = set[str]()
    for value in given.listed("includeAssociatedData"):
        if value in PROVENANCE:
            found.add(PROVENANCE[value])
        else:
            text = f"includeAssociatedData={value[:64]} is not offered; there is {' and '.join(PROVENANCE)}"
            given.pass_over("includeAssociatedData", text)
    return "relevant" if "relevant" in found else "latest" if found else ""  # of several the one that gives the most


def _organized(ctx: Context, given: Given, format: str, types: Sequence[str] | None) -> bool:
    value = given.one("organizeOutputBy")
    if value is None:
        return False
    if value != "Patient":
        given.pass_over("organizeOutputBy", f"organizeOutputBy={value[:64]} is not offered; there is Patient")
        return False
    if format != NDJSON:
        raise bad_request("organizeOutputBy mixes types in a file, which only NDJSON can hold", "organizeOutputBy", "not-supported")
    outside = [type for type in types or () if not in_compartment(ctx, type)]
    if outside:
        text = f"With organizeOutputBy nothing comes of {', '.join(outside)}, which lies in no patient's record"
        if len(outside) == len(types or ()):
            raise bad_request(text, "organizeOutputBy", "not-supported")
        given.notes.append(text)
    return True


def _partial(given: Given) -> bool:
    value = given.one("allowPartialManifests")
    if value not in (None, "true", "false"):
        raise bad_request("allowPartialManifests is either true or false", "allowPartialManifests", "value")
    return value == "true"


def check_preferences(request: FhirRequest) -> None:
    """Raises FhirError 400 or 406 unless the request says that it waits for no answer, and that it can read what is said of the job;
    405 for HEAD, which is to change nothing."""
    if request.method == "HEAD":
        raise not_allowed("HEAD begins no export; possible: GET, POST", ("GET", "POST"))
    if not preferences(request.headers).asynchronous:
        raise bad_request("An export takes its time: send Prefer: respond-async", code="required")
    if not request.headers.get("accept", "").strip():
        raise error(406, "required", "Send Accept: application/fhir+json: what is said of the job is in this format")
