"""Conditional create (https://hl7.org/fhir/R4/http.html#ccreate)."""

import httpx
import pytest
from api.making import SYSTEM, count, patient, post, texts, unique


def test_nothing_matches(api: httpx.Client) -> None:
    """The resource is created."""
    value = unique()
    answer = post(api, patient(value), If_None_Exist=f"identifier={SYSTEM}|{value}")
    assert answer.status_code == 201
    assert answer.headers["etag"] == 'W/"1"'
    assert answer.json()["identifier"][0]["value"] == value


@pytest.mark.parametrize(
    "form", ["identifier={}", "?identifier={}", "Patient?identifier={}", "identifier=http%3A%2F%2Fexample.org%2Fmrn%7C{}"]
)
def test_one_matches(api: httpx.Client, form: str) -> None:
    """The one that is there is answered with 200, and nothing is written; the header may say the criteria in several ways."""
    value = unique()
    first = post(api, patient(value))
    second = post(api, patient(value, active=True), If_None_Exist=form.format(value))
    assert second.status_code == 200
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["etag"] == first.headers["etag"]
    assert second.json() == first.json()
    assert count(api, "Patient", value) == 1


def test_several_match(api: httpx.Client) -> None:
    """412, and the text names two of them."""
    value = unique()
    names = [post(api, patient(value)).json()["id"] for _ in range(2)]
    answer = post(api, patient(value), If_None_Exist=f"identifier={value}")
    assert answer.status_code == 412
    assert answer.json()["issue"][0]["code"] == "multiple-matches"
    assert all(name in texts(answer)[0][1] for name in names)
    assert count(api, "Patient", value) == 2


@pytest.mark.parametrize("criteria", ["", "nonsense=1", "_count=1", "_sort=birthdate", "birthdate=yesterday", "identifier="])
def test_criteria_that_cannot_be_used(api: httpx.Client, criteria: str) -> None:
    """Criteria that select nothing in particular or cannot be read are refused, never taken for 'anything'."""
    answer = post(api, patient(), If_None_Exist=criteria)
    assert answer.status_code == 400, answer.text


def test_a_deleted_match_does_not_count(api: httpx.Client) -> None:
    """What was deleted does not keep a new one from being made."""
    value = unique()
    first = post(api, patient(value)).json()["id"]
    assert api.delete(f"Patient/{first}").status_code == 204
    again = post(api, patient(value), If_None_Exist=f"identifier={value}")
    assert again.status_code == 201
    assert again.json()["id"] != first


def test_prefer_minimal(api: httpx.Client) -> None:
    """A match is answered without content if that is preferred."""
    value = unique()
    post(api, patient(value))
    answer = post(api, patient(value), If_None_Exist=f"identifier={value}", Prefer="return=minimal")
    assert (answer.status_code, answer.content) == (200, b"")
    assert "location" in answer.headers


def test_a_match_is_recorded(api: httpx.Client) -> None:
    """The AuditEvent of a create that found its resource names that resource: the caller saw it."""
    value = unique()
    name = f"Patient/{post(api, patient(value)).json()['id']}"
    post(api, patient(value), If_None_Exist=f"identifier={value}")
    events = api.get("AuditEvent", params={"entity": name, "_count": "10"}).json()
    assert events["total"] == 2
