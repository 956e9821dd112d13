"""Backend services (https://hl7.org/fhir/smart-app-launch/STU2.2/backend-services.html): tokens for what a service is registered for."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from oauth.world import READS, SECRET, OAuth, key, public, refused

from fhir_server.app import open_service
from resources.store import RecordChange
from smart_auth import tokens
from smart_auth.access import Access
from smart_auth.clients import KIND as CLIENT
from smart_auth.clients import Client, kept
from smart_auth.registration.ending import end_tokens
from smart_auth.scopes import parse_scopes
from smart_auth.server import backend

TYPES = ("EpisodeOfCare", "Location", "PractitionerRole", "Patient", "Observation", "Nonsense", "Teapot")


def test_a_token_that_works(oauth: OAuth) -> None:
    """[H4, H5, H15] A right request brings a bearer token for at most five minutes, its scopes, and no refresh token."""
    answer = oauth.service_token("backend", "system/Patient.rs")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "scope"}
    assert body["token_type"].lower() == "bearer"
    assert 0 < body["expires_in"] <= 300
    assert body["scope"] == "system/Patient.rs"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    read = oauth.http.get("/fhir/Patient/anna", headers=oauth.bearer(body["access_token"]))
    assert read.status_code == 200
    assert oauth.http.get("/fhir/Encounter/visit", headers=oauth.bearer(body["access_token"])).status_code == 403


@pytest.mark.parametrize("kind", ["not_a_grant_type", "password", "urn:ietf:params:oauth:grant-type:token-exchange"])
def test_another_grant_type(oauth: OAuth, kind: str) -> None:
    """[H1] Exactly 400."""
    form = oauth.service_form(oauth.assertion("backend")) | {"grant_type": kind}
    refused(oauth.post("token", form), "unsupported_grant_type", 400)


@pytest.mark.parametrize("body", ["{}", '{"grant_type": "client_credentials"}', "[]", "grant_type=client_credentials"])
def test_a_body_that_is_json(oauth: OAuth, body: str) -> None:
    """[H6] The token endpoint takes forms."""
    answer = oauth.http.post("/oauth/token", content=body, headers={"Content-Type": "application/json"})
    refused(answer, "invalid_request", 400)


@pytest.mark.parametrize(
    "name, errors",
    [
        ("grant_type", {"invalid_request"}),
        ("scope", {"invalid_scope"}),
        ("client_assertion", {"invalid_client"}),
        ("client_assertion_type", {"invalid_client"}),
    ],
)
@pytest.mark.parametrize("value", [None, "", "invalid test value"])
def test_a_parameter_that_is_missing_or_nonsense(oauth: OAuth, name: str, errors: set[str], value: str | None) -> None:
    """[H7] Each of the four parameters missing, empty or garbage: an error of OAuth's in JSON."""
    form = oauth.service_form(oauth.assertion("backend"))
    form.pop(name)
    if value is not None:
        form[name] = value
    answer = oauth.post("token", form)
    error = answer.json()["error"]
    refused(answer, error)
    assert error in errors | ({"unsupported_grant_type"} if name == "grant_type" else set())


@pytest.mark.parametrize("name", ["grant_type", "scope", "client_assertion"])
def test_a_parameter_twice(oauth: OAuth, name: str) -> None:
    """[H7, D9] A parameter that is there twice is refused, and named (RFC 6749, 3.2)."""
    form = oauth.service_form(oauth.assertion("backend"))
    answer = oauth.post("token", {**form, name: [form[name], form[name]]})
    assert refused(answer, "invalid_request", 400) == f"the parameter {name} is there twice"


def test_credentials_in_the_url_do_not_count(oauth: OAuth) -> None:
    """What stands in the URL ends up in logs, so it is not read."""
    form = oauth.service_form(oauth.assertion("backend"))
    answer = oauth.http.post("/oauth/token", params=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    refused(answer, "invalid_request", 400)


@pytest.mark.parametrize(
    "scope",
    [
        "",
        " ",
        "launch fhirUser",
        "openid offline_access",
        "system/Patient.unknownAction",
        "system/Patient.xyz",
        "system/UnknownResource.read",
        "system/UnknownResource.r",
        "system/Patient.write",
        *(f"system/Patient.{letters}" for letters in ("c", "cu", "cd", "cud", "ud", "d", "u")),
        "patient/Patient.rs",
        "user/*.rs",
        "system/Patient.sr",
        "system/*.rs?category=laboratory",
        "system/Observation.rs?no-such-parameter=1",
        "smart/orchestrate_launch",
        "system/Patient.rs\x00",
    ],
)
def test_nothing_of_it_can_be_granted(oauth: OAuth, scope: str) -> None:
    """[H9] Scopes of other levels, unknown types and letters, and writing for a service that is registered for reading."""
    refused(oauth.service_token("backend", scope), "invalid_scope", 400)


@pytest.mark.parametrize(
    "scope, why",
    [
        ("system/Patient.xyz", "system/Patient.xyz: what may be done is some of the letters cruds"),
        ("system/Teapot.rs", "system/Teapot.rs: FHIR R4 has no resource type Teapot"),
        ("system/Observation.rs?no-such-parameter=1", "no-such-parameter"),
        ("system/Patient.cud", "system/Patient.cud: this client is not registered for it"),
        ("patient/Patient.rs", "patient/Patient.rs: a backend service has system/ scopes only"),
        ("launch openid", "launch: it is for apps with a user; openid: it is for apps with a user"),
    ],
)
def test_why_it_cannot_be_granted(oauth: OAuth, scope: str, why: str) -> None:
    """Each scope is named with what is wrong with it."""
    assert why in refused(oauth.service_token("backend", scope), "invalid_scope", 400)


def test_too_many_scopes(oauth: OAuth) -> None:
    """[H9] A list without end is refused, not searched."""
    refused(oauth.service_token("backend", " ".join(["system/Patient.rs"] * 201)), "invalid_scope", 400)
    refused(oauth.service_token("backend", "x" * 10_000), "invalid_request", 400)


GRANTED = {
    "system/*.read": "system/*.read",
    "system/*.rs": "system/*.rs",
    "system/Patient.read": "system/Patient.read",
    "system/Patient.rs": "system/Patient.rs",
    "system/*.*": "system/*.rs",
    "system/*.cruds": "system/*.rs",
    "system/Patient.*": "system/Patient.rs",
    "system/Patient.cruds": "system/Patient.rs",
    "system/Observation.rs?category=laboratory": "system/Observation.rs?category=laboratory",
    "system/Patient.read system/Observation.rs": "system/Patient.read system/Observation.rs",
    "system/Patient.rs system/Patient.rs": "system/Patient.rs",
    "launch system/Patient.rs patient/*.rs nonsense": "system/Patient.rs",
}


@pytest.mark.parametrize("asked", GRANTED)
def test_what_is_granted(oauth: OAuth, asked: str) -> None:
    """[H10, H11] What lies within the registration, as it was asked for; never a letter more."""
    answer = oauth.service_token("backend", asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["scope"] == GRANTED[asked]
    assert answer.json()["expires_in"] > 0
    assert all(set(scope.letters) <= set("rs") for scope in parse_scopes(answer.json()["scope"]).resources)


def test_a_wildcard_becomes_the_types_that_are_registered(oauth: OAuth) -> None:
    """[H10] A service that is registered for two types gets these two where it asks for all."""
    granted = oauth.service_token("narrow", "system/*.cruds").json()["scope"]
    assert granted == "system/Patient.rs system/Observation.rs"


def test_types_that_are_not_known_are_left_out(oauth: OAuth) -> None:
    """[H16] A client that asks for every type it has heard of gets those that there are."""
    answer = oauth.service_token("backend", " ".join(f"system/{name}.read" for name in TYPES))
    assert answer.json()["scope"].split() == [f"system/{name}.read" for name in TYPES[:-2]]


def test_writing_for_who_is_registered_for_it(oauth: OAuth) -> None:
    """[H9] With a registration for it, letters that write are granted, and count."""
    token = oauth.service_token("writer", "system/Basic.write").json()["access_token"]
    made = oauth.http.post("/fhir/Basic", json={"resourceType": "Basic", "code": {"text": "x"}}, headers=oauth.bearer(token))
    assert made.status_code == 201
    assert oauth.http.get("/fhir/Basic/note", headers=oauth.bearer(token)).status_code == 403


@pytest.mark.parametrize("client", ["public", "server"])
def test_apps_of_users_have_no_tokens_of_their_own(oauth: OAuth, client: str) -> None:
    """An app that acts for users cannot act for itself."""
    form: dict[str, Any] = {"grant_type": "client_credentials", "scope": "system/*.rs", "client_id": client}
    if client == "server":
        form["client_secret"] = SECRET
    refused(oauth.post("token", form), "unauthorized_client", 400)


def test_a_service_has_no_codes(oauth: OAuth) -> None:
    """[H15] A service that acts for itself has neither codes nor refresh tokens to redeem."""
    for form in ({"grant_type": "authorization_code", "code": "x"}, {"grant_type": "refresh_token", "refresh_token": "x"}):
        asked = oauth.service_form(oauth.assertion("backend")) | form
        refused(oauth.post("token", asked), "unauthorized_client", 400)


def test_the_event_of_a_token(oauth: OAuth) -> None:
    """Who got a token for what is recorded, without the token."""
    token = oauth.service_token("backend", "system/Slot.rs").json()["access_token"]
    found = oauth.http.get("/fhir/AuditEvent?_sort=-_lastUpdated&_count=200", headers=oauth.bearer("chief")).text
    assert "system/Slot.rs" in found
    assert token not in found


@pytest.mark.parametrize("change", [{"disabled": True}, {"scopes": "system/Slot.rs"}, None])
def test_a_client_that_changes_as_it_is_given_a_token(
    oauth: OAuth, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any] | None
) -> None:
    """Whoever is disabled, changed or removed after proving itself, and before the token is stored, gets none, and none stays behind."""
    client = Client(f"racing-{change}", "Racer", "backend", READS, "private_key_jwt", jwks=public(key("racing")))
    oauth.stored(client)

    async def changed() -> None:
        async with open_service(oauth.settings) as service:
            gone = RecordChange(CLIENT, client.id, None)
            await service.commit(gone if change is None else kept(msgspec.structs.replace(client, **change), -1))
            await end_tokens(service, client.id, "a test")

    def issue(access: Access) -> tuple[str, RecordChange]:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, changed()).result()
        return tokens.issue(access)

    async def left() -> int:
        async with open_service(oauth.settings) as service:
            return len(await service.tagged(tokens.KIND, f"client:{client.id}"))

    with monkeypatch.context() as racing:
        racing.setattr(backend, "issue", issue)
        refused(oauth.post("token", oauth.service_form(oauth.assertion(client.id, key("racing")))), "invalid_client", 401)
    assert asyncio.run(left()) == 0


def test_a_token_ends(oauth: OAuth) -> None:
    """[H15, C18] expires_in counts from now, and exp says when."""
    before = int(time.time())
    token = oauth.service_token("backend").json()["access_token"]
    after = time.time()
    told = oauth.post("introspect", {"token": token}, headers=oauth.bearer("doc")).json()
    assert before + 300 <= told["exp"] <= after + 300
    assert told["exp"] - told["iat"] == 300
    assert json.dumps(told).count(token) == 0
