"""The consent page over HTTP: what is shown, what a form may post, what is granted."""

import html
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.conftest import Running
from granting import BACK, Browser, Form, answered, granting, scopes

from fhir_server.cli.authorization.adding import Asked, new_client
from smart_auth.client_keys.addresses import Allowed

ASKED = "openid fhirUser launch/patient offline_access patient/Patient.rs patient/Observation.rs patient/Condition.rs"
OBSERVATIONS = "patient/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category"
CONDITIONS = "patient/Condition.rs?category=http://terminology.hl7.org/CodeSystem/condition-category"

SEEN_BY_AUDITORS = {f"user/{type}.rs" for type in ("AuditEvent", "Practitioner", "PractitionerRole", "Organization", "Patient")}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with granting(tmp_path_factory.mktemp("consent")) as running:
        yield running


@pytest.fixture
def browser(running: Running) -> Browser:
    return Browser(running.root)


def test_exactly_what_is_kept_is_granted(browser: Browser) -> None:
    """[B7, C15] Types that the user unticks are not granted, all others are, and words come back as they were asked."""
    page = browser.asked(ASKED, "anna")
    kept = ["openid", "fhirUser", "launch/patient", "offline_access", "patient/Patient.rs", "patient/Condition.rs"]
    tokens = browser.redeem(browser.decide(page, kept))
    assert scopes(tokens) == set(kept)
    assert browser.read("Patient/anna", tokens["access_token"]).status_code == 200
    assert browser.read("Condition?patient=anna", tokens["access_token"]).status_code == 200
    assert browser.read("Observation?patient=anna", tokens["access_token"]).status_code == 403
    assert browser.read("Observation/lab", tokens["access_token"]).status_code == 403


def test_all_that_was_asked_for(browser: Browser) -> None:
    """[C15] Whoever changes nothing on the page grants what was asked for, in the words of the request."""
    assert scopes(browser.redeem(browser.decide(browser.asked(ASKED, "anna")))) == set(ASKED.split())


def test_older_scopes_come_back_as_they_were_asked(browser: Browser) -> None:
    """[C15, C16] Scopes of version 1 are offered and granted in their own words."""
    asked = "launch/patient patient/Observation.read patient/*.read"
    assert scopes(browser.redeem(browser.decide(browser.asked(asked, "anna")))) == set(asked.split())


def test_types_are_narrowed_to_categories(browser: Browser) -> None:
    """[B8] Ticking categories gives granular scopes in place of the type's own; the token then sees these documents only."""
    page = browser.asked("launch/patient patient/Condition.rs patient/Observation.rs patient/Patient.rs", "anna")
    offered = set(Form(page).boxes)
    narrow = [f"{OBSERVATIONS}|laboratory", f"{CONDITIONS}|problem-list-item", f"{CONDITIONS}|encounter-diagnosis"]
    us_core = [f"{OBSERVATIONS}|{code}" for code in ("vital-signs", "social-history", "survey")]
    us_core.append("patient/Condition.rs?category=http://hl7.org/fhir/us/core/CodeSystem/condition-category|health-concern")
    us_core.append("patient/Observation.rs?category=http://hl7.org/fhir/us/core/CodeSystem/us-core-category|sdoh")
    assert {*narrow, *us_core} <= offered
    ticked = [value for value, checked in Form(page).boxes.items() if checked]
    tokens = browser.redeem(browser.decide(page, [*ticked, *narrow]))
    assert scopes(tokens) == {"launch/patient", "patient/Patient.rs", *narrow}
    assert browser.read("Observation/lab", tokens["access_token"]).status_code == 200
    assert browser.read("Observation/pulse", tokens["access_token"]).status_code in (403, 404)
    found = browser.read("Observation?patient=anna", tokens["access_token"]).json()
    assert [entry["resource"]["id"] for entry in found["entry"]] == ["lab"]


def test_what_the_app_asked_for_in_vain(browser: Browser) -> None:
    """The page names what the app asked for and cannot have here, and what the user's role does not have."""
    page = browser.asked("user/Patient.rs user/Observation.rs patient/Teapot.rs <b>bold</b>", "desk")
    text = html.unescape(re.sub(r"<[^>]+>", "", page.text))
    assert "It also asked for <b>bold</b>, patient/Teapot.rs, which it cannot have here." in text
    assert "It also asked for user/Observation.rs, which your account does not reach." in text
    assert "<b>bold" not in page.text
    assert scopes(browser.redeem(browser.decide(page))) == {"user/Patient.rs"}
    assert "It also asked" not in Browser(browser.root).asked(ASKED, "anna").text


def test_a_long_list_in_vain_is_cut(browser: Browser) -> None:
    """Ten are named, the others counted."""
    page = browser.asked(f"user/Patient.rs {' '.join(f'word{number}' for number in range(25))}", "doc")
    assert "word9 and 15 more" in page.text and "word10" not in page.text


def test_refusing_tells_the_app_so(browser: Browser) -> None:
    """The app hears access_denied and its state; nothing can be granted afterwards."""
    page = browser.asked(ASKED, "anna")
    told = answered(browser.decide(page, [], "deny"))
    assert told["error"] == "access_denied" and told["state"] == "st" and "code" not in told
    again = browser.decide(page)
    assert again.status_code == 400 and "start again" in again.text


def test_nothing_chosen_is_asked_again(browser: Browser) -> None:
    """Allow without a single tick shows the page again, nothing ticked, and says what to do."""
    again = browser.decide(browser.asked(ASKED, "anna"), [])
    assert again.status_code == 400 and "Choose at least one" in again.text
    assert not any(Form(again).boxes.values())
    assert scopes(browser.redeem(browser.decide(again, ["openid"]))) == {"openid"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("another type", [("scope", "patient/Encounter.rs")]),
        ("another level", [("scope", "user/Patient.rs")]),
        ("a system", [("scope", "system/*.rs")]),
        ("more letters", [("scope", "patient/Patient.cruds")]),
        ("a wildcard", [("scope", "patient/*.rs")]),
        ("another word", [("scope", "online_access")]),
        ("two scopes in one", [("scope", "patient/Patient.rs patient/Encounter.rs")]),
        ("an unknown search parameter", [("scope", "patient/Observation.rs?nonsense=1")]),
        ("a category that is none", [("scope", "patient/Observation.rs?category")]),
        ("another decision", [("decision", "ALLOW")]),
        ("two decisions", [("decision", "deny"), ("decision", "allow")]),
        ("no decision", []),
        ("no token", [("csrf", "")]),
        ("another token", [("csrf", "A" * 43)]),
        ("a request that is none", [("request", "x" * 43)]),
    ],
)
def test_a_changed_form_grants_nothing(browser: Browser, name: str, change: list[tuple[str, str]]) -> None:
    """[B7] Every change of the form is refused with a page, and the app hears nothing; the honest form still works after it."""
    page = browser.asked(ASKED, "anna")
    form, changed = Form(page), {field for field, _ in change}
    fields = [(field, value) for field, value in form.fields if field not in changed]
    decided = [] if "decision" in changed or not change else [("decision", "allow")]
    answer = browser.post("/oauth/consent", [*fields, ("scope", "patient/Patient.rs"), *decided, *change])
    assert answer.status_code in (400, 403), answer.headers
    assert "location" not in answer.headers and "code=" not in answer.text
    assert "patient/Encounter" not in answer.text and "nonsense" not in answer.text
    assert answered(browser.decide(page))["code"]


def test_a_form_of_another_site_grants_nothing(browser: Browser) -> None:
    """A page of another origin that posts the form with the user's cookies, token and all, is refused."""
    page = browser.asked(ASKED, "anna")
    body = {**Form(page).hidden, "scope": "patient/Patient.rs", "decision": "allow"}
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert browser.http.post("/oauth/consent", data=body, headers=headers).status_code == 403


def test_a_form_counts_once(browser: Browser) -> None:
    """The same consent sent twice gives one code."""
    page = browser.asked(ASKED, "anna")
    first, second = browser.decide(page), browser.decide(page)
    assert "code" in answered(first) and second.status_code == 400


def test_a_form_sent_many_times_at_once_counts_once(browser: Browser) -> None:
    """Eight windows send the same consent at the same moment: one code is given out, the others are told that it is over."""
    form = Form(browser.asked(ASKED, "anna"))
    fields = form.hidden | {"scope": "patient/Patient.rs", "decision": "allow"}
    cookies = dict(browser.http.cookies)

    def send(_: int) -> int:
        return httpx.post(
            f"{browser.root}/oauth/consent", data=fields, cookies=cookies, headers={"Origin": browser.root}
        ).status_code

    with ThreadPoolExecutor(8) as windows:
        assert sorted(windows.map(send, range(8))) == [303, *[400] * 7]


def test_nobody_consents_for_somebody_else(running: Running) -> None:
    """Without a sign-in the page leads to it; another user's token does not fit; a request in which somebody chose a patient is theirs."""
    anna, doc = Browser(running.root), Browser(running.root)
    page = anna.asked(ASKED, "anna")
    asked = Form(page).hidden
    stranger = Browser(running.root).http.get("/oauth/consent", params={"request": asked["request"]})
    assert stranger.status_code == 303 and stranger.headers["location"] == f"/oauth/sign-in?request={asked['request']}"
    doc.sign_in(doc.http.get("/oauth/sign-in"), "doc")
    assert doc.http.get("/oauth/consent", params={"request": asked["request"]}).status_code == 403
    assert doc.decide(page).status_code == 403
    assert answered(anna.decide(page))["code"]


def test_the_page_cannot_be_framed_or_scripted(browser: Browser) -> None:
    """Names of apps and patients are text, the page is in no frame and no cache, and its form leads to the app's origin alone."""
    page = browser.asked(ASKED, "anna")
    assert "<b>Chart" not in page.text and "Growth &lt;b&gt;Chart&lt;/b&gt;" in page.text
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "form-action 'self' https://app.example;" in policy
    assert "script-src 'self'" in policy and "default-src 'none'" in policy and "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY" and page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("user", "asked", "offered"),
    [
        ("desk", "user/Appointment.cruds user/Observation.rs", {"user/Appointment.cruds"}),
        ("auditor", "user/*.rs", SEEN_BY_AUDITORS),
        ("auditor", "user/AuditEvent.cruds openid", {"user/AuditEvent.rs", "openid"}),
        ("doc", "user/Patient.rs system/Patient.rs", {"user/Patient.rs"}),
    ],
)  # fmt: skip
def test_a_role_bounds_what_can_be_granted(browser: Browser, user: str, asked: str, offered: set[str]) -> None:
    """What is beyond the role is not offered, and not granted if it is posted."""
    page = browser.asked(asked, user)
    assert set(Form(page).boxes) == offered
    answer = browser.decide(page, asked.split())
    assert answer.status_code == 400 and "location" not in answer.headers
    assert scopes(browser.redeem(browser.decide(page))) == offered


def test_a_role_that_can_grant_nothing(browser: Browser) -> None:
    """An auditor is told, and can only refuse."""
    page = browser.asked("user/Observation.rs", "auditor")
    assert "Nothing that this app asks for" in page.text and Form(page).buttons == [("decision", "deny")]
    assert answered(browser.decide(page, [], "deny"))["error"] == "access_denied"


@pytest.mark.parametrize(
    ("client", "skipped"),
    [("public", False), ("server", True)],
)
def test_who_is_asked_again(browser: Browser, client: str, skipped: bool) -> None:
    """A confidential app is allowed again without asking, a public one never; whoever asks for more, or for consent, is shown the page."""
    asked = "openid launch/patient patient/Patient.rs patient/Observation.rs"
    browser.decide(browser.asked(asked, "anna", client))
    again = browser.authorize("openid launch/patient patient/Patient.rs", client)
    assert (again.status_code == 303) == skipped
    if skipped:
        assert scopes(browser.redeem(again, client)) == {"openid", "launch/patient", "patient/Patient.rs"}
    for more in ({"scope": f"{asked} patient/Condition.rs"}, {"scope": asked, "prompt": "consent"}):
        assert "asks for access" in browser.authorize(client=client, **more).text


def test_an_app_that_the_operator_answers_for(browser: Browser) -> None:
    """Its users are not asked, but where it wants them to be."""
    assert scopes(browser.redeem(browser.asked("openid patient/Patient.rs", "anna", "own"), "own")) == {
        "openid",
        "patient/Patient.rs",
    }
    assert "asks for access" in browser.authorize("openid", "own", prompt="consent").text


def test_remembering_can_be_turned_off(tmp_path: Any) -> None:
    """FHIR_REMEMBER_CONSENT=false: everybody is asked each time."""
    with granting(tmp_path, remember_consent=False) as running:
        browser = Browser(running.root)
        browser.decide(browser.asked("openid", "anna", "server"))
        assert "asks for access" in browser.authorize("openid", "server").text


def test_the_operator_says_for_which_apps_nobody_is_asked() -> None:
    """`client add --skip-consent` marks an app; a service without users cannot be marked."""
    app = Asked("Booking", "public", "openid", ("https://app.example/back",), "", None, "", skip_consent=True)
    assert new_client(app, frozenset(), 0, Allowed())[0].trusted
    assert not new_client(replace(app, skip_consent=False), frozenset(), 0, Allowed())[0].trusted
    service = replace(app, type="backend", scope="system/Patient.rs", redirect_uris=(), jwks_uri="https://app.example/keys")
    with pytest.raises(ValueError, match="no consent to skip"):
        new_client(service, frozenset(("Patient",)), 0, Allowed())


def test_who_registered_itself_is_marked(tmp_path: Path) -> None:
    """However little an app says of itself when it registers, users read that nobody has looked at it; of other apps they do not."""
    warning = "This app has registered itself"
    with granting(tmp_path, registration="open") as running:
        for more in ({}, {"software_version": "1"}):
            metadata = {"client_name": "Clinic", "redirect_uris": [BACK], "token_endpoint_auth_method": "none", **more}
            client = httpx.post(f"{running.root}/oauth/register", json=metadata).json()["client_id"]
            assert warning in Browser(running.root).asked("launch/patient patient/Patient.rs", "anna", client).text
        assert warning not in Browser(running.root).asked("launch/patient patient/Patient.rs", "anna").text
