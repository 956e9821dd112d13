"""Two patients' records, those who ask for them, and Consents that one of the patients stores."""

from collections.abc import Callable
from typing import Any

from access.worlds import Ask, Told, World

from smart_auth.access import Access

Json = dict[str, Any]
Agree = Callable[..., str]
"""Stores a Consent with this provision (of patient p, or as `of` says) and gives its id."""

TYPES = "http://hl7.org/fhir/resource-types"
REASONS = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
SENSITIVE = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}


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
    "admin": user("una", "admin", "Practitioner/una"),
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


OPT_OUT: Json = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]}
"""As a `policyRule`: whatever no provision permits is denied."""


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


def broken(world: World, caller: str, path: str, **headers: str) -> Told:
    return world.ask(caller, Ask("", "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}))
