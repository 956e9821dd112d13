"""Whatever is sent to the endpoints of clients, the answer is an error that OAuth knows, never one of the server's own."""

import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oauth.world import JWT_BEARER, OAuth

some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

KNOWN = (
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "grant_type",
    "scope",
    "token",
    "token_type_hint",
)
VALUES = st.one_of(
    st.text(max_size=60), st.sampled_from(("server", "backend", "public", "client_credentials", JWT_BEARER, "a.b.c", "system/*.rs"))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def _b64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _is_an_error(answer: Any) -> None:
    assert 400 <= answer.status_code < 500, answer.text
    assert set(answer.json()) == {"error", "error_description"}


@pytest.mark.parametrize("endpoint", ["token", "introspect", "revoke"])
def test_any_form(oauth: OAuth, endpoint: str) -> None:
    """[D9, H7] Any parameters with any values."""

    @some
    @given(st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=10), VALUES, max_size=6))
    def check(form: dict[str, str]) -> None:
        answer = oauth.post(endpoint, form)
        if not (endpoint == "revoke" and answer.status_code == 200):
            _is_an_error(answer)

    check()


def test_any_assertion(oauth: OAuth) -> None:
    """[H3] Any header and claims, in the form of a JWT."""
    headers = st.dictionaries(
        st.sampled_from(("alg", "kid", "typ", "jku", "jwk", "crit", "b64", "x5c", "x5u", "zip", "enc")), JSON, max_size=5
    )
    claims = st.dictionaries(st.sampled_from(("iss", "sub", "aud", "exp", "nbf", "iat", "jti")), JSON, max_size=7)

    @some
    @given(headers | JSON, claims | JSON, st.binary(max_size=100), st.booleans())
    def check(header: Any, told: Any, signature: bytes, plausible: bool) -> None:
        if plausible and isinstance(header, dict) and isinstance(told, dict):
            header = {**header, "alg": "ES384", "kid": "backend"}
            told = {**told, "iss": "backend", "sub": "backend"}
        assertion = f"{_b64(header)}.{_b64(told)}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        _is_an_error(oauth.post("token", oauth.service_form(assertion)))

    check()


def test_any_authorization_header(oauth: OAuth) -> None:
    """[D9] Any bytes as id and secret, any scheme."""

    @some
    @given(st.sampled_from(("Basic", "basic", "Bearer", "x", "")), st.binary(max_size=60), st.booleans())
    def check(scheme: str, secret: bytes, encoded: bool) -> None:
        value = base64.b64encode(secret) if encoded else bytes(byte for byte in secret if 32 < byte < 127)
        answer = oauth.post("introspect", {"token": "x"}, headers={b"Authorization": (scheme.encode() + b" " + value).strip()})
        _is_an_error(answer)

    check()


@pytest.mark.parametrize("endpoint, caller", [("register", ""), ("launch", "doc")])
def test_any_json(oauth: OAuth, endpoint: str, caller: str) -> None:
    """[J1] Any JSON as metadata of a client, or as the context of a launch."""
    names = (
        "client_name",
        "redirect_uris",
        "jwks",
        "jwks_uri",
        "scope",
        "grant_types",
        "client_id",
        "patient",
        "fhirContext",
        "smart_style_url",
    )

    @some
    @given(JSON | st.dictionaries(st.sampled_from(names), JSON, max_size=5))
    def check(body: Any) -> None:
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | (oauth.bearer(caller) if caller else {})
        _is_an_error(oauth.http.post(f"/oauth/{endpoint}", content=content, headers=headers))

    check()
