"""Revocation (RFC 7009), and refresh tokens of other clients."""

import time

import pytest
from oauth.world import JWT_BEARER, SECRET, USERS, OAuth, key, refused

ANNA = USERS[0]


def reads(oauth: OAuth, token: str) -> int:
    return oauth.http.get("/fhir/Patient/anna", headers=oauth.bearer(token)).status_code


def refreshed(oauth: OAuth, token: str) -> int:
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return oauth.post("token", form, auth=("server", SECRET)).status_code


@pytest.mark.parametrize("hint", ["", "access_token", "refresh_token", "nonsense"])
def test_an_access_token(oauth: OAuth, hint: str) -> None:
    """[E7, E14, K14] It is good for nothing at once, whatever the hint; the refresh token of its grant is."""
    access, refresh = oauth.granted(ANNA, "server")
    assert reads(oauth, access) == 200
    form = {"token": access} | ({"token_type_hint": hint} if hint else {})
    answer = oauth.post("revoke", form, auth=("server", SECRET))
    assert (answer.status_code, answer.text) == (200, "")
    assert reads(oauth, access) == 401
    assert refreshed(oauth, refresh) == 200


@pytest.mark.parametrize("hint", ["", "access_token", "refresh_token"])
def test_a_refresh_token(oauth: OAuth, hint: str) -> None:
    """[E7, E8, E14] With it goes everything that was granted: its access tokens, and the next refresh."""
    access, refresh = oauth.granted(ANNA, "server")
    assert reads(oauth, access) == 200
    form = {"token": refresh} | ({"token_type_hint": hint} if hint else {})
    assert oauth.post("revoke", form, auth=("server", SECRET)).status_code == 200
    assert reads(oauth, access) == 401
    assert refreshed(oauth, refresh) == 400


def test_seen_by_introspection(oauth: OAuth) -> None:
    """[E11] A token that was revoked is told of like one that never was."""
    access, _ = oauth.granted(ANNA, "server")
    oauth.post("revoke", {"token": access}, auth=("server", SECRET))
    assert oauth.post("introspect", {"token": access}, auth=("server", SECRET)).json() == {"active": False}


@pytest.mark.parametrize("token", ["never-was", "x" * 4_000, "é"])
def test_a_token_that_never_was(oauth: OAuth, token: str) -> None:
    """[E14] 200: the client has what it wants."""
    assert oauth.post("revoke", {"token": token}, auth=("server", SECRET)).status_code == 200


def test_twice(oauth: OAuth) -> None:
    """[E14] The second time is no error."""
    access, refresh = oauth.granted(ANNA, "server")
    for token in (access, access, refresh, refresh):
        assert oauth.post("revoke", {"token": token}, auth=("server", SECRET)).status_code == 200


def test_a_token_of_another_client(oauth: OAuth) -> None:
    """[E14] It is refused, and the token stays as good as it was."""
    access, refresh = oauth.granted(ANNA, "server")
    for token in (access, refresh):
        refused(oauth.post("revoke", {"token": token, "client_id": "public"}), "invalid_grant", 400)
    assert reads(oauth, access) == 200
    assert refreshed(oauth, refresh) == 200


def test_a_public_client_gives_back_its_own(oauth: OAuth) -> None:
    """[E14] An app without a secret names itself."""
    access, _ = oauth.granted(ANNA, "public")
    assert oauth.post("revoke", {"token": access, "client_id": "public"}).status_code == 200
    assert reads(oauth, access) == 401


def test_a_service_gives_back_its_own(oauth: OAuth) -> None:
    """[E14] A service proves itself by an assertion, which counts once here too."""
    token = oauth.service_token("backend").json()["access_token"]
    form = {"token": token, "client_assertion_type": JWT_BEARER, "client_assertion": oauth.assertion("backend")}
    assert oauth.post("revoke", form).status_code == 200
    assert oauth.http.get("/fhir/Patient/anna", headers=oauth.bearer(token)).status_code == 401
    refused(oauth.post("revoke", form), "invalid_client", 401)


def test_what_is_missing(oauth: OAuth) -> None:
    """[E14] Without a token, or without a client, there is an error."""
    refused(oauth.post("revoke", {"x": "y"}, auth=("server", SECRET)), "invalid_request", 400)
    refused(oauth.post("revoke", {"token": "x"}), "invalid_client", 401)


def test_the_refresh_token_of_another_client(oauth: OAuth) -> None:
    """[E13, K12] A refresh token is bound to its client, however well another one proves itself."""
    _, refresh = oauth.granted(ANNA, "server")
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    refused(oauth.post("token", {**form, "client_id": "public"}), "invalid_grant", 400)
    keyed = {"client_assertion_type": JWT_BEARER, "client_assertion": oauth.assertion("keyed", key("keyed"))}
    refused(oauth.post("token", {**form, **keyed}), "invalid_grant", 400)
    assert refreshed(oauth, refresh) == 200


@pytest.mark.parametrize("client", ["public", "server", "keyed"])
def test_a_refresh_token_needs_offline_access(oauth: OAuth, client: str) -> None:
    """[E13, K13] It is given for offline_access, and gives no more than was granted."""
    assert oauth.granted(ANNA, client, "openid patient/*.rs")[1] == ""
    _, refresh = oauth.granted(ANNA, client, "offline_access patient/Patient.rs")
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    if client == "keyed":
        form |= {"client_assertion_type": JWT_BEARER, "client_assertion": oauth.assertion("keyed")}
    proof = {"auth": ("server", SECRET)} if client == "server" else {}
    form |= {"client_id": "public"} if client == "public" else {}
    wider = oauth.post("token", {**form, "scope": "patient/*.rs"}, **proof)
    refused(wider, "invalid_scope", 400)
    if client == "keyed":
        form["client_assertion"] = oauth.assertion("keyed", exp=int(time.time()) + 60)
    answer = oauth.post("token", form, **proof)
    assert answer.json()["scope"] == "offline_access patient/Patient.rs"
