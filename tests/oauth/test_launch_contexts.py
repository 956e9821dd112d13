"""The launch-context API: an EHR says what an app is started with."""

import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from oauth.world import OAuth, refused

WHOLE = {
    "client_id": "public", "patient": "anna", "encounter": "visit", "intent": "order-review", "need_patient_banner": False,
    "tenant": "north",
    "smart_style_url": "https://ehr.example/style.json", "fhirContext": [{"reference": "Basic/note", "role": "https://ehr.example/note"}],
}  # fmt: skip


def asked(oauth: OAuth, body: Any, caller: str = "staff") -> Any:
    headers = oauth.bearer(caller) if caller else {}
    if isinstance(body, bytes):
        return oauth.http.post("/oauth/launch", content=body, headers=headers)
    return oauth.http.post("/oauth/launch", json=body, headers=headers)


def orchestrator(oauth: OAuth, scope: str = "smart/orchestrate_launch system/*.rs") -> str:
    token: str = oauth.service_token("ehr", scope).json()["access_token"]
    return token


def test_a_launch(oauth: OAuth) -> None:
    """[B5] 201 with an opaque launch, the URL to open with the FHIR base as iss, and how long it is good."""
    answer = asked(oauth, WHOLE)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"launch", "launch_url", "expires_in"} and body["expires_in"] == 300
    url = urlsplit(body["launch_url"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://app.example/launch"
    assert parse_qs(url.query) == {"from": ["ehr"], "iss": [f"{oauth.root}/fhir"], "launch": [body["launch"]]}
    assert len(body["launch"]) >= 43 and "anna" not in body["launch"]


def test_an_app_without_a_place_to_start(oauth: OAuth) -> None:
    """[B5, B10] Without a registered launch URI there is no URL: nobody is sent to an address that was not registered."""
    assert set(asked(oauth, {"client_id": "server", "patient": "anna"}).json()) == {"launch", "expires_in"}


def begins(oauth: OAuth, launch: str, client: str = "public") -> Any:
    parameters = {
        "response_type": "code", "client_id": client, "redirect_uri": "https://app.example/back", "scope": "launch patient/*.rs",
        "state": "s",
        "aud": f"{oauth.root}/fhir", "code_challenge": "x" * 43, "code_challenge_method": "S256", "launch": launch,
    }  # fmt: skip
    return oauth.http.get("/oauth/authorize", params=parameters).headers["location"]


def test_the_app_begins_with_it(oauth: OAuth) -> None:
    """[B5] The authorization endpoint takes the launch of this app, and no other."""
    launch = asked(oauth, WHOLE).json()["launch"]
    assert begins(oauth, launch).startswith("/oauth/consent?")
    assert "error=" in begins(oauth, launch, "server")
    assert "error=" in begins(oauth, launch + "x")
    assert "error=" in begins(oauth, "anna")


@pytest.mark.parametrize("caller", ["", "nonsense"])
def test_nobody(oauth: OAuth, caller: str) -> None:
    """Without a good token: 401."""
    refused(asked(oauth, WHOLE, caller), "invalid_token", 401)


def test_who_may_not(oauth: OAuth) -> None:
    """Nobody without the scope for it, whatever the role, and no patient with it, starts apps for others."""
    for caller in ("anna", "patient with the scope of staff", "doc", "chief", "everything"):
        refused(asked(oauth, WHOLE, caller), "insufficient_scope", 403)
    refused(asked(oauth, WHOLE, oauth.service_token("backend").json()["access_token"]), "insufficient_scope", 403)
    refused(asked(oauth, WHOLE, orchestrator(oauth, "system/*.rs")), "insufficient_scope", 403)


def test_a_service_with_the_scope(oauth: OAuth) -> None:
    """A service of the EHR prepares launches, for anybody or for one user."""
    token = orchestrator(oauth)
    assert asked(oauth, WHOLE, token).status_code == 201
    assert asked(oauth, WHOLE | {"user": "doc"}, token).status_code == 201
    refused(asked(oauth, WHOLE | {"user": "nobody"}, token), "invalid_request", 400)


def test_a_user_prepares_launches_for_nobody_else(oauth: OAuth) -> None:
    """Whoever is signed in starts apps for themselves."""
    assert asked(oauth, WHOLE | {"user": "doc"}).status_code == 201
    refused(asked(oauth, WHOLE | {"user": "chief"}), "invalid_request", 400)


UNSEEN: dict[str, dict[str, Any]] = {
    "no such patient": {"patient": "nobody", "encounter": None},
    "no such encounter": {"encounter": "nothing"},
    "an encounter of another patient": {"patient": "bert"},
    "no such reference": {"fhirContext": [{"reference": "Basic/nothing"}]},
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_is_not_there(oauth: OAuth, name: str) -> None:
    """What the app is started with must be there."""
    body = {member: value for member, value in (WHOLE | UNSEEN[name]).items() if value is not None}
    refused(asked(oauth, body), "invalid_request", 400)


def test_what_the_caller_may_not_see(oauth: OAuth) -> None:
    """A caller whose token does not reach the patient is answered as if there were none, and so is a service."""
    body = {"client_id": "public", "patient": "anna"}
    hidden = asked(oauth, body, "blind staff")
    missing = asked(oauth, body | {"patient": "nobody"}, "blind staff")
    assert refused(hidden, "invalid_request", 400).replace("anna", "ID") == refused(missing, "invalid_request", 400).replace(
        "nobody", "ID"
    )
    refused(asked(oauth, body, orchestrator(oauth, "smart/orchestrate_launch")), "invalid_request", 400)


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": (b"patient=anna", "the body is no JSON"),
    "a list": ([WHOLE], "the body: expected object, got array"),
    "empty": (b"", "the body is no JSON"),
    "deep": (b'{"fhirContext": ' + b"[" * 5_000, "fhirContext[0]: expected object, got array"),
    "no client": ({"patient": "anna"}, "the member client_id is missing"),
    "a client that is a number": (WHOLE | {"client_id": 1}, "client_id: expected a text, got int"),
    "unknown client": (WHOLE | {"client_id": "nobody"}, "client_id: there is no such app"),
    "a disabled client": (WHOLE | {"client_id": "gone"}, "client_id: there is no such app"),
    "a service": (WHOLE | {"client_id": "backend"}, "client_id: there is no such app"),
    "unknown member": (WHOLE | {"scope": "system/*.cruds"}, "the member scope is not known here"),
    "an unknown member that is no name": (WHOLE | {'a"\\\u00e4': 1}, "the member a is not known here"),
    "an id that is none": (WHOLE | {"patient": "anna/../bert"}, "patient: expected an id"),
    "an id with a parameter": (WHOLE | {"patient": "anna&_id=bert"}, "patient: expected an id"),
    "an id with a line break": (WHOLE | {"patient": "anna\n"}, "patient: expected an id"),
    "two patients": (WHOLE | {"patient": "anna,bert"}, "patient: expected an id"),
    "an encounter without its patient": ({"client_id": "public", "encounter": "visit"}, "encounter needs its patient"),
    "need_patient_banner a text": (WHOLE | {"need_patient_banner": "no"}, "need_patient_banner: expected bool, got a text"),
    "intent without end": (WHOLE | {"intent": "x" * 300}, "intent: expected a text of length <= 256"),
    "a style that runs": (WHOLE | {"smart_style_url": "javascript:alert(1)"}, "smart_style_url must begin with https://"),
    "fhirContext of texts": (WHOLE | {"fhirContext": ["Basic/note"]}, "fhirContext[0]: expected object, got a text"),
    "fhirContext of nothing": (WHOLE | {"fhirContext": [{"role": "x"}]}, "fhirContext[0] needs a reference"),
    "fhirContext with a Patient": (WHOLE | {"fhirContext": [{"reference": "Patient/anna"}]}, "named by the member patient"),
    "fhirContext with an Encounter": (WHOLE | {"fhirContext": [{"reference": "Encounter/visit"}]}, "named by the member encounter"),
    "fhirContext of no type": (
        WHOLE | {"fhirContext": [{"reference": "Basic/note"}, {"reference": "Teapot/1"}]},
        "fhirContext[1].reference: Teapot is not a resource type",
    ),
    "fhirContext that says no type": (
        WHOLE | {"fhirContext": [{"canonical": "https://x.example/Q/1", "type": "Teapot"}]},
        "fhirContext[0].type: Teapot is not a resource type",
    ),
    "fhirContext absolute": (
        WHOLE | {"fhirContext": [{"reference": "https://other.example/fhir/Basic/note"}]}, "fhirContext[0].reference: it must be relative"
    ),
    "fhirContext without end": (
        WHOLE | {"fhirContext": [{"canonical": "https://x.example/Questionnaire/1"}] * 60}, "fhirContext: expected array of length <= 50"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be(oauth: OAuth, name: str) -> None:
    """[C6] Bodies that are wrong, foreign or endless are refused, and told which member is wrong and why; Patient and Encounter are no part
    of fhirContext."""
    body, why = BAD[name]
    assert why in refused(asked(oauth, body), "invalid_request", 400)


def test_the_event_of_a_launch(oauth: OAuth) -> None:
    """Who prepared a launch of what for whom is recorded, without the launch."""
    launch = asked(oauth, WHOLE).json()["launch"]
    time.sleep(0.01)
    found = oauth.http.get("/fhir/AuditEvent?_sort=-_lastUpdated&_count=20", headers=oauth.bearer("chief")).text
    assert "a launch of Public app was prepared" in found
    assert launch not in found
