"""Dynamic client registration (RFC 7591)."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from oauth.world import OAuth, key, public, refused, weak

from smart_auth import service as counting
from smart_auth.registration import register as registering

APP = {"client_name": "Diary", "redirect_uris": ["https://diary.example/back"], "scope": "openid patient/*.rs"}
SERVICE = {
    "client_name": "Exporter", "grant_types": ["client_credentials"], "token_endpoint_auth_method": "private_key_jwt",
    "jwks": public(key("registered")), "scope": "system/*.rs",
}  # fmt: skip


def asked(oauth: OAuth, metadata: Any, token: str = "", **options: Any) -> Any:
    headers = oauth.bearer(token) if token else {}
    if isinstance(metadata, bytes):
        return oauth.http.post("/oauth/register", content=metadata, headers={"Content-Type": "application/json", **headers})
    return oauth.http.post("/oauth/register", json=metadata, headers=headers, **options)


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """More registrations than anybody makes in an hour."""
    monkeypatch.setattr(registering, "MOST_AN_HOUR", 1_000)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", None])
def test_a_confidential_app(oauth: OAuth, method: str | None) -> None:
    """[J1] 201, with the metadata as registered, an id and a secret that work, not kept by caches."""
    answer = asked(oauth, APP | ({"token_endpoint_auth_method": method} if method else {}) | {"software_id": "x", "unknown": [1]})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store" and answer.headers["pragma"] == "no-cache"
    made = answer.json()
    assert {name: made[name] for name in APP} == APP
    assert made["token_endpoint_auth_method"] == (method or "client_secret_basic")
    assert made["grant_types"] == ["authorization_code", "refresh_token"] and made["response_types"] == ["code"]
    assert made["client_secret_expires_at"] == 0 and made["client_id_issued_at"] > 0
    assert made["software_id"] == "x" and "unknown" not in made
    assert oauth.post("revoke", {"token": "x"}, auth=(made["client_id"], made["client_secret"])).status_code == 200
    refused(oauth.post("revoke", {"token": "x"}, auth=(made["client_id"], "wrong")), "invalid_client")


def test_a_public_app(oauth: OAuth) -> None:
    """[J1] It gets no secret."""
    made = asked(oauth, APP | {"token_endpoint_auth_method": "none"}).json()
    assert "client_secret" not in made
    assert oauth.post("revoke", {"token": "x", "client_id": made["client_id"]}).status_code == 200


@pytest.mark.parametrize("keys", [{"jwks": public(key("app"))}, {"jwks_uri": "https://diary.example/jwks"}])
def test_an_app_with_keys(oauth: OAuth, keys: dict[str, Any]) -> None:
    """[J1, H14] By a set of its own or the URL of one, without a secret."""
    made = asked(oauth, APP | {"token_endpoint_auth_method": "private_key_jwt"} | keys).json()
    assert "client_secret" not in made
    assert made[next(iter(keys))] == next(iter(keys.values()))


def test_an_app_starts_to_sign_in(oauth: OAuth) -> None:
    """[J1] What was registered counts at the authorization endpoint: the redirect URI, letter by letter."""
    made = asked(oauth, APP | {"token_endpoint_auth_method": "none"}).json()
    asked_for = {
        "response_type": "code", "client_id": made["client_id"], "scope": "patient/*.rs", "state": "s", "aud": f"{oauth.root}/fhir",
        "code_challenge": "x" * 43, "code_challenge_method": "S256",
    }  # fmt: skip
    right = oauth.http.get("/oauth/authorize", params=asked_for | {"redirect_uri": "https://diary.example/back"})
    assert right.status_code == 303 and right.headers["location"].startswith("/oauth/consent?")
    wrong = oauth.http.get("/oauth/authorize", params=asked_for | {"redirect_uri": "https://diary.example/back/"})
    assert wrong.status_code == 400


MISTAKES = {
    "unsupported_response_type": {"response_type": "token"},
    "invalid_request": {"code_challenge": "short"},
    "invalid_scope": {"scope": "nothing"},
    "login_required": {"prompt": "none"},
}


@pytest.mark.parametrize("error", MISTAKES)
def test_nobody_is_led_to_an_address_that_anybody_registered(oauth: OAuth, error: str) -> None:
    """Of an app that registered itself a wrong request is a page: no link to this server leads elsewhere by itself (RFC 9700, 4.11.2). An
    app that somebody answers for is told of its mistake."""
    told = {}
    for token in ("", "command line"):
        made = asked(oauth, APP | {"token_endpoint_auth_method": "none"}, token).json()
        asked_for = {
            "response_type": "code", "client_id": made["client_id"], "scope": "patient/*.rs", "state": "s", "aud": f"{oauth.root}/fhir",
            "code_challenge": "x" * 43, "code_challenge_method": "S256", "redirect_uri": "https://diary.example/back",
        }  # fmt: skip
        told[token] = oauth.http.get("/oauth/authorize", params=asked_for | MISTAKES[error])
    assert told[""].status_code == 400 and "location" not in told[""].headers
    assert "text/html" in told[""].headers["content-type"] and "https://diary.example" not in told[""].text
    assert told["command line"].headers["location"].startswith(f"https://diary.example/back?error={error}&")


GOOD_URIS = (
    "https://diary.example/back?x=1", "http://127.0.0.1:8080/back", "http://[::1]/back", "http://localhost:3000/",
    "org.example.diary:/back",     "com.example.app:/oauth2redirect/x", "com.example.app://callback",
)  # fmt: skip


@pytest.mark.parametrize("uri", GOOD_URIS)
def test_redirect_uris_that_are_taken(oauth: OAuth, uri: str) -> None:
    """[J1] https, this machine, and schemes of native apps (RFC 8252)."""
    assert asked(oauth, APP | {"redirect_uris": [uri]}).json()["redirect_uris"] == [uri]


BAD_URIS = (
    "http://diary.example/back", "https://diary.example/back#x", "https://diary.example/#", "https://*.example/back",
    "javascript:alert(1)", "data:text/html,x", "JavaScript:alert(1)", "vbscript:x", "file:///etc/passwd",
    "/back", "", "diary", "diary:/back", "https://", "https:///x",
    "https://user:pass@diary.example/", "https://diary.example\\@evil.example/", "https://diary.example/ back",
    "https://diary.example/\r\nX: y",
    "https://diary.example:99999/", "http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "urn:ietf:wg:oauth:2.0:oob",
    "https://diary.example/" + "x" * 1_990, "https://dïary.example/", "https://[::1/x",
)  # fmt: skip


@pytest.mark.parametrize("uri", BAD_URIS)
def test_redirect_uris_that_are_not(oauth: OAuth, uri: str) -> None:
    """[J1] Anything that leads elsewhere, runs, or stands for many: invalid_redirect_uri."""
    refused(asked(oauth, APP | {"redirect_uris": ["https://diary.example/back", uri]}), "invalid_redirect_uri", 400)


PRIVATE = key("private").as_dict(private=True)
ES = key("app").as_dict(private=False)
BAD: dict[str, Any] = {
    "no name": {"client_name": None},
    "empty name": {"client_name": ""},
    "name without end": {"client_name": "x" * 300},
    "name that turns around": {"client_name": "Diary\u202eyraid"},
    "name with a line break": {"client_name": "Diary\nOther"},
    "too many redirect_uris": {"redirect_uris": [f"https://diary.example/{n}" for n in range(30)]},
    "redirect_uris no list": {"redirect_uris": "https://diary.example/"},
    "jwks and jwks_uri": {"jwks": {"keys": [ES]}, "jwks_uri": "https://diary.example/jwks"},
    "keys without the method": {"jwks": {"keys": [ES]}, "token_endpoint_auth_method": "none"},
    "the method without keys": {"token_endpoint_auth_method": "private_key_jwt"},
    "unknown method": {"token_endpoint_auth_method": "client_secret_jwt"},
    "a private key": {"jwks": {"keys": [PRIVATE]}},
    "a symmetric key": {"jwks": {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}},
    "a short key": {"jwks": {"keys": [weak("short")]}},
    "another curve": {"jwks": {"keys": [key("p521", "P-521").as_dict(private=False)]}},
    "the same kid twice": {"jwks": {"keys": [ES, public(key("other"))["keys"][0] | {"kid": "app"}]}},
    "no keys": {"jwks": {"keys": []}},
    "jwks no set": {"jwks": {"x": 1}},
    "a broken key": {"jwks": {"keys": [ES | {"x": "AAAA"}]}},
    "jwks_uri over http": {"jwks_uri": "http://diary.example/jwks"},
    "jwks_uri within the network": {"jwks_uri": "https://169.254.169.254/jwks"},
    "jwks_uri a file": {"jwks_uri": "file:///etc/passwd"},
    "implicit grant": {"grant_types": ["implicit"]},
    "password grant": {"grant_types": ["authorization_code", "password"]},
    "refresh alone": {"grant_types": ["refresh_token"]},
    "response type token": {"response_types": ["token"]},
    "id_token without signature": {"id_token_signed_response_alg": "none"},
    "page that runs": {"client_uri": "javascript:alert(1)"},
    "logo over http": {"logo_uri": "http://diary.example/logo.png"},
    "scope of a service": {"scope": "system/*.rs"},
    "scope among others": {"scope": "patient/*.rs system/Patient.rs"},
    "scope of the operator": {"scope": "patient/*.rs smart/orchestrate_launch"},
    "scope of the operator, disguised": {"scope": "patient/*.rs smart/orchestrate_launch?x=y"},
    "scope of nothing": {"scope": "nonsense"},
    "scope without end": {"scope": "patient/Patient.rs " * 300},
    "a service": SERVICE,
    "a service with a secret": {"grant_types": ["client_credentials"]},
}


@pytest.mark.parametrize("name", BAD)
def test_metadata_that_cannot_be_taken(oauth: OAuth, name: str) -> None:
    """[J1, H14] What is wrong, secret, or not for anybody to have: invalid_client_metadata."""
    metadata = {member: value for member, value in (APP | BAD[name]).items() if value is not None}
    refused(asked(oauth, metadata), "invalid_client_metadata", 400)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"x", b'{"redirect_uris": ' + b"[" * 3_000, b'"' + b"x" * 1_000 + b'"'])
def test_a_body_that_is_no_object(oauth: OAuth, body: bytes) -> None:
    """[J1] The body is a JSON object."""
    refused(asked(oauth, body), "invalid_client_metadata", 400)


def test_a_body_of_another_kind_or_size(oauth: OAuth) -> None:
    """[J1] Forms are not taken, and nothing that is large."""
    refused(oauth.post("register", APP), "invalid_client_metadata", 400)
    assert asked(oauth, APP | {"client_uri": "https://x/" + "x" * 200_000}).status_code == 413


def test_without_redirect_uris(oauth: OAuth) -> None:
    """[J1] An app needs them."""
    refused(asked(oauth, {"client_name": "x"}), "invalid_redirect_uri", 400)


def test_a_service_by_the_operator(oauth: OAuth) -> None:
    """[J1] With a token of the command line a service is registered, and its key is good."""
    made = asked(oauth, SERVICE, "command line")
    assert made.status_code == 201, made.text
    id = made.json()["client_id"]
    form = oauth.service_form(oauth.assertion(id, key("registered")))
    assert oauth.post("token", form).json()["scope"] == "system/*.rs"
    refused(asked(oauth, SERVICE, "nonsense"), "invalid_token", 401)


@pytest.mark.parametrize("who", ["doc", "chief", "admin in disguise", "everything", "command line, reading"])
def test_an_app_makes_itself_no_service(oauth: OAuth, by_token: OAuth, who: str) -> None:
    """[J1] A token of a user, an administrator's too, is in the hands of an app: nothing is registered with it."""
    refused(asked(oauth, SERVICE, who), "insufficient_scope", 403)
    refused(asked(by_token, SERVICE, who), "insufficient_scope", 403)
    refused(asked(by_token, APP, who), "insufficient_scope", 403)


def test_the_name_is_text_and_nothing_else(oauth: OAuth) -> None:
    """[J1] A name with markup is kept and given back as it is; pages escape it."""
    assert asked(oauth, APP | {"client_name": "<b>Diary</b>"}).json()["client_name"] == "<b>Diary</b>"


def test_the_event_of_a_registration(oauth: OAuth) -> None:
    """Who registered what is recorded, without the secret."""
    made = asked(oauth, APP | {"client_name": "Watched"}).json()
    found = oauth.http.get("/fhir/AuditEvent?_sort=-_lastUpdated&_count=100", headers=oauth.bearer("chief")).text
    assert "Watched" in found and made["client_id"] in found
    assert made["client_secret"] not in found


def test_no_more_than_so_many_an_hour(oauth: OAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    """[J1, K16] Anybody may register, but not without end: 429 with Retry-After; the operator goes on."""
    monkeypatch.setattr(registering, "MOST_AN_HOUR", 1)
    asked(oauth, APP)
    answer = asked(oauth, APP)
    refused(answer, "temporarily_unavailable", 429)
    assert 0 < int(answer.headers["retry-after"]) <= 3_600
    assert asked(oauth, APP, "command line").status_code == 201


@pytest.mark.usefixtures("slow")
def test_no_more_than_so_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[J1, K16] Nor by asking at the same moment: of twelve, three are registered."""
    monkeypatch.setattr(registering, "MOST_AN_HOUR", 3)
    one = OAuth(tmp_path, registration="open")
    try:
        with ThreadPoolExecutor(12) as pool:
            found = sorted(
                pool.map(lambda _: httpx.post(f"{one.root}/oauth/register", json=APP, timeout=30).status_code, range(12))
            )
    finally:
        one.close()
    assert found == [201] * 3 + [429] * 9


@pytest.mark.usefixtures("slow")
def test_as_many_as_are_allowed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is turned away before there are too many, however many come at the same moment."""
    monkeypatch.setattr(registering, "MOST_AN_HOUR", 10)
    monkeypatch.setattr(counting, "_TRIES", 3)
    one = OAuth(tmp_path, registration="open")
    try:
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda _: httpx.post(f"{one.root}/oauth/register", json=APP, timeout=60).status_code, range(12)))
    finally:
        one.close()
    assert (found.count(201), found.count(429)) == (10, 2)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuth]:
    one = OAuth(tmp_path_factory.mktemp("closed"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def by_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuth]:
    one = OAuth(tmp_path_factory.mktemp("by-token"), registration="token")
    yield one
    one.close()


def test_closed(closed: OAuth) -> None:
    """[J1, A8] Unless the operator opens it, nobody registers, and discovery names no endpoint."""
    refused(asked(closed, APP), "access_denied", 403)
    refused(asked(closed, APP, "command line"), "access_denied", 403)
    assert "registration_endpoint" not in closed.http.get("/fhir/.well-known/smart-configuration").json()
    assert "register" not in json.dumps(closed.http.get("/fhir/metadata").json()["rest"][0]["security"])


def test_by_token(by_token: OAuth) -> None:
    """[J1] Then the operator's token is needed for an app too."""
    refused(asked(by_token, APP), "invalid_token", 401)
    assert asked(by_token, APP, "command line").status_code == 201
