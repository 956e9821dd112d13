"""AuditEvents follow IHE's Basic Audit Log Patterns (https://profiles.ihe.net/ITI/BALP/content.html), and all are valid FHIR R4."""

from typing import Any

import msgspec
import pytest

from conformance.load import definitions
from conformance.validate import Validator
from fhir_server.audit import ACTIONS, MOST_NAMED, NONE, Audit
from fhir_server.messages import FhirRequest, Identity, Trail
from resources import structure
from resources.stores.chain import Chain
from smart_auth.access import Access
from smart_auth.happenings import Happening

BASE = "https://fhir.example.org/fhir"
NOW = 1_790_000_000_000_000
VALIDATOR = Validator(definitions())

USER = Identity(
    "anna", "app", "10.0.0.7",
    Access("anna", "app", "user/*.rs", 0, role="practitioner", fhir_user="Practitioner/1", client_name="An app", user_name="Dr Anna"),
)  # fmt: skip
PATIENT = Identity(
    "pat", "app", "10.0.0.7", Access("pat", "app", "patient/*.rs", 0, role="patient", fhir_user="Patient/1", user_name="Pat P")
)
BACKEND = Identity("robot", "robot", "10.0.0.8", Access("robot", "robot", "system/*.rs", 0))
NOBODY = Identity(address="10.0.0.9", anonymous=True)
CALLERS = {"user": USER, "patient": PATIENT, "backend": BACKEND, "nobody": NOBODY}

DCM, PARTICIPATION = "http://dicom.nema.org/resources/ontology/DCM", "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
CUSTODIAN = ("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian")
SOURCE, DESTINATION, APPLICATION = (DCM, "110153"), (DCM, "110152"), (DCM, "110150")
RECIPIENT, AUTHOR = (PARTICIPATION, "IRCP"), (PARTICIPATION, "AUT")

RULES = {
    "create": ("Create", "C", SOURCE, DESTINATION, AUTHOR),
    "read": ("Read", "R", DESTINATION, SOURCE, RECIPIENT),
    "vread": ("Read", "R", DESTINATION, SOURCE, RECIPIENT),
    "update": ("Update", "U", SOURCE, DESTINATION, AUTHOR),
    "patch": ("Update", "U", SOURCE, DESTINATION, AUTHOR),
    "delete": ("Delete", "D", APPLICATION, CUSTODIAN, AUTHOR),
    "search-type": ("Query", "E", SOURCE, DESTINATION, RECIPIENT),
    "search-system": ("Query", "E", SOURCE, DESTINATION, RECIPIENT),
}
"""Interaction -> profile, action, and the types of the agents client, server and user that the profile has."""


def event(made: bytes) -> dict[str, Any]:
    """The event as a store keeps it. Fails unless it is valid."""
    body = Chain().links().stamp([made], 1, NOW)
    found: dict[str, Any] = msgspec.json.decode(body)
    assert structure.check(body) == []
    assert [issue for issue in VALIDATOR.check("AuditEvent", found) if issue.severity == "error"] == []
    return found


def codes(each: dict[str, Any]) -> set[tuple[str, str]]:
    return {(coding["system"], coding["code"]) for coding in each["type"]["coding"]}


def request(interaction: str, type: str = "Observation", id: str = "5", **more: Any) -> FhirRequest:
    path = type if interaction.startswith("search") else f"{type}/{id}"
    known = {} if interaction.startswith("search") else {"id": id}
    return FhirRequest("GET", path, type=type, headers={"x-request-id": "r-1"}, **known, **more)


def entities(found: dict[str, Any], type: str) -> list[dict[str, Any]]:
    return [each for each in found["entity"] if each.get("type", {}).get("code") == type]


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("subject", ["", "Patient/9"])
@pytest.mark.parametrize("interaction", RULES)
def test_what_was_carried_out_has_all_that_its_profile_asks_for(interaction: str, subject: str, caller: str) -> None:
    """Agents client and server with `who` and network, the user where there is one; the data or the query; the patient; the request."""
    profile, action, client, server, user = RULES[interaction]
    who, body = CALLERS[caller], b'{"subject":{"reference":"%b"}}' % (subject or "Group/1").encode()
    touched = ("Observation/5/_history/2",)
    [made] = Audit(BASE, (BASE,)).success(NOW, who, request(interaction), interaction, touched, [body])
    found = event(made)
    name = f"{'Patient' if subject else ''}{profile}"
    assert found["meta"]["profile"] == [f"https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.{name}"]
    assert (found["type"]["code"], found["action"], found["outcome"]) == ("rest", action, "0")
    assert [each["code"] for each in found["subtype"]] == [interaction]
    for type in (client, server):
        [agent] = [each for each in found["agent"] if type in codes(each)]
        assert agent["who"] and agent["network"] and "media" not in agent
    people = [each for each in found["agent"] if user in codes(each)]
    assert len(people) == (1 if caller in ("user", "patient") else 0)
    for person in people:
        assert person["requestor"] and person["who"]["reference"] and "network" not in person and "media" not in person
    assert sum(each["requestor"] for each in found["agent"]) == 1
    [object] = entities(found, "2")
    assert object["role"]["code"] == ("24" if profile == "Query" else "4")
    assert object.get("query") if profile == "Query" else object["what"]["reference"] == touched[0]
    assert [each["what"]["reference"] for each in entities(found, "1") if each["role"]["code"] == "1"] == (
        [subject] if subject else []
    )
    assert [each["what"]["identifier"]["value"] for each in entities(found, "XrequestId")] == ["r-1"]


def test_the_user_is_named_with_role_and_name_but_a_patient_without() -> None:
    """A patient's name is content of a record: the reference says who it is."""
    audit = Audit(BASE)
    for who, expected in ((USER, ("Practitioner/1", "practitioner", "Dr Anna")), (PATIENT, ("Patient/1", "patient", None))):
        found = event(audit.success(NOW, who, request("read"), "read", ("Observation/5",))[0])
        [person] = [each for each in found["agent"] if each["requestor"]]
        assert (person["who"]["reference"], person["role"][0]["text"], person.get("name")) == expected
        assert person["who"]["identifier"]["value"] == who.subject
        assert "Pat P" not in str(found)


def test_a_purpose_is_told_of_whoever_asks() -> None:
    """Of the user, or the client that acts for itself (http://terminology.hl7.org/CodeSystem/v3-ActReason)."""
    for who in (USER, BACKEND):
        asked = request("read", trail=Trail(purpose="BTG"))
        found = event(Audit(BASE).success(NOW, who, asked, "read", ("Observation/5",))[0])
        [told] = [each for each in found["agent"] if "purposeOfUse" in each]
        assert told["requestor"] and told["purposeOfUse"][0]["coding"][0]["code"] == "BTG"


@pytest.mark.parametrize("interaction", [*ACTIONS, NONE])
def test_refusals_are_valid_and_claim_no_profile(interaction: str) -> None:
    """They name what the caller named, and why."""
    asked = request(interaction, "Patient", query="name=x")
    found = event(Audit(BASE).failure(NOW, NOBODY, asked, interaction, 403, "forbidden"))
    assert "profile" not in found["meta"]
    assert (found["outcome"], found["outcomeDesc"]) == ("4", "403 forbidden")


@pytest.mark.parametrize("interaction", [*ACTIONS])
def test_everything_that_is_recorded_is_valid(interaction: str) -> None:
    """Also what BALP has no profile for; of several patients all are named, and no profile is claimed."""
    bodies = [b'{"subject":{"reference":"Patient/%d"}}' % number for number in range(3)]
    [made] = Audit(BASE).success(NOW, USER, request(interaction), interaction, ("Observation/5", "Patient/7"), bodies)
    found = event(made)
    assert "profile" not in found["meta"]
    named = {each["what"]["reference"] for each in entities(found, "1")}
    assert named == {"Patient/7", "Patient/0", "Patient/1", "Patient/2"}


def test_no_patient_is_cut_off_however_many() -> None:
    """An event names so many; what is more is in further events of the same request."""
    bodies = [b'{"subject":{"reference":"Patient/%d"}}' % number for number in range(1_200)]
    touched = tuple(f"Observation/{number}" for number in range(1_200))
    made = [event(each) for each in Audit(BASE).success(NOW, USER, request("search-type"), "search-type", touched, bodies)]
    assert len(made) == 5
    assert all(len(entities(each, "XrequestId")) == 1 for each in made)
    named = [each["what"]["reference"] for found in made for each in found["entity"] if "reference" in each.get("what", {})]
    assert len(named) == len(set(named)) == 2_400 and max(len(found["entity"]) for found in made) <= MOST_NAMED + 2


HELD = {"resourceType": "Patient", "id": "1"}


def bundle(*entries: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"resourceType": "Bundle", "type": "collection", "entry": entries})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"subject":{"reference":"Patient/1"}}', ["1"]),
        (b'{"subject":{ "reference" :\n"Patient/1/_history/3"}}', ["1"]),
        (b'{"a":[{"reference":"Patient/1"},{"reference":"Patient/2"},{"reference":"Patient/1"}]}', ["1", "2"]),
        (b'{"a":{"reference":"https://fhir.example.org/fhir/Patient/1"}}', ["1"]),
        (b'{"a":{"reference":"https://elsewhere.org/fhir/Patient/1"}}', []),
        (b'{"a":{"reference":"Patient\\/1"}}', ["1"]),
        (b'{"a":{"reference":"\\u0050atient/1"}}', ["1"]),
        (b'{"a":{"refer\\u0065nce":"Patient/1"}}', ["1"]),
        (b'{"a":{"display":"Patient/1"}}', []),
        (b'{"a":{"reference":"#Patient/1"}}', []),
        (b'{"a":{"reference":"Practitioner/1"},"text":"\\u003cdiv\\u003e"}', []),
        (bundle({"resource": HELD}), ["1"]),
        (bundle({"fullUrl": "urn:uuid:1", "resource": HELD}, {"resource": {"resourceType": "Patient", "id": "2"}}), ["1", "2"]),
        (bundle({"fullUrl": f"{BASE}/Patient/1", "resource": HELD}), ["1"]),
        (bundle({"fullUrl": "https://elsewhere.org/fhir/Patient/1", "resource": HELD}), []),
        (bundle({"resource": {"resourceType": "Bundle", "entry": [{"resource": HELD}]}}), ["1"]),
        (bundle({"resource": HELD}).replace(b"Patient", b"\\u0050atient"), ["1"]),
        (bundle({"resource": {"id": "o", "contained": [HELD]}}), []),
        (bundle({"resource": {"resourceType": "Patient", "id": '1"'}}, {"resource": {"resourceType": "Patient"}}), []),
        (b'{"resourceType":"Patient","id":"1"}', []),
    ],
)
def test_patients_are_found_however_a_reference_is_spelled(body: bytes, expected: list[str]) -> None:
    """References to patients of this server, relative and absolute, with versions, with escapes; and patients within a Bundle."""
    from fhir_server.auditing.patients import patients_of

    assert patients_of([body], (BASE,)) == expected


@pytest.mark.parametrize(
    "code", ["login", "logout", "grant", "token", "revoke", "user", "client", "keys", "credentials", "launch", "break-glass"]
)
def test_sign_in_and_administration_are_recorded_with_the_codes_of_dicom(code: Any) -> None:
    """A type and a subtype of the official value sets, the user, the app and where it was, and whom it was about."""
    types = {"login": "110122", "logout": "110123", "token": "110126", "user": "110137", "grant": "110136", "break-glass": "110127"}
    what = Happening(
        code, "it happened", subject="anna", client="app", address="10.0.0.7", about=("user/bob", "client/c1"), patient="1"
    )
    found = event(Audit(BASE).happening(what))
    assert found["subtype"][0]["system"] == DCM
    assert types.get(code, found["subtype"][0]["code"]) == found["subtype"][0]["code"]
    assert [agent["who"]["identifier"]["value"] for agent in found["agent"]] == ["anna", "app"]
    assert found["agent"][1]["network"]["address"] == "10.0.0.7"
    assert [entity["role"]["code"] for entity in found["entity"]] == ["11", "13", "1"]
    assert found["entity"][2]["what"] == {"reference": "Patient/1"}
