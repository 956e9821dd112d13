"""The table of roads: every way to ask for something, by name of what the caller may not see, or past it.

Each function gives the requests about one type. `other` in them is the other patient's: in a world without that patient the same requests
name what never was, and must be answered alike.
"""

import json
from collections.abc import Iterator
from urllib.parse import quote

from access.population import LOOSE, OTHER, OWN, SYSTEM, Json, marker, name
from access.worlds import Ask

from search.compartments import linking
from search.parameters import registry

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATCH = {"Content-Type": "application/json-patch+json"}
MARKED = quote(f"{SYSTEM}|{marker(OTHER)}", safe="")


def identified(type: str) -> str:
    """The identifier of the other patient's document."""
    return quote(f"{SYSTEM}|{marker(OTHER)}-{type}", safe="")


def link(type: str) -> str:
    """The first parameter by which a document of the type refers to a patient."""
    if type in LOOSE:
        return next(c for c in ("patient", "target", "focus", "request") if c in registry().of(type))
    codes = [code for code in linking("Patient", type, registry()) or () if code != "link"]
    return codes[0] if codes else "link"


def reading(type: str) -> Iterator[Ask]:
    """By name: whole, in versions, histories, operations on one."""
    own, other = f"{type}/{name(OWN, type)}", f"{type}/{name(OTHER, type)}"
    for it in (own, other):
        yield Ask("read", "GET", it)
        yield Ask("history", "GET", f"{it}/_history")
        yield Ask("vread", "GET", f"{it}/_history/1")
    yield Ask("vread", "GET", f"{other}/_history/2")
    yield Ask("vread of none", "GET", f"{other}/_history/9")
    yield Ask("head", "HEAD", other)
    yield Ask("head of a version", "HEAD", f"{other}/_history/2")
    yield Ask("read if changed", "GET", other, headers={"If-None-Match": 'W/"2"'})
    yield Ask("read if modified", "GET", other, headers={"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"})
    yield Ask("read part", "GET", f"{other}?_elements=id")
    yield Ask("read summary", "GET", f"{other}?_summary=text")
    yield Ask("$meta", "GET", f"{other}/$meta")
    yield Ask("$meta of the type", "GET", f"{type}/$meta")
    yield Ask("$validate", "GET", f"{other}/$validate")
    yield Ask("history of the type", "GET", f"{type}/_history")
    yield Ask("history paged", "GET", f"{type}/_history?_count=1")
    yield Ask("history since", "GET", f"{type}/_history?_since=2020-01-01T00:00:00Z&_count=2")


def searching(type: str) -> Iterator[Ask]:
    """By criteria that the other patient's documents satisfy, and by none."""
    id, by = name(OTHER, type), link(type)
    criteria = {
        "everything": "",
        "by id": f"_id={id}",
        "by ids": f"_id={name(OWN, type)},{id}",
        "by tag": f"_tag={MARKED}",
        "without tag": f"_tag:not={MARKED}",
        "by date": "_lastUpdated=gt2020-01-01",
        "by patient": f"{by}=Patient/{OTHER}",
        "by two patients": f"{by}=Patient/{OTHER},Patient/{OWN}",
        "chain by id": f"{by}:Patient._id={OTHER}",
        "chain by name": f"{by}:Patient.name={marker(OTHER)}",
        "chain by birth date": f"{by}:Patient.birthdate=lt1965-01-01",
        "chain onwards": f"{by}:Patient.general-practitioner:Practitioner._id=shared",
        "reverse chain": f"_has:Provenance:target:_id={name(OTHER, 'Provenance')}",
        "reverse chain by tag": f"_has:List:item:_tag={MARKED}",
        "expression": f"_filter=_id eq {id} or _tag eq {marker(OTHER)}",
        "expression not": f"_filter=not (_id eq {name(OWN, type)})",
        "list of the other": f"_list={OTHER}-ties-list",
        "list of one's own": f"_list={OWN}-ties-list",
        "text": f"_text={marker(OTHER)}",
        "content": f"_content={marker(OTHER)}",
    }
    if type in ("Condition", "MedicationRequest", "Patient"):
        criteria["contained"] = f"_contained=both&_tag={MARKED}"
    if "identifier" in registry().of(type):
        criteria["identifier"] = f"identifier={identified(type)}"
        criteria["identifier missing"] = "identifier:missing=false"
    for what, criterion in criteria.items():
        yield Ask(what, "GET", f"{type}?{_encoded(criterion)}&_total=accurate&_count=50")
    yield Ask("rows of a view", "POST", "ViewDefinition/$run?_format=csv", _view(type))
    yield Ask("rows of a view of the other", "POST", f"ViewDefinition/$run?patient={OTHER}", _view(type))


def _view(type: str) -> Json:
    """A view of the type, sent along."""
    view = {"resourceType": "ViewDefinition", "resource": type, "select": [{"column": [{"name": "id", "path": "id"}]}]}
    return {"resourceType": "Parameters", "parameter": [{"name": "viewResource", "resource": view}]}


def shaping(type: str) -> Iterator[Ask]:
    """What an answer tells beside its matches: totals, pages, order, how it was found."""
    by = link(type)
    for what, shape in {
        "total": "_summary=count",
        "total by tag": f"_summary=count&_tag={MARKED}",
        "total by default": f"_tag:not={MARKED}&_count=0",
        "estimate": "_total=estimate&_count=0",
        "estimate by tag": f"_total=estimate&_count=1&_tag={MARKED}",
        "pages": "_count=1&_total=accurate",
        "sorted": "_sort=-_id&_count=2",
        "sorted by date": "_sort=_lastUpdated",
        "sorted along a chain": f"_sort={by}:Patient.birthdate,_id&_total=accurate",
        "sorted by score": f"_text={marker(OWN)}&_sort=_score",
        "elements": "_elements=id&_count=50",
        "explained": "_explain=true&_count=1",
        "explained by tag": f"_explain=true&_tag={MARKED}",
        "included": f"_include={type}:*&_count=50",
        "included and on": f"_include={type}:{by}&_include:iterate=Encounter:*&_include:iterate=Observation:*&_include:iterate=List:item",
        "included by anything": "_include=*&_count=50",
        "referring": "_revinclude=Provenance:target&_revinclude=List:item&_revinclude=Observation:focus&_revinclude=Task:focus",
        "referring and on": "_revinclude:iterate=Observation:has-member&_revinclude:iterate=Provenance:target",
    }.items():
        yield Ask(what, "GET", f"{type}?{shape}")
    yield Ask("in a compartment", "GET", f"Patient/{OTHER}/{type}?_total=accurate")
    yield Ask("in one's compartment", "GET", f"Patient/{OWN}/{type}?_total=accurate&_count=50")
    yield Ask("by form", "POST", f"{type}/_search", f"_tag={MARKED}&_total=accurate", FORM)
    yield Ask("those referred to", "GET", f"Patient?_revinclude={type}:{by}&_total=accurate")
    yield Ask("patients who have one", "GET", f"Patient?_has:{type}:{by}:_tag={MARKED}&_total=accurate")
    yield Ask("patients who have none", "GET", f"Patient?_filter={_encoded(f'not (_id eq {OWN})')}&_total=accurate")
    for shared in ("Practitioner", "Organization"):
        for code in _leading(type, shared):
            yield Ask("shared, referring", "GET", f"{shared}?_revinclude={type}:{code}&_total=accurate")
            yield Ask("shared, referred to by", "GET", f"{shared}?_has:{type}:{code}:_tag={MARKED}&_total=accurate")


def batching(type: str) -> Iterator[Ask]:
    """The same within a batch; a transaction of reads."""
    other = f"{type}/{name(OTHER, type)}"
    reads = [
        other,
        f"{other}/_history/1",
        f"{type}?_id={name(OTHER, type)}",
        f"{type}?_tag={MARKED}&_total=accurate",
        f"{type}/_history",
    ]
    entries = [{"request": {"method": "GET", "url": url}} for url in reads]
    yield Ask("batch", "POST", "", {"resourceType": "Bundle", "type": "batch", "entry": entries})
    yield Ask("transaction", "POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": entries[3:4]})
    yield Ask("transaction of a read", "POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": entries[:1]})


def writing(type: str, own: Json) -> Iterator[Ask]:
    """Whatever may change something, at the other patient's documents. `own`: the caller's document of the type."""
    id = name(OTHER, type)
    other, tagged = f"{type}/{id}", f"{type}?_tag={MARKED}"
    there = {**own, "id": id}
    patch = json.dumps([{"op": "add", "path": "/language", "value": "en"}])
    yield Ask("update", "PUT", other, there)
    yield Ask("update if in a version", "PUT", other, there, {"If-Match": 'W/"2"'})
    yield Ask("update if in another version", "PUT", other, there, {"If-Match": 'W/"1"'})
    yield Ask("update if absent", "PUT", other, there, {"If-None-Match": "*"})
    yield Ask("patch", "PATCH", other, patch, PATCH)
    yield Ask("patch if in a version", "PATCH", other, patch, {**PATCH, "If-Match": 'W/"1"'})
    yield Ask("patch of what is found", "PATCH", tagged, patch, PATCH)
    yield Ask("patch that tests", "PATCH", other, json.dumps([{"op": "test", "path": "/id", "value": "x"}]), PATCH)
    yield Ask("delete", "DELETE", other)
    yield Ask("delete if in a version", "DELETE", other, headers={"If-Match": 'W/"1"'})
    yield Ask("delete of what is found", "DELETE", tagged)
    yield Ask("delete of what is named", "DELETE", f"{type}?_id={id}")
    yield Ask("update of what is named", "PUT", f"{type}?_id={id}", own)
    yield Ask("$meta-add", "POST", f"{other}/$meta-add", meta_of("added"))
    yield Ask("$meta-delete", "POST", f"{other}/$meta-delete", meta_of(marker(OTHER)))
    yield Ask("$validate a change", "POST", f"{other}/$validate", there)
    new = {key: value for key, value in own.items() if key not in ("id", "identifier")}
    yield Ask("update of what is found", "PUT", tagged, new)
    yield Ask("create if none", "POST", type, new, {"If-None-Exist": f"_tag={MARKED}"})
    yield Ask("transaction", "POST", "", bundled("transaction", ("PUT", other, there)))
    yield Ask("transaction that deletes", "POST", "", bundled("transaction", ("DELETE", other, None)))
    yield Ask("transaction by criteria", "POST", "", bundled("transaction", ("DELETE", tagged, None)))
    yield Ask("transaction that refers", "POST", "", bundled("transaction", ("POST", "Basic", _basic(tagged))))
    entries = (("PUT", other, there), ("DELETE", other, None), ("DELETE", tagged, None), ("POST", "Basic", _basic(tagged)))
    yield Ask("batch", "POST", "", bundled("batch", *entries))


def once() -> Iterator[Ask]:
    """What is not about one type."""
    for path in (
        "_history",
        "_history?_count=3",
        "_history?_since=2020-01-01T00:00:00Z",
        "?_type=Observation,Condition,Patient,Device&_total=accurate",
        f"?_tag={MARKED}&_total=accurate",
        f"?_type=Task,Device,Bundle,Patient&_tag={MARKED}",
        "?_type=Observation,Encounter&_count=1&_total=accurate",
        "?_lastUpdated=gt2020-01-01&_total=accurate&_count=500",
        "?_type=Observation,Condition&_sort=-_lastUpdated&_total=accurate",
        f"Patient/{OTHER}/*",
        f"Patient/{OTHER}/*?_total=accurate&_type=Observation",
        f"Patient/{OWN}/*?_total=accurate",
        "Practitioner/shared/Observation?_total=accurate",
        "Practitioner/shared/*?_total=accurate",
        f"Encounter/{OTHER}-encounter/Observation?_total=accurate",
        f"RelatedPerson/{OTHER}-relatedperson/*?_total=accurate",
        f"Device/{OTHER}-device/*?_total=accurate",
        f"Patient/{OTHER}/$everything",
        f"Patient/{OTHER}/$everything?_count=2",
        f"Patient/{OWN}/$everything?_count=500",
        f"Patient/{OWN}/$everything?_count=7",
        f"Observation/$lastn?patient=Patient/{OTHER}",
        f"Observation/$lastn?patient=Patient/{OTHER},Patient/{OWN}",
        f"Observation/$lastn?_tag={MARKED}",
        f"Observation/$lastn?subject:Patient.name={marker(OTHER)}",
        "Observation/$lastn?max=3&category=laboratory",
        "$meta",
        f"Observation/{OTHER}-gone",
        f"Observation/{OTHER}-gone/_history",
        f"Observation/{OTHER}-gone/_history/1",
        f"Observation/{OTHER}-gone/_history/2",
        f"Medication?code={MARKED}&_contained=true&_total=accurate",
        f"Medication?code={MARKED}&_contained=both&_containedType=contained",
        "Medication?_contained=true&_count=50",
        f"MedicationRequest?medication.code={MARKED}&_total=accurate",
        f"Observation?encounter.subject:Patient.name={marker(OTHER)}&_total=accurate",
        f"Observation?has-member._tag={MARKED}&_total=accurate",
        f"Observation?derived-from:Observation.category=laboratory&_id={OWN}-ties&_total=accurate",
        f"Observation?focus:Patient.name={marker(OTHER)}&_total=accurate",
        "Observation?_sort=focus:Patient.birthdate,_id&_total=accurate",
        "Observation?_sort=-has-member:Observation.date&_total=accurate",
        f"Observation?_id={OWN}-ties&_include=Observation:has-member&_include=Observation:derived-from&_include=Observation:focus",
        f"Observation?_id={OWN}-laboratory&_revinclude=Observation:derived-from&_revinclude=Observation:has-member",
        f"Patient?_id={OWN}&_revinclude=Observation:focus&_revinclude=Observation:subject&_count=50",
        f"Patient?_has:Observation:focus:_tag={MARKED}&_total=accurate",
        f"Patient?_has:Observation:focus:status=final&_id={OWN}&_total=accurate",
        "Practitioner?_has:Observation:performer:_has:Provenance:target:status=final",
        f"Practitioner?_has:Observation:performer:subject:Patient.name={marker(OTHER)}&_total=accurate",
        f"List?item=Observation/{OTHER}-laboratory&_total=accurate",
        f"Bundle?_tag={MARKED}&_total=accurate",
        "AuditEvent",
        "AuditEvent?_total=accurate&_count=1",
        f"AuditEvent?patient=Patient/{OTHER}&_total=accurate",
        "AuditEvent/_history",
    ):
        yield Ask("once", "GET", path)


def _leading(type: str, target: str) -> tuple[str, ...]:
    """The code of a reference parameter that may lead from the type to `target`: the first."""
    found = [c for c, p in registry().of(type).items() if p.kind == "reference" and p.includable and target in p.targets]
    return tuple(found[:1])


def _encoded(criterion: str) -> str:
    return quote(criterion, safe="=&:,|/%_.-")


def meta_of(code: str) -> Json:
    """Parameters of $meta-add and $meta-delete: one tag."""
    meta = {"tag": [{"system": SYSTEM, "code": code}]}
    return {"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": meta}]}


def _basic(criteria: str) -> Json:
    """A document of the caller's that refers to what is found."""
    code = {"text": "refers"}
    extension = [{"url": f"{SYSTEM}/about", "valueReference": {"reference": criteria}}]
    return {"resourceType": "Basic", "extension": extension, "code": code, "subject": {"reference": f"Patient/{OWN}"}}


def bundled(type: str, *entries: tuple[str, str, Json | None]) -> Json:
    """A batch or transaction of these: method, URL, resource."""
    made = [
        {"request": {"method": method, "url": url}} | ({"resource": resource} if resource is not None else {})
        for method, url, resource in entries
    ]
    return {"resourceType": "Bundle", "type": type, "entry": made}
