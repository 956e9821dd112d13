"""A small population: four patients, what is about them, groups of them."""

from typing import Any

Json = dict[str, Any]

PRACTITIONER = {"reference": "Practitioner/d"}
FILTER = "http://hl7.org/fhir/uv/bulkdata/StructureDefinition/member-filter"


def of(resource: str, id: str, /, **members: Any) -> Json:
    """A resource."""
    return {"resourceType": resource, "id": id, **members}


def patient(id: str, **members: Any) -> Json:
    return of("Patient", id, name=[{"family": id.upper()}], **members)


def observation(id: str, subject: str, code: str = "8867-4", **members: Any) -> Json:
    coding = {"coding": [{"system": "http://loinc.org", "code": code}]}
    return of("Observation", id, status="final", code=coding, subject={"reference": subject}, **members)


def provenance(id: str, target: str, recorded: str = "2026-01-01T00:00:00Z") -> Json:
    agent = [{"who": PRACTITIONER}]
    return of("Provenance", id, target=[{"reference": target}], recorded=recorded, agent=agent)


def group(id: str, *members: Any, filters: tuple[str, ...] = (), **more: Any) -> Json:
    """A Group of what the members refer to (text, or a whole member)."""
    listed = [each if isinstance(each, dict) else {"entity": {"reference": each}} for each in members]
    extensions = [
        {"url": FILTER, "valueExpression": {"language": "application/x-fhir-query", "expression": each}} for each in filters
    ]
    return of(
        "Group", id, type="person", actual=bool(members), **({"member": listed} if listed else {}),
        **({"modifierExtension": extensions} if extensions else {}), **more,
    )  # fmt: skip


def past(reference: str) -> Json:
    return {"entity": {"reference": reference}, "period": {"end": "2020-01-01"}}


def inactive(reference: str) -> Json:
    return {"entity": {"reference": reference}, "inactive": True}


POPULATION: tuple[Json, ...] = (
    of("Practitioner", "d", name=[{"family": "Who"}]),
    of("Organization", "o", name="Ward"),
    patient("p1", birthDate="1980-02-29", active=True, _birthDate={"extension": [{"url": "http://a.example", "valueBoolean": True}]}),
    patient("p2", birthDate="1990", link=[{"other": {"reference": "Patient/p1"}, "type": "seealso"}]),
    patient("p3", active=False),
    patient("p4"),
    observation("o1", "Patient/p1", valueQuantity={"value": 72.50, "unit": "/min"}),
    observation("o2", "Patient/p2", "718-7", effectiveDateTime="2026-01-02"),
    observation("o3", "Patient/p3"),
    observation("o4", "Patient/p4", "718-7"),
    observation("o-device", "Device/x"),
    of("Condition", "c1", subject={"reference": "Patient/p1"}, code={"text": "a"}),
    of("Condition", "c2", subject={"reference": "Patient/p2"}, code={"text": "b"}),
    of(
        "Appointment", "both", status="proposed",
        participant=[{"actor": {"reference": f"Patient/{id}"}, "status": "accepted"} for id in ("p1", "p2")],
    ),
    of("Device", "pump", patient={"reference": "Patient/p3"}),
    of("Device", "free"),
    of("Binary", "scan", contentType="text/plain", data="aGVsbG8="),
    of(
        "DocumentReference", "r1", status="current", subject={"reference": "Patient/p1"},
        content=[
            {"attachment": {"contentType": "text/plain", "url": "Binary/scan"}},
            {"attachment": {"contentType": "text/plain", "data": "aGVsbG8="}},
        ],
    ),
    provenance("of-o1-old", "Observation/o1", "2026-01-01T00:00:00Z"),
    provenance("of-o1", "Observation/o1", "2026-01-02T00:00:00Z"),
    provenance("of-o4", "Observation/o4"),
    provenance("of-p2", "Patient/p2"),
    provenance("of-d", "Practitioner/d"),
    group("g", "Patient/p1", "Patient/p2", past("Patient/p3"), inactive("Patient/p4")),
    group("nested", "Group/g", "Patient/p3"),
    group("loop", "Group/loop", "Group/nested", "Group/gone"),
    group("hemoglobin", "Group/nested", filters=("Observation?code=http://loinc.org|718-7",)),
    group("everybody-with", filters=("Observation?code=718-7", "Patient?_id=p2,p3,p4")),
    group(
        "characteristics", characteristic=[{"code": {"text": "a"}, "valueBoolean": True, "exclude": False}]
    ),
)  # fmt: skip
"""In the order in which they are written."""
