"""What a patient's Consent keeps from whom, by every road; and breaking the glass (https://hl7.org/fhir/R4/consent.html)."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from access.comparing import next_link
from access.worlds import Ask, Told, World

from fhir_server.access import following
from resources.instants import instant_text, now
from smart_auth.access import Access

Json = dict[str, Any]

TYPES = "http://hl7.org/fhir/resource-types"
REASONS = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
SENSITIVE = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
KEPT = following.CHECKED
WITHIN = 1.0
"""Seconds after which a Consent counts in every process."""


def user(name: str, role: str, of: str, scopes: str = "user/*.cruds", patient: str = "") -> Access:
    return Access(name, "app", scopes, 0, role=role, patient=patient, fhir_user=of)


CALLERS = {
    "everything": Access("loader", "loader", "system/*.cruds", 0),
    "service": Access("service", "service", "system/*.cruds", 0),
    "ann": user("ann", "practitioner", "Practitioner/ann"),
    "bob": user("bob", "practitioner", "Practitioner/bob"),
    "analyst": user("dora", "analyst", "Practitioner/dora", "user/*.rs"),
    "launched": user("ann", "practitioner", "Practitioner/ann", "patient/*.rs", patient="p"),
    "patient": user("pat", "patient", "Patient/p", "patient/*.rs", patient="p"),
    "parent": user("rel", "patient", "RelatedPerson/parent", "user/*.rs"),
    "auditor": user("eve", "auditor", "Practitioner/eve", "user/AuditEvent.rs user/Patient.rs"),
}


def lab(id: str, patient: str, **more: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": {"text": "lab"},
        "subject": {"reference": f"Patient/{patient}"},
        **more,
    }


CONTENT: list[Json] = [
    {"resourceType": "Organization", "id": "clinic", "name": "Clinic"},
    *({"resourceType": "Practitioner", "id": name, "name": [{"family": name}]} for name in ("ann", "bob", "dora", "eve")),
    {
        "resourceType": "PractitionerRole",
        "id": "bob-at-clinic",
        "practitioner": {"reference": "Practitioner/bob"},
        "organization": {"reference": "Organization/clinic"},
    },
    *({"resourceType": "Patient", "id": id, "name": [{"family": "Doe"}], "gender": "female"} for id in ("p", "q")),
    {"resourceType": "RelatedPerson", "id": "parent", "patient": {"reference": "Patient/p"}},
    lab("p1", "p"),
    lab("p2", "p", meta={"security": [SENSITIVE]}),
    lab("q1", "q"),
    lab("q2", "q", meta={"security": [SENSITIVE]}),
    {
        "resourceType": "Condition",
        "id": "pc",
        "subject": {"reference": "Patient/p"},
        "code": {"text": "flu"},
        "evidence": [{"detail": [{"reference": "Observation/p1"}]}],
    },
    {"resourceType": "Condition", "id": "qc", "subject": {"reference": "Patient/q"}, "code": {"text": "flu"}},
    {"resourceType": "Task", "id": "pt", "status": "requested", "intent": "order", "for": {"reference": "Patient/p"}},
    {"resourceType": "Task", "id": "qt", "status": "requested", "intent": "order", "for": {"reference": "Patient/q"}},
]
ALL = {
    f"{each['resourceType']}/{each['id']}" for each in CONTENT if each["id"][0] in "pq" and each["resourceType"] != "RelatedPerson"
}
OF_P = {name for name in ALL if name.split("/")[1].startswith("p")}
LABS = {"Observation/p1", "Observation/p2"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The store is asked at each request, so that no test has to wait; `test_a_consent_counts_within_a_second` does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(following, "CHECKED", 0.0)
        one = World(tmp_path_factory.mktemp("consents"), CONTENT, CALLERS)
        yield one
        one.close()


Agree = Callable[..., str]


@pytest.fixture
def agree(world: World) -> Iterator[Agree]:
    """Stores a Consent with this provision; all are taken back at the end."""
    stored: list[str] = []

    def store(provision: Json | None, of: str = "p", **more: Any) -> str:
        id = uuid4().hex
        assert put(world, consent(id, provision, of, **more)).status == 201
        stored.append(id)
        return id

    yield store
    for id in stored:
        assert world.ask("everything", Ask("", "DELETE", f"Consent/{id}")).status == 204


def consent(id: str, provision: Json | None, of: str = "p", **more: Any) -> Json:
    made = {
        "resourceType": "Consent",
        "id": id,
        "status": "active",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": f"Patient/{of}"},
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
    }
    return made | ({"provision": provision} if provision is not None else {}) | more


def put(world: World, document: Json) -> Told:
    return world.ask("everything", Ask("", "PUT", f"{document['resourceType']}/{document['id']}", document))


def seen(world: World, caller: str, purpose: str = "") -> set[str]:
    """What of CONTENT a caller reads by id and finds by searches; fails where these differ."""
    headers = {"Purpose-Of-Use": purpose} if purpose else {}
    read = {name for name in ALL if world.ask(caller, Ask("", "GET", name, headers=headers)).status == 200}
    found = set()
    for type in ("Patient", "Observation", "Condition", "Task"):
        page = world.ask(caller, Ask("", "GET", f"{type}?_total=accurate", headers=headers)).json()
        names = {f"{type}/{entry['resource']['id']}" for entry in page.get("entry", [])}
        assert page["total"] == len(names)
        found |= names
    assert found & ALL == read
    return read


def actor(reference: str) -> Json:
    role = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]}
    return {"role": role, "reference": {"reference": reference}}


def of_class(*types: str) -> list[Json]:
    return [{"system": TYPES, "code": type} for type in types]


ROWS: list[tuple[str, Json | None, Mapping[str, set[str]]]] = [
    ("deny all", {"type": "deny"}, {"ann": OF_P, "bob": OF_P, "service": OF_P, "launched": OF_P, "patient": set()}),
    ("permit all", {"type": "permit"}, {"ann": set(), "service": set()}),
    ("no provision", None, {"ann": set()}),
    (
        "deny one practitioner",
        {"type": "deny", "actor": [actor("Practitioner/ann")]},
        {"ann": OF_P, "bob": set(), "service": set()},
    ),
    (
        "deny an absolute reference",
        {"type": "deny", "actor": [actor("http://records.test/fhir/Practitioner/ann")]},
        {"ann": OF_P, "bob": set()},
    ),
    ("deny an organization", {"type": "deny", "actor": [actor("Organization/clinic")]}, {"ann": set(), "bob": OF_P}),
    ("deny a role", {"type": "deny", "actor": [actor("PractitionerRole/bob-at-clinic")]}, {"ann": set(), "bob": OF_P}),
    (
        "deny a client",
        {"type": "deny", "actor": [{**actor(""), "reference": {"identifier": {"value": "service"}}}]},
        {"ann": set(), "service": OF_P, "everything": set()},
    ),
    (
        "deny a group",
        {"type": "deny", "actor": [actor("Group/whoever")]},
        {"ann": OF_P, "service": OF_P},
    ),
    ("deny a class", {"type": "deny", "class": of_class("Observation")}, {"ann": LABS, "patient": set()}),
    ("deny another kind of class", {"type": "deny", "class": [{"system": "urn:x", "code": "Observation"}]}, {"ann": OF_P}),
    ("deny a label", {"type": "deny", "securityLabel": [SENSITIVE]}, {"ann": {"Observation/p2"}, "patient": set()}),
    (
        "deny one document",
        {"type": "deny", "data": [{"meaning": "instance", "reference": {"reference": "Observation/p1"}}]},
        {"ann": {"Observation/p1"}},
    ),
    (
        "deny what belongs to a document",
        {"type": "deny", "data": [{"meaning": "dependents", "reference": {"reference": "Observation/p1"}}]},
        {"ann": OF_P},
    ),
    ("deny research", {"type": "deny", "purpose": [{"system": REASONS, "code": "HRESCH"}]}, {"ann": set(), "analyst": OF_P}),
    ("deny a purpose of another system", {"type": "deny", "purpose": [{"system": "urn:x", "code": "x"}]}, {"ann": OF_P}),
    ("deny a purpose that is none", {"type": "deny", "purpose": [{"system": REASONS, "code": "NONE"}]}, {"ann": OF_P}),
    (
        "deny all but operations",
        {"type": "deny", "provision": [{"type": "permit", "purpose": [{"system": REASONS, "code": "HOPERAT"}]}]},
        {"ann": OF_P, "analyst": OF_P, "service": set()},
    ),
    ("deny in the past", {"type": "deny", "period": {"end": "2020"}}, {"ann": set()}),
    ("deny in the future", {"type": "deny", "period": {"start": "2120-01"}}, {"ann": set()}),
    ("deny now", {"type": "deny", "period": {"start": "2020", "end": "2120-12-31"}}, {"ann": OF_P}),
    ("deny codes", {"type": "deny", "code": [{"text": "anything"}]}, {"ann": OF_P}),
    (
        "deny all but for one",
        {"type": "deny", "provision": [{"type": "permit", "actor": [actor("Practitioner/bob")]}]},
        {"ann": OF_P, "bob": set()},
    ),
    (
        "deny all but for one, by name only",
        {"type": "deny", "provision": [{"type": "permit", "actor": [{**actor(""), "reference": {"display": "Bob"}}]}]},
        {"ann": OF_P, "bob": OF_P},
    ),
    (
        "deny all but a class",
        {"type": "deny", "provision": [{"type": "permit", "class": of_class("Condition")}]},
        {"ann": OF_P - {"Condition/pc"}},
    ),
    (
        "deny all but what is labelled",
        {"type": "deny", "provision": [{"type": "permit", "securityLabel": [SENSITIVE]}]},
        {"ann": OF_P - {"Observation/p2"}},
    ),
    (
        "permit with exceptions",
        {
            "type": "permit",
            "provision": [{"type": "deny", "class": of_class("Condition")}, {"type": "deny", "securityLabel": [SENSITIVE]}],
        },
        {"ann": {"Condition/pc", "Observation/p2"}, "patient": set()},
    ),
    (
        "permit with an exception that has one",
        {
            "type": "permit",
            "provision": [
                {
                    "type": "deny",
                    "class": of_class("Observation"),
                    "provision": [{"type": "permit", "actor": [actor("Practitioner/ann")]}],
                }
            ],
        },
        {"ann": set(), "bob": LABS},
    ),
    (
        "exceptions without a base",
        {"provision": [{"type": "deny", "actor": [actor("Practitioner/ann")]}]},
        {"ann": OF_P, "bob": set()},
    ),
    ("a relative by name", {"type": "deny", "actor": [actor("RelatedPerson/parent")]}, {"parent": OF_P, "ann": set()}),
    ("everybody but relatives", {"type": "deny"}, {"parent": set()}),
]


@pytest.mark.parametrize(("provision", "kept"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_is_kept_from_whom(world: World, agree: Agree, provision: Json | None, kept: Mapping[str, set[str]]) -> None:
    """Reads, searches and totals show all but what the Consent denies; of the other patient nothing is missing."""
    before = {caller: seen(world, caller) for caller in kept}
    agree(provision)
    for caller, missing in kept.items():
        assert before[caller] - seen(world, caller) == missing & before[caller], caller


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({"policyRule": {"coding": [{"code": "OPTOUT"}]}}, OF_P),
        ({"status": "inactive", "provision": {"type": "deny"}}, set()),
        ({"status": "draft", "provision": {"type": "deny"}}, set()),
        ({"scope": {"coding": [{"code": "research"}]}, "provision": {"type": "deny"}}, set()),
        ({"patient": {"reference": "http://elsewhere.test/fhir/Patient/p"}, "provision": {"type": "deny"}}, set()),
    ],
)
def test_which_consents_count(world: World, agree: Agree, more: Json, missing: set[str]) -> None:
    """Active ones about privacy, of a patient of this server; opting out is their base rule where the provision does not say."""
    agree(more.get("provision"), **{name: value for name, value in more.items() if name != "provision"})
    assert ALL - seen(world, "ann") == missing


def test_two_patients_and_two_consents(world: World, agree: Agree) -> None:
    """Every Consent counts for itself: what one of them denies, another one does not bring back."""
    agree({"type": "deny", "class": of_class("Observation")})
    agree({"type": "permit"})
    agree({"type": "deny", "securityLabel": [SENSITIVE]}, of="q")
    assert ALL - seen(world, "ann") == {*LABS, "Observation/q2"}


ROADS = [
    "Observation?_id=p1",
    "Observation?subject=Patient/p",
    "Observation?patient.name=doe&_id=p1",
    "Patient?_has:Observation:patient:status=final&_id=p",
    "Patient/p/Observation",
    "Patient/p/Condition?_include=Condition:evidence-detail",
    "Condition?_include=Condition:evidence-detail",
    "Patient?_id=p&_revinclude=Observation:subject",
    "Patient/p/$everything",
    "Observation/$lastn?patient=Patient/p",
    "Observation/p1/_history",
    "Observation/_history",
    "_history?_count=1000",
    "Observation/p1/_history/1",
    "?_type=Observation,Condition&_id=p1",
]


@pytest.mark.parametrize("road", ROADS)
def test_no_road_leads_there(world: World, agree: Agree, road: str) -> None:
    """Whatever the road, the document is not shown, and shown again to others and when the Consent is gone."""
    agree({"type": "deny", "class": of_class("Observation")})
    told = world.get("ann", road)
    assert b'"id":"p1"' not in told.body, told.body[:500]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": road}}]}
    assert b'"id":"p1"' not in world.ask("ann", Ask("", "POST", "", bundle)).body
    if "_has" not in road:
        assert b'"id":"p1"' in world.ask("ann", Ask("", "GET", road, headers={"Purpose-Of-Use": "BTG"})).body


def test_what_is_kept_cannot_be_changed_either(world: World, agree: Agree) -> None:
    """A user from whom a document is kept cannot overwrite, patch or delete it; a backend that only feeds the record still can."""
    agree({"type": "deny", "class": of_class("Observation")})
    assert world.ask("ann", Ask("", "PUT", "Observation/p1", lab("p1", "p"))).status in (403, 404)
    assert world.ask("ann", Ask("", "DELETE", "Observation/p1")).status in (204, 403, 404)
    patch = '[{"op":"replace","path":"/status","value":"amended"}]'
    headers = {"Content-Type": "application/json-patch+json"}
    assert world.ask("ann", Ask("", "PATCH", "Observation/p1", patch, headers)).status in (403, 404)
    assert world.ask("service", Ask("", "PUT", "Observation/p1", lab("p1", "p"))).status == 200
    assert world.get("patient", "Observation/p1").json()["status"] == "final"


def test_what_a_request_is_for(world: World, agree: Agree) -> None:
    """A denial for a purpose holds for all that is part of it, and not for others; what is no purpose is refused."""
    agree({"type": "deny", "purpose": [{"system": REASONS, "code": "HRESCH"}]})
    assert seen(world, "ann", "TREAT") == ALL
    assert seen(world, "ann", f"{REASONS}|COC") == ALL
    for purpose in ("CLINTRCH", f"{REASONS}|HRESCH"):
        assert seen(world, "service", purpose) == seen(world, "analyst", purpose) == ALL - OF_P
    assert seen(world, "analyst") == ALL - OF_P
    assert seen(world, "service") == ALL
    for wrong in ("NOSUCH", "urn:x|TREAT", "treat", "<b>"):
        assert world.ask("ann", Ask("", "GET", "Patient/p", headers={"Purpose-Of-Use": wrong})).status == 400


def test_a_consent_counts_within_a_second(world: World, agree: Agree, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts, changes and ends in every process within a second of the answer that it is stored, changed or deleted."""
    monkeypatch.setattr(following, "CHECKED", KEPT)
    assert world.get("ann", "Patient/p").status == 200
    id = agree({"type": "deny"})
    time.sleep(WITHIN)
    assert world.get("ann", "Patient/p").status == 404
    assert put(world, consent(id, {"type": "permit"})).status == 200
    time.sleep(WITHIN)
    assert world.get("ann", "Patient/p").status == 200
    assert 0 < KEPT < WITHIN


def broken(world: World, caller: str, path: str, **headers: str) -> Told:
    return world.ask(caller, Ask("", "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}))


def test_practitioners_break_the_glass(world: World, agree: Agree) -> None:
    """With Purpose-Of-Use: BTG a practitioner sees what consents keep; the AuditEvent says so, with the reason, and auditors find it."""
    agree({"type": "deny"})
    assert world.get("ann", "Observation/p1").status == 404
    why = f"unconscious in the emergency room {uuid4().hex}"
    assert broken(world, "ann", "Observation/p1", X_Purpose_Of_Use="BTG", Purpose_Of_Use_Reason=why).status == 200
    assert world.get("ann", "Observation/p1").status == 404, "the next request is an ordinary one"
    flagged = "AuditEvent?subtype=http://dicom.nema.org/resources/ontology/DCM|110127&_sort=-date&_count=50"
    events = [entry["resource"] for entry in world.get("auditor", flagged).json()["entry"]]
    [event] = [each for each in events if each["purposeOfEvent"][0].get("text") == why]
    assert event["purposeOfEvent"][0]["coding"] == [{"system": REASONS, "code": "BTG", "display": "break the glass"}]
    assert {coding["code"] for coding in event["subtype"]} == {"110127", "read"}
    assert any(entity["what"].get("reference", "").startswith("Observation/p1") for entity in event["entity"])
    assert {"reference": "Practitioner/ann"}.items() <= next(a["who"] for a in event["agent"] if a["requestor"]).items()


def test_breaking_the_glass_counts_for_a_whole_bundle(world: World, agree: Agree) -> None:
    """A batch that breaks the glass does so in all its entries, and each is recorded as such."""
    agree({"type": "deny"})
    reads = [{"request": {"method": "GET", "url": url}} for url in ("Observation/p1", "Condition/pc")]
    why = uuid4().hex
    for kind in ("batch", "transaction"):
        bundle = {"resourceType": "Bundle", "type": kind, "entry": reads}
        answer = world.ask("ann", Ask("", "POST", "", bundle, {"Purpose-Of-Use": "BTG", "Purpose-Of-Use-Reason": why})).json()
        assert [entry["response"]["status"][:3] for entry in answer["entry"]] == ["200", "200"], answer
    flagged = world.get("auditor", "AuditEvent?subtype=110127&_sort=-date&_count=50").json()["entry"]
    said = [entry["resource"] for entry in flagged if entry["resource"]["purposeOfEvent"][0].get("text") == why]
    assert len([event for event in said if any(coding["code"] == "read" for coding in event["subtype"])]) == 4


@pytest.mark.parametrize("caller", ["patient", "parent", "service", "everything", "analyst", "auditor"])
def test_nobody_else_breaks_the_glass(world: World, caller: str) -> None:
    """403 for patients, backends and other roles, whatever they would see anyway; the attempt is recorded."""
    why = uuid4().hex
    told = broken(world, caller, "Patient/q", Purpose_Of_Use="BTG", Purpose_Of_Use_Reason=why)
    assert told.status == 403
    assert told.json()["issue"][0]["code"] == "forbidden"
    refused = world.get("auditor", "AuditEvent?subtype=110127&outcome=4&_sort=-date&_count=50").json()["entry"]
    assert any(entry["resource"]["purposeOfEvent"][0].get("text") == why for entry in refused)


def test_breaking_the_glass_widens_no_scope(world: World) -> None:
    """It opens what patients keep, not what the token never had."""
    assert broken(world, "launched", "Patient/q", Purpose_Of_Use="BTG").status in (403, 404)


def test_auditors_see_all_accesses(world: World, agree: Agree) -> None:
    """The record of accesses to a patient who opted out is whole."""
    before = world.get("auditor", "AuditEvent?patient=Patient/p&_summary=count").json()["total"]
    agree({"type": "deny"})
    assert world.get("auditor", "AuditEvent?patient=Patient/p&_summary=count").json()["total"] >= before > 0


BASE = "http://records.test/fhir"
STANDING: list[tuple[str, Json, bool]] = [
    ("relative", {}, True),
    ("absolute", {"practitioner": {"reference": f"{BASE}/Practitioner/ann"}}, True),
    ("absolute organization", {"organization": {"reference": f"{BASE}/Organization/clinic"}}, True),
    ("versioned", {"organization": {"reference": "Organization/clinic/_history/1"}}, True),
    ("lasting", {"period": {"start": "2020", "end": "2120"}}, True),
    ("ended", {"period": {"end": "2020"}}, False),
    ("to come", {"period": {"start": "2120-01-01"}}, False),
    ("inactive", {"active": False}, False),
    ("elsewhere", {"organization": {"reference": "http://elsewhere.test/fhir/Organization/clinic"}}, False),
]


@pytest.mark.parametrize(("more", "works"), [row[1:] for row in STANDING], ids=[row[0] for row in STANDING])
def test_who_works_for_whom(world: World, agree: Agree, more: Json, works: bool) -> None:
    """A PractitionerRole counts however its references are written, while it is active and its period lasts: for a denial as for an
    exception to one."""
    plain = {"practitioner": {"reference": "Practitioner/ann"}, "organization": {"reference": "Organization/clinic"}}
    assert put(world, {"resourceType": "PractitionerRole", "id": "ann", **plain, **more}).status in (200, 201)
    clinic = [actor("Organization/clinic")]
    agree({"type": "deny", "class": of_class("Observation"), "actor": clinic})
    agree({"type": "deny", "class": of_class("Condition"), "provision": [{"type": "permit", "actor": clinic}]})
    try:
        assert ALL - seen(world, "ann") == (LABS if works else {"Condition/pc"})
    finally:
        assert world.ask("everything", Ask("", "DELETE", "PractitionerRole/ann")).status == 204


PURPOSES: Mapping[str, set[str]] = {
    "ann": {"TREAT", "CLINTRL", "ETREAT", "ERTREAT", "BTG"},
    "analyst": {"HRESCH", "CLINTRCHPC"},
    "auditor": {"HOPERAT", "CAREMGT", "HTEST", "HPAYMT", "ENROLLM"},
    "patient": {"PATRQT", "FAMRQT"},
    "parent": {"PATRQT", "FAMRQT"},
    "service": {"HOPERAT", "CAREMGT", "HTEST", "HPAYMT", "ENROLLM", "HRESCH", "CLINTRCHPC", "PUBHLTH", "THREAT", "HMARKT"},
}


@pytest.mark.parametrize("caller", PURPOSES)
def test_whose_requests_are_for_what(world: World, caller: str) -> None:
    """Each role's requests are for what it works for, and for nothing that is not; 403 says so, and nothing is shown."""
    for purpose in sorted(set().union(*PURPOSES.values())):
        told = world.ask(caller, Ask("", "GET", "Patient/p", headers={"Purpose-Of-Use": purpose}))
        assert told.status == (200 if purpose in PURPOSES[caller] else 403), purpose
        if told.status == 403:
            assert purpose in told.json()["issue"][0]["diagnostics"]


@pytest.mark.parametrize("purpose", ["ETREAT", "ERTREAT"])
def test_emergency_treatment_is_recorded_as_an_emergency(world: World, agree: Agree, purpose: str) -> None:
    """A patient may make an exception for emergencies: who says that there is one is recorded like who breaks the glass."""
    agree({"type": "deny", "provision": [{"type": "permit", "purpose": [{"system": REASONS, "code": "ETREAT"}]}]})
    agree({"type": "deny", "class": of_class("Condition")})
    why = uuid4().hex
    told = {name: broken(world, "ann", name, Purpose_Of_Use=purpose, Purpose_Of_Use_Reason=why).status for name in sorted(OF_P)}
    assert told == {**dict.fromkeys(sorted(OF_P), 200), "Condition/pc": 404}, "it is no way past other denials"
    assert world.get("ann", "Observation/p1").status == 404
    flagged = world.get("auditor", "AuditEvent?subtype=110127&_sort=-date&_count=50").json()["entry"]
    assert len([each for each in flagged if each["resource"]["purposeOfEvent"][0].get("text") == why]) == len(OF_P)


@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_kept_was_kept_before(world: World, agree: Agree, labelled: bool) -> None:
    """A label that is put on a document hides its versions from before as well, on every page of every history."""
    agree({"type": "deny", "securityLabel": [SENSITIVE]})
    id, status = f"later-{labelled}", 404 if labelled else 200
    for more in ({}, {"meta": {"security": [SENSITIVE]}} if labelled else {"language": "en"}):
        assert put(world, lab(id, "p", **more)).status in (200, 201)
    assert world.get("ann", f"Observation/{id}/_history/1").status == status
    assert world.get("ann", f"Observation/{id}/_history").status == status
    assert world.get("patient", f"Observation/{id}/_history/1").status == 200
    for path in ("Observation/_history?_count=1", "_history?_count=3", "Observation/_history?_count=1000"):
        link: str | None = path
        pages = b""
        while link is not None:
            told = world.get("ann", link)
            pages, link = pages + told.body, next_link(told)
        assert (f'"id":"{id}"'.encode() in pages) is not labelled, path


def test_who_has_too_many_consents_keeps_everything(world: World, agree: Agree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of Consents that deny something the whole record is kept from everybody but the patient; fewer count each."""
    monkeypatch.setattr(following, "MOST_CONSENTS", 3)
    for _ in range(3):
        agree({"type": "deny", "class": of_class("Condition"), "actor": [actor("Practitioner/ann")]})
        agree({"type": "permit"})
    assert ALL - seen(world, "ann") == {"Condition/pc"}
    agree({"type": "deny", "class": of_class("Condition"), "actor": [actor("Practitioner/ann")]})
    for caller in ("ann", "bob", "service", "parent"):
        assert not seen(world, caller) & OF_P, caller
    assert seen(world, "patient") >= OF_P


def test_a_period_ends_within_a_second(world: World, agree: Agree) -> None:
    """What is denied until a moment is shown again a second after it, without anything being written."""
    until = now() + 1_000_000
    agree({"type": "deny", "period": {"end": instant_text(until)}})
    assert world.get("ann", "Patient/p").status == 404
    time.sleep((until - now()) / 1e6 + WITHIN + 0.1)
    assert world.get("ann", "Patient/p").status == 200


@pytest.mark.parametrize(
    "search", ["Observation?_count=1", "Patient?_count=1&_revinclude=Observation:subject", "_history?_count=1"]
)
def test_a_page_link_is_good_for_the_purpose_it_was_made_for(world: World, search: str) -> None:
    """The link of a page that was shown because the glass was broken is followed by breaking it again, and by no ordinary request."""
    told = world.ask("ann", Ask("", "GET", search, headers={"Purpose-Of-Use": "BTG"}))
    link = next_link(told)
    assert link is not None
    assert world.get("ann", link).status == 400
    assert world.ask("ann", Ask("", "GET", link, headers={"Purpose-Of-Use": "BTG"})).status == 200
    plain = next_link(world.get("ann", search))
    assert plain is not None
    assert world.ask("ann", Ask("", "GET", plain, headers={"Purpose-Of-Use": "TREAT"})).status == 200, "what it is for anyway"
