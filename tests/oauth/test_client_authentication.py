"""How clients with and without a secret prove themselves (RFC 6749, 2.3), at the revocation endpoint, which asks all kinds."""

import base64
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from oauth.world import JWT_BEARER, SECRET, OAuth, refused

TOKEN = {"token": "x"}


def basic(text: bytes, scheme: str = "Basic") -> dict[str, str]:
    return {"Authorization": f"{scheme} {base64.b64encode(text).decode()}"}


def pair(id: str, secret: str) -> dict[str, str]:
    return basic(f"{id}:{secret}".encode())


RIGHT: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "basic": (pair("server", SECRET), {}),
    "basic, percent-encoded": (pair("server", quote(SECRET, safe="")), {}),
    "basic, form-encoded": (pair("server", quote_plus(SECRET)), {}),
    "basic in lower case": (basic(f"server:{SECRET}".encode(), "basic"), {}),
    "basic, with the same client_id": (pair("server", SECRET), {"client_id": "server"}),
    "basic, with an empty secret in the form": (pair("server", SECRET), {"client_secret": ""}),
    "post": ({}, {"client_id": "server", "client_secret": SECRET}),
    "none": ({}, {"client_id": "public"}),
    "none, with an empty secret": ({}, {"client_id": "public", "client_secret": ""}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_who_is_let_in(oauth: OAuth, name: str) -> None:
    """[C1, C2] Basic as clients send it, the secret in the form, and apps that have none."""
    headers, form = RIGHT[name]
    assert oauth.post("revoke", {**TOKEN, **form}, headers=headers).status_code == 200


WRONG: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "nobody": ({}, {}, "invalid_client"),
    "unknown": ({}, {"client_id": "BAD_CLIENT_ID"}, "invalid_client"),
    "unknown with secret": ({}, {"client_id": "BAD_CLIENT_ID", "client_secret": SECRET}, "invalid_client"),
    "unknown by basic": (pair("BAD_CLIENT_ID", SECRET), {}, "invalid_client"),
    "wrong secret": ({}, {"client_id": "server", "client_secret": "wrong"}, "invalid_client"),
    "wrong secret by basic": (pair("server", "wrong"), {}, "invalid_client"),
    "no secret": ({}, {"client_id": "server"}, "invalid_client"),
    "empty secret": ({}, {"client_id": "server", "client_secret": ""}, "invalid_client"),
    "empty secret by basic": (pair("server", ""), {}, "invalid_client"),
    "the hash for the secret": (pair("server", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), {}, "invalid_client"),
    "a secret for who has none": ({}, {"client_id": "public", "client_secret": "x"}, "invalid_client"),
    "disabled": ({}, {"client_id": "gone", "client_secret": SECRET}, "invalid_client"),
    "disabled by basic": (pair("gone", SECRET), {}, "invalid_client"),
    "basic that is no base64": ({"Authorization": "Basic ###"}, {}, "invalid_client"),
    "basic without a colon": (basic(b"server"), {}, "invalid_client"),
    "basic without an id": (basic(f":{SECRET}".encode()), {}, "invalid_client"),
    "basic that is no UTF-8": (basic(b"server:\xff\xfe"), {}, "invalid_client"),
    "percent-encoded bytes that are no UTF-8": (pair("server", "%ff%fe"), {}, "invalid_client"),
    "basic without end": (pair("server", "x" * 5_000), {}, "invalid_client"),
    "another scheme": ({"Authorization": "Digest username=server"}, {}, "invalid_client"),
    "an id without end": ({}, {"client_id": "x" * 5_000}, "invalid_client"),
    "an id with a NUL": ({}, {"client_id": "server\x00"}, "invalid_client"),
    "an id of SQL": ({}, {"client_id": "server' OR '1'='1", "client_secret": SECRET}, "invalid_client"),
    "an id of MongoDB": ({}, {"client_id[$ne]": "x", "client_secret": SECRET}, "invalid_client"),
    "two ways, the same": (pair("server", SECRET), {"client_secret": SECRET}, "invalid_request"),
    "two ways, a bad one beside a good one": (pair("server", "wrong"), {"client_id": "server", "client_secret": SECRET}, "invalid_request"),
    "a secret and an assertion": ({}, {"client_secret": SECRET, "client_assertion": "x"}, "invalid_request"),
    "basic and an assertion": (pair("server", SECRET), {"client_assertion_type": JWT_BEARER}, "invalid_request"),
    "two ids": (pair("server", SECRET), {"client_id": "public"}, "invalid_request"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_who_is_not(oauth: OAuth, name: str) -> None:
    """[D2, D9] Everybody else: 401, with WWW-Authenticate; 400 for two ways at once."""
    headers, form, error = WRONG[name]
    answer = oauth.post("revoke", {**TOKEN, **form}, headers=headers)
    refused(answer, error, 401 if error == "invalid_client" else 400)
    assert answer.headers.get("www-authenticate") == ('Basic realm="oauth"' if error == "invalid_client" else None)


def _seen(answer: httpx.Response) -> Any:
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id")}
    return answer.status_code, headers, answer.text


@pytest.mark.parametrize("way", ["basic", "post"])
def test_nobody_learns_which_clients_there_are(oauth: OAuth, way: str) -> None:
    """[D2] An unknown client, a disabled one, one without a secret and a wrong secret are answered alike."""

    def answer(id: str, secret: str) -> Any:
        if way == "basic":
            return _seen(oauth.post("revoke", TOKEN, headers=pair(id, secret)))
        return _seen(oauth.post("revoke", {**TOKEN, "client_id": id, "client_secret": secret}))

    told = [
        answer("server", "wrong"),
        answer("nobody", "wrong"),
        answer("gone", SECRET),
        answer("public", "x"),
        answer("keyed", "x"),
    ]
    assert all(each == told[0] for each in told)


def test_the_event_of_a_refusal(oauth: OAuth) -> None:
    """Who failed to prove which client they are is recorded, without what they tried."""
    oauth.post("revoke", TOKEN, headers=pair("watched-client", "a-wrong-secret"))
    oauth.post("revoke", {**TOKEN, "client_id": "<watched>", "client_secret": "a-wrong-secret"})
    found = oauth.http.get("/fhir/AuditEvent?_sort=-_lastUpdated&_count=10", headers=oauth.bearer("chief")).text
    assert "a client was refused" in found and "watched-client" in found
    assert "a-wrong-secret" not in found and "<watched>" not in found
