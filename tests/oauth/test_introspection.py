"""Introspection (RFC 7662; https://hl7.org/fhir/smart-app-launch/STU2.2/token-introspection.html)."""

import json
import time
from typing import Any

import pytest
from oauth.world import JWT_BEARER, SECRET, USERS, OAuth, refused


def asked(oauth: OAuth, token: str, caller: str = "doc", **form: str) -> Any:
    answer = oauth.post("introspect", {"token": token, **form}, headers={**oauth.bearer(caller), "Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def test_a_token_that_is_good(oauth: OAuth) -> None:
    """[E9, E10] What it may, whose it is, for whom and how long, and what the app was started with."""
    told = asked(oauth, oauth.tokens["doc"], extra="does not matter", token_type_hint="refresh_token")
    assert told["active"] is True
    assert told["client_id"] == "server"
    assert set(told["scope"].split()) == {"openid", "fhirUser", "launch", "user/*.rs"}
    assert told["exp"] >= time.time()
    assert told["patient"] == "anna" and told["encounter"] == "visit"
    assert told["intent"] == "reconcile-medications" and told["need_patient_banner"] is False
    assert told["iss"] == oauth.root and told["aud"] == f"{oauth.root}/fhir"
    assert told["token_type"] == "Bearer"
    assert told["username"] == "doc"


def test_the_user_is_called_as_elsewhere(oauth: OAuth) -> None:
    """[E10] sub and fhirUser are those that userinfo, and so the id_token, has."""
    told = asked(oauth, oauth.tokens["doc"])
    claims = oauth.http.get("/oauth/userinfo", headers=oauth.bearer("doc")).json()
    assert (told["sub"], told["fhirUser"]) == (claims["sub"], claims["fhirUser"])


def test_what_was_not_granted_is_not_told(oauth: OAuth) -> None:
    """[E10] Without the scope fhirUser no fhirUser, without a context no patient."""
    told = asked(oauth, oauth.tokens["blind"])
    assert told["active"] is True
    assert not {"fhirUser", "patient", "encounter", "intent"} & set(told)


def test_a_token_of_a_service(oauth: OAuth) -> None:
    """[E10] A service is its own subject."""
    answer = oauth.service_token("backend").json()
    told = asked(oauth, answer["access_token"])
    assert told["scope"] == answer["scope"]
    assert told["client_id"] == told["sub"] == "backend"
    assert "username" not in told


@pytest.mark.parametrize("token", ["invalid_token_value", "x" * 5_000, "é", "\x00", "' OR 1=1 --"])
def test_what_is_no_token(oauth: OAuth, token: str) -> None:
    """[E11] active false, and nothing else."""
    assert asked(oauth, token) == {"active": False}


CHALLENGED: dict[str, dict[str, Any]] = {
    "nobody": {},
    "a client that has no secret": {"data": {"token": "x", "client_id": "public"}},
    "Basic": {"auth": ("server", "wrong")},
    "a secret in the form": {"data": {"token": "x", "client_id": "server", "client_secret": "wrong"}},
    "another scheme": {"headers": {"Authorization": "Digest username=server"}},
}


@pytest.mark.parametrize("caller", CHALLENGED)
def test_whoever_may_not_ask_is_told_how(oauth: OAuth, caller: str) -> None:
    """401 names both ways: HTTP Basic of a client, and an access token."""
    answer = oauth.http.post("/oauth/introspect", **({"data": {"token": "x"}} | CHALLENGED[caller]))
    refused(answer, "invalid_client", 401)
    assert answer.headers["www-authenticate"] == 'Basic realm="oauth", Bearer realm="oauth"'


def test_a_refresh_token_is_no_access_token(oauth: OAuth) -> None:
    """[E11] Of refresh tokens nothing is told."""
    _, refresh = oauth.granted(USERS[0], "server")
    assert refresh
    assert asked(oauth, refresh) == {"active": False}


def test_who_may_ask(oauth: OAuth) -> None:
    """[E12] Any good access token, a client with a secret, or one with a key; about the tokens of any client."""
    token = oauth.tokens["anna"]
    backend = oauth.service_token("backend").json()["access_token"]
    assert asked(oauth, token, backend)["active"] is True
    assert asked(oauth, token, "anna")["active"] is True
    assert oauth.post("introspect", {"token": token}, auth=("server", SECRET)).json()["active"] is True
    posted = {"token": token, "client_id": "server", "client_secret": SECRET}
    assert oauth.post("introspect", posted).json()["active"] is True
    assertion = {"token": token, "client_assertion_type": JWT_BEARER, "client_assertion": oauth.assertion("backend")}
    assert oauth.post("introspect", assertion).json()["active"] is True


def test_who_may_not(oauth: OAuth) -> None:
    """[E12] Nobody without a token or with a bad one, no client without a secret, no wrong secret."""
    form = {"token": oauth.tokens["anna"]}
    refused(oauth.post("introspect", form), "invalid_client", 401)
    bad = oauth.post("introspect", form, headers=oauth.bearer("nonsense"))
    refused(bad, "invalid_token", 401)
    assert 'error="invalid_token"' in bad.headers["www-authenticate"]
    refused(oauth.post("introspect", {**form, "client_id": "public"}), "invalid_client", 401)
    refused(oauth.post("introspect", form, auth=("server", "wrong")), "invalid_client", 401)
    refused(oauth.post("introspect", form, headers={"Authorization": "Bearer"}), "invalid_token", 401)


def test_what_is_missing(oauth: OAuth) -> None:
    """The token is asked for; a body that is no form is refused."""
    refused(oauth.post("introspect", {"x": "y"}, headers=oauth.bearer("doc")), "invalid_request", 400)
    answer = oauth.http.post("/oauth/introspect", json={"token": "x"}, headers=oauth.bearer("doc"))
    refused(answer, "invalid_request", 400)


def test_where_it_is(oauth: OAuth) -> None:
    """[A8] Discovery and CapabilityStatement say the same of introspection, revocation and registration."""
    well_known = oauth.http.get("/fhir/.well-known/smart-configuration").json()
    security = oauth.http.get("/fhir/metadata").json()["rest"][0]["security"]
    uris = {each["url"]: each["valueUri"] for extension in security["extension"] for each in extension["extension"]}
    for name in ("introspection", "revocation", "registration"):
        short = {"introspection": "introspect", "revocation": "revoke", "registration": "register"}[name]
        assert well_known[f"{name}_endpoint"] == uris[short] == f"{oauth.root}/oauth/{short}"


def test_the_events(oauth: OAuth) -> None:
    """Who asked about whose token, or who the user is, is recorded, once for each time, without the token."""

    def told() -> dict[str, str]:
        url = "/fhir/AuditEvent?_sort=-_lastUpdated&_count=50"
        events = oauth.http.get(url, headers=oauth.bearer("chief")).json().get("entry", [])
        return {event["resource"]["id"]: json.dumps(event["resource"]) for event in events}

    before = told()
    assert [asked(oauth, token)["active"] for token in (oauth.tokens["anna"], "no token at all")] == [True, False]
    assert oauth.http.get("/oauth/userinfo", headers=oauth.bearer("doc")).status_code == 200
    since = [text for id, text in told().items() if id not in before]
    for name in ("introspection of a token of server", "introspection of what is no token", "server was told who its user is"):
        assert sum(name in text for text in since) == 1
    assert not any(oauth.tokens["anna"] in text for text in since)
