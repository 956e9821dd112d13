"""Patient/[id]/$access-log (docs/api/operation/access-log.md)."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from access.worlds import Ask, Told, World

from conformance.load import definitions
from conformance.validate import Validator
from fhir_server.audit import Audit
from fhir_server.auditing.happenings import CODES
from fhir_server.messages import FhirRequest, Identity
from fhir_server.operations.access_log import shown_to_patient
from resources import documents, structure
from resources.stores.chain import Chain
from smart_auth.access import Access
from smart_auth.happenings import Happening

LOG = "Patient/1/$access-log"
SECRET_NAME, ADDRESS = "Secret Name", "127.0.0.1"
CALLERS = {
    "everything": Access("loader", "loader", "system/*.cruds", 0),
    "doctor": Access(
        "anna",
        "notes",
        "user/*.cruds",
        0,
        role="practitioner",
        fhir_user="Practitioner/1",
        user_name="Dr Anna",
        client_name="Notes",
    ),
    "patient": Access("pat", "app", "patient/*.rs", 0, role="patient", fhir_user="Patient/1", patient="1", user_name=SECRET_NAME),
    "other": Access("lee", "app", "patient/*.rs user/*.rs", 0, role="patient", fhir_user="Patient/2", patient="2"),
    "wide": Access("eve", "app", "patient/*.rs user/*.rs launch/patient", 0, role="patient", fhir_user="Patient/2", patient="1"),
    "auditor": Access("olga", "review", "user/*.rs", 0, role="auditor"),
    "analyst": Access("ali", "review", "user/*.rs", 0, role="analyst"),
    "app": Access("tool", "tool", "patient/*.rs", 0, patient="1"),
    "no patients": Access("tool2", "tool2", "system/Observation.rs system/AuditEvent.rs", 0),
}
VALIDATOR = Validator(definitions())


def observation(id: str, patient: str) -> dict[str, Any]:
    code = {"text": "x"}
    return {
        "resourceType": "Observation",
        "id": id,
        "status": "final",
        "code": code,
        "subject": {"reference": f"Patient/{patient}"},
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two patients with observations, and a doctor, a patient and another who looked at them; two more patients."""
    patients = [{"resourceType": "Patient", "id": id} for id in ("1", "2", "3", "4")]
    doctor = {"resourceType": "Practitioner", "id": "1", "name": [{"family": "Anna"}]}
    content = [*patients, doctor, observation("a", "1"), observation("b", "2"), observation("c", "1")]
    world = World(tmp_path_factory.mktemp("log"), content, CALLERS)
    assert world.get("doctor", "Observation/a").status == 200
    assert world.get("doctor", "Observation?code:text=x").status == 200
    assert world.get("other", "Observation/b").status == 200
    assert world.get("other", "Patient/1").status == 404
    assert world.get("doctor", "Patient/1/$everything").status == 200
    yield world
    world.close()


def events(told: Told) -> list[dict[str, Any]]:
    assert told.status == 200, told.body
    return [entry["resource"] for entry in documents.decode(told.body).get("entry", ())]


def requestor(event: dict[str, Any]) -> dict[str, Any]:
    [found] = [agent for agent in event["agent"] if agent["requestor"]]
    return found


@pytest.mark.parametrize(
    ("caller", "path", "status"),
    [
        ("patient", LOG, 200),
        ("app", LOG, 200),
        ("auditor", LOG, 200),
        ("everything", LOG, 200),
        ("doctor", LOG, 403),
        ("analyst", LOG, 403),
        ("wide", LOG, 404),
        ("other", LOG, 404),
        ("no patients", LOG, 403),
        ("", LOG, 401),
        ("auditor", "Patient/none/$access-log", 404),
        ("auditor", "Patient/1/$access-log?name=x", 400),
        ("patient", "Patient/1/$access-log?date=yesterday", 400),
        ("patient", "Patient/1/$access-log?_cursor=x", 400),
    ],
)
def test_who_may_see_it(world: World, caller: str, path: str, status: int) -> None:
    """The patient and whoever was given that record, auditors and clients that see all AuditEvents; nobody else."""
    assert world.get(caller, path).status == status


def test_auditors_see_every_access_to_the_record_newest_first(world: World) -> None:
    """Reads of its documents, searches that found some, $everything, writes and refused attempts; not what is about others alone."""
    found = events(world.get("auditor", f"{LOG}?_count=100"))
    assert [event["recorded"] for event in found] == sorted((event["recorded"] for event in found), reverse=True)
    kinds = {(requestor(event)["who"]["identifier"]["value"], event["subtype"][0]["code"], event["outcome"]) for event in found}
    assert kinds >= {
        ("anna", "read", "0"), ("anna", "search-type", "0"), ("anna", "operation", "0"), ("lee", "read", "4"),
        ("loader", "transaction", "0"),
    }  # fmt: skip
    assert ("lee", "read", "0") not in kinds
    assert any("network" in agent for event in found for agent in event["agent"])


def test_patients_see_who_and_what_kind_and_nothing_of_others(world: World) -> None:
    """Names and roles of professionals and apps; no addresses, queries, sign-in names, other patients; every event is valid."""
    told = world.get("patient", f"{LOG}?_count=100")
    found = events(told)
    doctors = [event for event in found if requestor(event).get("name") == "Dr Anna"]
    assert {event["subtype"][0]["code"] for event in doctors} == {"read", "search-type", "operation"}
    for event in doctors:
        assert requestor(event)["role"] == [{"text": "practitioner"}]
        assert requestor(event)["who"] == {"reference": "Practitioner/1"}
        assert next(agent["who"]["display"] for agent in event["agent"] if not agent["requestor"]) == "Notes"
    for event in found:
        assert [e["what"]["reference"] for e in event["entity"] if "reference" in e["what"]] == ["Patient/1"]
        body = documents.encode(event)
        assert structure.check(body) == []
        assert [issue for issue in VALIDATOR.check("AuditEvent", event) if issue.severity == "error"] == []
    text = told.body.decode()
    for hidden in (
        "Patient/2",
        "Observation/b",
        ADDRESS,
        SECRET_NAME,
        '"anna"',
        '"lee"',
        '"query"',
        b64encode(b"Observation?").decode()[:12],
    ):
        assert hidden not in text, hidden


@pytest.mark.parametrize(("name", "shown"), [("Dr Anna", "Dr Anna"), ("anna", None)])
def test_staff_without_a_display_name_are_not_called_by_their_sign_in_name(name: str, shown: str | None) -> None:
    """Their role and reference say who they are."""
    access = Access("anna", "notes", "user/*.rs", 0, role="practitioner", fhir_user="Practitioner/1", user_name=name)
    request = FhirRequest("GET", "Patient/1", type="Patient", id="1", base="http://server/fhir")
    [made] = Audit("http://server/fhir").success(1, Identity("anna", "notes", "10.0.0.7", access), request, "read", ("Patient/1",))
    event = documents.decode(Chain().links().stamp([made], 1, 1_790_000_000_000_000))
    seen = shown_to_patient(event, "1")
    assert requestor(seen).get("name") == shown
    assert requestor(seen)["who"] == {"reference": "Practitioner/1"} and '"anna"' not in documents.encode(seen).decode()


def test_nobodys_sign_in_name_is_shown_for_what_happened_in_sign_in() -> None:
    """Of grants, tokens and launches for a record patients see the app, and of whoever did it that somebody did."""
    for code in CODES:
        what = Happening(code, "it happened", subject="anna", client="app", about=("user/bob", "client/c1"), patient="1")
        made = documents.decode(Chain().links().stamp([Audit("http://server/fhir").happening(what)], 1, 1_790_000_000_000_000))
        shown = shown_to_patient(made, "1")
        assert shown["agent"][0] == {"requestor": True}
        assert shown["agent"][1]["who"] == {"identifier": {"value": "app"}}
        assert not any(name in documents.encode(shown) for name in (b"anna", b"bob")), code
        assert [issue for issue in VALIDATOR.check("AuditEvent", shown) if issue.severity == "error"] == []


@pytest.mark.parametrize("reference", ["Patient/2", "RelatedPerson/2", "Person/2", "http://elsewhere.org/Patient/1"])
def test_nobody_else_is_named_by_what_clients_recorded(reference: str) -> None:
    """An AuditEvent that a client sent may call a person whatever it likes."""
    type = {"coding": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110150"}]}
    agents = [{"who": {"reference": reference, "display": "Kim"}, "requestor": True, **more} for more in ({}, {"type": type})]
    shown = shown_to_patient({"resourceType": "AuditEvent", "agent": agents}, "1")
    assert all("who" not in agent for agent in shown["agent"])


def test_a_document_that_left_the_record_shows(world: World) -> None:
    """A doctor who moves an Observation from one patient to another stands in both logs, whatever the doctor may see."""
    for patient in ("3", "4"):
        assert world.ask("doctor", Ask("", "PUT", "Observation/moved", observation("moved", patient))).status in (200, 201)
    for patient in ("3", "4"):
        found = events(world.get("auditor", f"Patient/{patient}/$access-log?_count=5"))
        newest = next(event for event in found if event["subtype"][0]["code"] == "update")
        named = {entity["what"]["reference"] for entity in newest["entity"] if "reference" in entity.get("what", {})}
        assert named == {"Observation/moved", "Patient/3", "Patient/4"}


def test_it_is_paged_and_narrowed_by_date(world: World) -> None:
    """Following the next links gives every event once; a date leaves out what is before it."""
    whole = [event["id"] for event in events(world.get("auditor", f"{LOG}?_count=100"))]
    path, pages = f"{LOG}?_count=2", list[str]()
    while path:
        told = world.get("auditor", path)
        pages += [event["id"] for event in events(told)]
        links = {link["relation"]: link["url"] for link in documents.decode(told.body)["link"]}
        path = links.get("next", "").partition("/fhir/")[2]
    assert pages[-len(whole) :] == whole and len(set(pages)) == len(pages)
    assert events(world.get("auditor", f"{LOG}?date=ge2100-01-01")) == []
    assert len(events(world.get("auditor", f"{LOG}?date=ge2000-01-01&date=lt2100-01-01&_count=100"))) >= len(whole)


def test_by_post_with_parameters(world: World) -> None:
    """The same as a Parameters body."""
    body = {"resourceType": "Parameters", "parameter": [{"name": "_count", "valueInteger": 1}]}
    assert len(events(world.ask("patient", Ask("", "POST", LOG, body)))) == 1


def test_looking_is_recorded_and_names_this_patient_alone(world: World) -> None:
    """The newest event of the log is that of looking at it before."""
    world.get("auditor", LOG)
    newest = events(world.get("auditor", f"{LOG}?_count=1"))[0]
    assert requestor(newest)["who"]["identifier"]["value"] == "olga"
    named = {entity["what"]["reference"] for entity in newest["entity"] if "reference" in entity.get("what", {})}
    assert named == {"Patient/1"}


def test_it_is_in_the_capability_statement(world: World) -> None:
    """Among the operations of Patient."""
    statement = documents.decode(world.get("", "metadata").body)
    [patient] = [each for each in statement["rest"][0]["resource"] if each["type"] == "Patient"]
    assert "access-log" in [operation["name"] for operation in patient["operation"]]
