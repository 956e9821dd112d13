"""create: http://hl7.org/fhir/R4/http.html#create"""

import httpx
import pytest

from tests.api.conftest import FHIR

PATIENT = '{"resourceType":"Patient","id":"ignored","active":true}'


def test_gives_an_id_and_says_where(api: httpx.Client, base: str) -> None:
    """201 with an absolute Location of the first version; the id in the body does not count."""
    answer = api.post("Patient", content=PATIENT, headers=FHIR)
    assert answer.status_code == 201
    id = answer.json()["id"]
    assert id != "ignored"
    assert answer.headers["location"] == f"{base}/Patient/{id}/_history/1"
    assert answer.headers["etag"] == 'W/"1"'
    assert api.get(answer.headers["location"]).json() == answer.json()


@pytest.mark.parametrize(
    ("prefer", "kind"),
    [
        ("return=minimal", None),
        ("return=representation", "Patient"),
        ("return=OperationOutcome", "OperationOutcome"),
        ("handling=strict; return=minimal", None),
        ("wait=3", "Patient"),
    ],
)
def test_prefer_return(api: httpx.Client, prefer: str, kind: str | None) -> None:
    """Prefer chooses what comes back: http://hl7.org/fhir/R4/http.html#ops"""
    answer = api.post("Patient", content=PATIENT, headers=FHIR | {"Prefer": prefer})
    assert answer.status_code == 201
    assert (answer.json()["resourceType"] if answer.content else None) == kind


def test_unknown_preference_value(api: httpx.Client) -> None:
    """What is not understood in Prefer does not count: RFC 7240, section 2."""
    answer = api.post("Patient", content=PATIENT, headers=FHIR | {"Prefer": "return=everything"})
    assert answer.status_code == 201
    assert answer.json()["resourceType"] == "Patient"


def test_every_problem_is_told_with_its_place(api: httpx.Client) -> None:
    """A resource that breaks rules is 422 with one issue each, with FHIRPath expressions."""
    wrong = '{"resourceType":"Patient","gender":"x","birthDate":"2020-02-31","contact":[{"gender":"male"}]}'
    answer = api.post("Patient", content=wrong, headers=FHIR)
    assert answer.status_code == 422
    places = {issue.get("expression", [""])[0] for issue in answer.json()["issue"] if issue["severity"] == "error"}
    assert {"Patient.gender", "Patient.birthDate", "Patient.contact[0]"} <= places


def test_audit_events_of_clients_are_taken(api: httpx.Client) -> None:
    """Clients may add AuditEvents of their own: http://hl7.org/fhir/R4/auditevent.html"""
    event = (
        '{"resourceType":"AuditEvent","type":{"system":"http://terminology.hl7.org/CodeSystem/audit-event-type","code":"rest"},'
        '"recorded":"2026-01-01T00:00:00Z","agent":[{"requestor":true}],"source":{"observer":{"display":"app"}}}'
    )
    answer = api.post("AuditEvent", content=event, headers=FHIR)
    assert answer.status_code == 201, answer.text
