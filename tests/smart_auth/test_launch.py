"""Standalone and EHR launch from the first request to the data, for all kinds of client (SMART App Launch 2.2, and 1.0)."""

import httpx
import pytest
from walking import EHR, KINDS, ORCHESTRATES, STANDALONE, US_CORE, App, Smart, answered


@pytest.mark.parametrize("kind", KINDS)
def test_a_standalone_launch(smart: Smart, kind: str) -> None:
    """[B2, B4, C1, C2, C3, C4, C7, C8, C11, C14] Each kind of client gets tokens for the patient whom the user chose, and reads."""
    app = App(smart.root, kind)
    answer = app.exchange(smart.code(app))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["token_type"], body["expires_in"], body["patient"]) == ("Bearer", 3600, "anna")
    assert body["scope"].split(" ") == [*STANDALONE.split(" ")[:4], "patient/Patient.rs", "patient/Observation.rs"]
    assert body["id_token"] and body["refresh_token"] and body["access_token"]
    assert "no-store" in answer.headers["cache-control"] and "no-cache" in answer.headers["pragma"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example")
    read = smart.read("Patient/anna", body["access_token"])
    assert (read.status_code, read.json()["id"]) == (200, "anna")
    assert smart.read("Patient/bert", body["access_token"]).status_code in (403, 404)


@pytest.mark.parametrize("kind", KINDS)
def test_a_launch_from_an_ehr(smart: Smart, kind: str) -> None:
    """[B3, B5, C6, C9, C10, C12, C17] Started by an EHR, by POST: the token is about the launch's patient and visit, and the app is told
    how to look and what else is open."""
    app = App(smart.root, kind, scope=f"{EHR} patient/Encounter.rs")
    context = {
        "patient": "anna",
        "encounter": "visit",
        "need_patient_banner": False,
        "intent": "reconcile-medications",
        "tenant": "ward-7",
        "fhirContext": [{"reference": "Observation/lab"}, {"identifier": {"value": "x"}, "type": "ImagingStudy"}],
    }
    launch = smart.launch(app, **context)
    found = answered(smart.consented(smart.authorize(app, method="POST", launch=launch)))
    assert found["state"] == app.state
    body = app.exchange(found["code"]).json()
    assert {name: body[name] for name in context} == context
    assert "launch" in body["scope"].split(" ") and "patient/Patient.rs" in body["scope"].split(" ")
    style = httpx.get(body["smart_style_url"])
    assert style.status_code == 200 and style.json()["color_background"].startswith("#")
    for path in ("Patient/anna", "Encounter/visit"):
        assert smart.read(path, body["access_token"]).status_code == 200


def test_a_launch_counts_once(smart: Smart) -> None:
    """One code comes of a launch, also where two windows were opened with it before the first was answered."""
    app, browser = App(smart.root, scope=EHR), smart.browser("doc")
    launch = smart.launch(app, patient="anna")
    first, second = (smart.authorize(app, launch=launch) for _ in range(2))
    assert "code" in answered(browser.decide(first))
    late = browser.decide(second)
    assert late.status_code == 400 and "finished already" in late.text
    assert answered(smart.authorize(app, launch=launch))["error"] == "invalid_request"


def test_a_launch_is_for_one_user_and_one_app(smart: Smart) -> None:
    """Another user, or another app, gets nowhere with it."""
    app = App(smart.root, scope=EHR)
    launch = smart.launch(app, patient="anna")
    page = smart.authorize(app, "desk", launch=launch)
    assert page.status_code == 403
    assert answered(smart.authorize(App(smart.root, client="walk-other", scope=EHR), launch=launch))["error"] == "invalid_request"
    assert answered(smart.authorize(app, launch="made-up"))["error"] == "invalid_request"


def test_only_staff_lets_an_app_start_others(smart: Smart) -> None:
    """[B5] The page says in words that the app may start others; a patient cannot grant it, nor can an app have it that proves nothing."""
    scope = f"openid user/Patient.rs {ORCHESTRATES}"
    ehr = App(smart.root, "confidential", client="walk-ehr", scope=scope)
    assert "Start other apps" in smart.authorize(ehr).text
    assert smart.tokens(ehr)["scope"].split(" ") == ["openid", ORCHESTRATES, "user/Patient.rs"]
    for app, user in ((ehr, "anna"), (App(smart.root, client="walk-ehr-public", scope=scope), "doc")):
        assert "Start other apps" not in smart.authorize(app, user).text
        body = smart.tokens(app, user)
        assert body["scope"] == "openid user/Patient.rs"
        answer = httpx.post(
            f"{smart.root}/oauth/launch",
            json={"client_id": "walk-other"},
            headers={"Authorization": f"Bearer {body['access_token']}"},
        )
        refused_by = answer.json()["error"]
        assert (answer.status_code, refused_by) == (403, "insufficient_scope")


def test_scopes_of_version_1(smart: Smart) -> None:
    """[C15, C16] An app of SMART App Launch 1.0 gets what it asked for as it wrote it, and reads with it."""
    app = App(smart.root, scope="launch/patient openid profile patient/Patient.read patient/Observation.*")
    body = smart.tokens(app)
    assert body["scope"].split(" ") == app.scope.split(" ")
    assert smart.read("Observation?patient=anna", body["access_token"]).json()["total"] == 2


def test_a_launch_scope_without_a_launch(smart: Smart) -> None:
    """Apps that ask for `launch` however they are started can also stand alone: they are not granted it."""
    body = smart.tokens(App(smart.root, scope=f"launch {STANDALONE}"))
    assert body["scope"] == STANDALONE.replace("patient/Patient.rs", "patient/Patient.rs")
    assert body["need_patient_banner"] is True


LIMITS = [
    (
        "walk-little",
        "launch/patient openid fhirUser patient/*.cruds",
        "doc",
        "launch/patient openid patient/Observation.rs patient/Patient.r",
    ),
    ("walk-public", "user/*.cruds system/*.rs patient/Nothing.rs made-up openid", "doc", "openid user/*.cruds"),
    ("walk-public", "user/Observation.rs user/Patient.cruds openid", "desk", "openid user/Patient.cruds"),
    ("walk-public", "user/AuditEvent.cruds user/Patient.cruds openid", "auditor", "openid user/AuditEvent.rs user/Patient.rs"),
    (
        "walk-public",
        "user/Observation.rs?nothing=1 user/Observation.r?category=laboratory openid",
        "doc",
        "openid user/Observation.r?category=laboratory",
    ),
]


@pytest.mark.parametrize("client, asked, user, granted", LIMITS)
def test_no_more_is_granted_than_app_and_role_may_have(smart: Smart, client: str, asked: str, user: str, granted: str) -> None:
    """What is asked for, within what the app is registered for, what there is, and what the user's role has."""
    body = smart.tokens(App(smart.root, client=client, scope=asked), user)
    assert sorted(body["scope"].split(" ")) == sorted(granted.split(" "))


def test_the_context_of_a_launch_is_granted_too(smart: Smart) -> None:
    """Whoever unticks `launch` and all that is about the patient keeps patient, visit and the rest of the launch from the app."""
    app = App(smart.root, scope="launch openid user/Patient.rs patient/Patient.rs")
    launch = smart.launch(app, patient="anna", encounter="visit", intent="secret-intent")
    page = smart.authorize(app, launch=launch)
    told = answered(smart.browser("doc").decide(page, ["openid", "user/Patient.rs"]))
    body = app.exchange(told["code"]).json()
    assert body["scope"] == "openid user/Patient.rs"
    assert not {"patient", "encounter", "intent"} & set(body)


def test_what_happens_is_recorded(smart: Smart) -> None:
    """A consent, tokens, and tokens that were refused each leave an AuditEvent that names the app, and no code or token."""
    app = App(smart.root, client="walk-other", scope="openid launch/patient patient/Patient.rs")
    code = smart.code(app)
    auditor = auditing(smart)
    token = app.exchange(code).json()["access_token"]
    assert app.exchange("BAD_CODE").status_code == 400
    found = httpx.get(
        f"{smart.base}/AuditEvent", params={"_count": 3, "_sort": "-_lastUpdated"}, headers={"Authorization": f"Bearer {auditor}"}
    )
    assert found.status_code == 200, found.text
    texts = [entry["resource"].get("outcomeDesc", "") for entry in found.json()["entry"]]
    assert any("authorization_code): invalid_grant" in text for text in texts)
    assert any(text.startswith("tokens were issued to App walk-other") for text in texts)
    assert code not in found.text and token not in found.text


def auditing(smart: Smart) -> str:
    """A token of the auditor."""
    token: str = smart.tokens(App(smart.root, scope="user/AuditEvent.rs"), "auditor")["access_token"]
    return token


def test_an_app_that_stands_alone_is_told_no_further_context(smart: Smart) -> None:
    """[C5] `fhirContext` is there only where an EHR gave one, so that apps of earlier versions, which knew it as texts, never meet it."""
    assert "fhirContext" not in smart.tokens(App(smart.root))
    app = App(smart.root, scope=EHR)
    assert "fhirContext" not in smart.tokens(app, launch=smart.launch(app, patient="anna"))


def test_an_older_app_is_told_references(smart: Smart) -> None:
    """[C5] An app that was added so is told fhirContext as an array of relative references; what texts cannot say is left out."""
    app = App(smart.root, client="walk-older", scope=EHR)
    context = [
        {"reference": "Observation/lab"},
        {"reference": "Observation/pulse", "type": "Observation", "role": "launch"},
        {"reference": "Observation/lab", "role": "https://ehr.example/role"},
        {"identifier": {"value": "x"}, "type": "ImagingStudy"},
    ]
    body = smart.tokens(app, launch=smart.launch(app, patient="anna", fhirContext=context))
    assert body["fhirContext"] == ["Observation/lab", "Observation/pulse"]
    assert "fhirContext" not in smart.tokens(app, launch=smart.launch(app, patient="anna", fhirContext=context[2:]))


@pytest.mark.parametrize("letters", ["rs", "read"])
@pytest.mark.parametrize("level", ["patient", "user"])
def test_the_scopes_that_certification_asks_for(smart: Smart, level: str, letters: str) -> None:
    """[C15, C16] All types of US Core, those outside of the patient's compartment too, are granted as they were asked for."""
    wanted = f"openid fhirUser offline_access {' '.join(f'{level}/{type}.{letters}' for type in US_CORE.split(' '))}"
    body = smart.tokens(App(smart.root, scope=f"launch/patient {wanted}" if level == "patient" else wanted))
    assert set(body["scope"].split(" ")) - {"launch/patient"} == set(wanted.split(" "))
