"""What users have let apps do, at the account page."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from access.consents.consenting import OPT_OUT, consent
from api.conftest import Running
from granting import SECRET, Browser, Form, granting, shows

from fhir_server.access.following import CHECKED

LABORATORY = "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A server on which nothing has been granted yet."""
    with granting(tmp_path) as running:
        yield running


def grant_ids(page: httpx.Response) -> list[str]:
    """The ids of the apps on an account page."""
    part = page.text.partition('<h2 id="apps">')[2].partition('<h2 id="sessions">')[0]
    return [piece.partition('"')[0] for piece in part.split('name="id" value="')[1:]]


def test_what_was_granted_is_listed_and_ended(running: Running) -> None:
    """[E7, E8] The account page says in words what an app may do; ending it ends access and refresh tokens at once."""
    browser = Browser(running.root)
    asked = ["launch/patient", "offline_access", "patient/Patient.rs", LABORATORY]
    page = browser.asked("launch/patient offline_access patient/Patient.rs patient/Observation.rs", "anna", "server")
    tokens = browser.redeem(browser.decide(page, asked), "server")
    account = browser.http.get("/account")
    for line in ("Diary", "See your laboratory results<", "Stay connected until you end it", "used within the last day"):
        assert line in account.text
    assert browser.read("Patient/anna", tokens["access_token"]).status_code == 200
    again = browser.redeem(browser.authorize("launch/patient patient/Patient.rs", "server"), "server")
    (id,) = grant_ids(account)
    csrf = Form(account).hidden["csrf"]
    after = browser.post("/account/apps", {"csrf": csrf, "id": id})
    assert "No app has access" in after.text
    for each in (tokens, again):
        assert browser.read("Patient/anna", each["access_token"]).status_code == 401
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    refused = httpx.post(f"{running.root}/oauth/token", data=refresh, auth=("server", SECRET))
    assert refused.status_code == 400 and refused.json()["error"] == "invalid_grant"


def test_nobody_ends_what_others_granted(running: Running) -> None:
    """Only one's own access is ended, ids that are none are answered alike, and a form of another site is refused."""
    anna, doc = Browser(running.root), Browser(running.root)
    tokens = anna.redeem(anna.decide(anna.asked("openid launch/patient patient/Patient.rs", "anna")))
    (id,) = grant_ids(anna.http.get("/account"))
    doc.sign_in(doc.http.get("/oauth/sign-in"), "doc")
    account = doc.http.get("/account")
    assert not grant_ids(account)
    csrf = Form(account).hidden["csrf"]
    answers = [doc.http.post("/account/apps", data={"csrf": csrf, "id": each}) for each in (id, "0" * 32, "", "x" * 500)]
    assert {(each.status_code, each.headers["location"]) for each in answers} == {(303, "/account#apps")}
    own = Form(anna.http.get("/account")).hidden["csrf"]
    for forged in ({"id": id}, {"id": id, "csrf": csrf}):
        assert anna.http.post("/account/apps", data=forged).status_code == 403
    assert (
        anna.http.post("/account/apps", data={"id": id, "csrf": own}, headers={"Origin": "https://evil.example"}).status_code == 403
    )
    assert httpx.post(f"{running.root}/account/apps", data={"id": id, "csrf": own}).status_code == 403
    assert anna.read("Patient/anna", tokens["access_token"]).status_code == 200


def test_ending_access_is_recorded(running: Running) -> None:
    """An AuditEvent says who ended which app's access."""
    browser = Browser(running.root)
    browser.decide(browser.asked("openid", "chief"))
    account = browser.http.get("/account")
    before = time.time()
    browser.post("/account/apps", {"csrf": Form(account).hidden["csrf"], "id": grant_ids(account)[0]})
    page = browser.asked("user/AuditEvent.rs", "chief")
    token = browser.redeem(browser.decide(page))["access_token"]
    events = browser.read("AuditEvent?_count=20&_sort=-date", token).json()["entry"]
    told = [event["resource"].get("outcomeDesc", "") for event in events]
    assert any("its user ended it at the account page" in text for text in told), (before, told)


def test_who_cannot_be_seen_any_more_is_not_named(running: Running) -> None:
    """A patient who keeps the record from the user by now is named no more; who was named before is on record."""
    doc = Browser(running.root)
    page = doc.choose(doc.asked("launch/patient patient/Patient.rs user/Consent.c", "doc"), patient="carl")
    token = doc.redeem(doc.decide(page))["access_token"]
    assert "for <bdi>Carl Smith</bdi>" in doc.http.get("/account").text
    denial = consent("carl", None, "carl", policyRule=OPT_OUT)
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.post(f"{running.root}/fhir/Consent", json=denial, headers=headers).status_code == 201
    time.sleep(2 * CHECKED)
    account = doc.http.get("/account")
    assert "Carl" not in shows(account) and "for <bdi>a patient whom you cannot see now</bdi>" in account.text
    assert len(grant_ids(account)) == 1
    chief = Browser(running.root)
    auditing = chief.redeem(chief.decide(chief.asked("user/AuditEvent.rs", "chief")))["access_token"]
    events = chief.read("AuditEvent?entity=Patient/carl&agent-name=Dr.%20Who", auditing).json()["entry"]
    assert any("sign-in pages" in str(event["resource"]["agent"]) for event in events)
