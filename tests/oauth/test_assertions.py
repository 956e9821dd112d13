"""Client assertions (https://hl7.org/fhir/smart-app-launch/STU2.2/client-confidential-asymmetric.html): one road in, and none beside it."""

import base64
import dataclasses
import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from joserfc import jwk
from joserfc.jws import JWSRegistry
from oauth.world import JWT_BEARER, OAuth, key, public, refused, signed

from smart_auth.clients import Client
from smart_auth.server import assertions
from smart_auth.service import Service

Claims = dict[str, Any]


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unsigned(header: Claims, claims: Claims, signature: bytes = b"") -> str:
    return ".".join((_b64(json.dumps(header).encode()), _b64(json.dumps(claims).encode()), _b64(signature)))


def _claims(oauth: OAuth, **more: Any) -> Claims:
    usual = {
        "iss": "backend",
        "sub": "backend",
        "aud": oauth.token_url,
        "exp": int(time.time()) + 60,
        "jti": "x" + str(time.time_ns()),
    }
    return usual | more


@pytest.mark.parametrize("client, signer", [("backend", key("backend")), ("backend", key("backend-rsa", "RSA")), ("writer", None)])
def test_a_right_assertion(oauth: OAuth, client: str, signer: Any) -> None:
    """[H4] A service proves itself with ES384 or RS384."""
    answer = oauth.post("token", oauth.service_form(oauth.assertion(client, signer)))
    assert answer.status_code == 200, answer.text


def test_the_client_need_not_be_named_twice(oauth: OAuth) -> None:
    """[C3] The client is known by the assertion, with no client_id, iat or nbf; a client_id that is the same does no harm."""
    form = oauth.service_form(oauth.assertion("backend"))
    assert oauth.post("token", form).status_code == 200
    assert oauth.post("token", oauth.service_form(oauth.assertion("backend"), client_id="backend")).status_code == 200
    refused(oauth.post("token", oauth.service_form(oauth.assertion("backend"), client_id="writer")), "invalid_client")


CLAIMS: dict[str, Claims] = {
    "aud of another server": {"aud": "https://elsewhere.example/oauth/token"},
    "aud of the FHIR base": {"aud": "BASE"},
    "aud missing": {"aud": None},
    "aud an array without the token URL": {"aud": ["https://elsewhere.example/token"]},
    "aud an object": {"aud": {"token": "url"}},
    "iss another": {"iss": "writer"},
    "sub another": {"sub": "writer"},
    "iss and sub unknown": {"iss": "nobody", "sub": "nobody"},
    "iss and sub an app with a secret": {"iss": "server", "sub": "server"},
    "iss and sub a disabled app": {"iss": "gone", "sub": "gone"},
    "iss a list": {"iss": ["backend"], "sub": ["backend"]},
    "iss missing": {"iss": None},
    "exp missing": {"exp": None},
    "exp past": {"exp": "-10"},
    "exp too far ahead": {"exp": "+400"},
    "exp a year ahead": {"exp": "+31536000"},
    "exp a text": {"exp": "soon"},
    "exp true": {"exp": True},
    "exp endless": {"exp": float("inf")},
    "exp not a number": {"exp": float("nan")},
    "nbf in the future": {"nbf": "+60"},
    "iat in the future": {"iat": "+60"},
    "iat a text": {"iat": "now-ish"},
    "jti missing": {"jti": None},
    "jti empty": {"jti": ""},
    "jti a number": {"jti": 7},
    "jti too long": {"jti": "j" * 256},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_that_is_wrong(oauth: OAuth, name: str) -> None:
    """[H8, H13, K7, K8, K9] An assertion that is signed well, but of which one claim is missing, wrong, too old or too long good."""
    claims = dict(CLAIMS[name])
    for each, value in claims.items():
        if isinstance(value, str) and value[:1] in "+-" and value[1:].isdigit():
            claims[each] = int(time.time()) + int(value)
        elif value == "BASE":
            claims[each] = f"{oauth.root}/fhir"
    refused(oauth.post("token", oauth.service_form(oauth.assertion("backend", **claims))), "invalid_client")


def test_aud_may_be_an_array(oauth: OAuth) -> None:
    """[K9] The token URL may be one of several."""
    audience = ["https://elsewhere.example/token", oauth.token_url]
    assert oauth.post("token", oauth.service_form(oauth.assertion("backend", aud=audience))).status_code == 200


@pytest.mark.parametrize("exp, fits", [(299, True), (300, True), (305, True), (306, False), (-4, True), (-5, False)])
def test_how_long_an_assertion_is_good(oauth: OAuth, monkeypatch: pytest.MonkeyPatch, exp: int, fits: bool) -> None:
    """[H13, K7, K8] Up to five minutes, and a few seconds for clocks that differ."""
    now, check = int(time.time()), assertions._check_claims

    def at_that_second(service: Service, claims: Claims) -> int:
        return check(dataclasses.replace(service, clock=lambda: now * 1_000_000), claims)

    monkeypatch.setattr(assertions, "_check_claims", at_that_second)
    answer = oauth.post("token", oauth.service_form(oauth.assertion("backend", exp=now + exp)))
    assert (answer.status_code == 200) is fits, answer.text


HEADERS: dict[str, Claims] = {
    "typ of an access token": {"typ": "at+jwt"},
    "typ a list": {"typ": ["JWT"]},
    "unknown kid": {"kid": "nobody's"},
    "kid a path": {"kid": "../../../../dev/null"},
    "kid of SQL": {"kid": "x' OR '1'='1"},
    "kid a number": {"kid": 1},
    "kid too long": {"kid": "k" * 300},
    "kid of the other key type": {"kid": "backend-rsa"},
    "jku of nobody": {"jku": "https://evil.example/jwks"},
    "jku of this machine": {"jku": "http://127.0.0.1:1/jwks"},
    "crit": {"crit": ["exp"], "exp": 1},
    "b64": {"b64": False, "crit": ["b64"]},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_wrong(oauth: OAuth, name: str) -> None:
    """[H8, K11] What the header says of keys counts for nothing but for choosing among those registered."""
    usual = {"alg": "ES384", "kid": "backend", "typ": "JWT"}
    header, claims = usual | HEADERS[name], _claims(oauth)
    message = ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
    genuine = signed(usual, claims, key("backend"))  # to sign whatever header, the raw operation
    raw = _signature(message.encode())
    assert genuine.count(".") == 2
    refused(oauth.post("token", oauth.service_form(f"{message}.{_b64(raw)}")), "invalid_client")


def _signature(message: bytes) -> bytes:
    return JWSRegistry(algorithms=["ES384"]).get_alg("ES384").sign(message, key("backend"))


def test_a_signature_over_any_header_is_right_here(oauth: OAuth) -> None:
    """[H4] The signatures of the test above are genuine: with a header that is right the same way of signing is let in."""
    parts = ({"alg": "ES384", "kid": "backend", "typ": "JWT", "x-unknown": 1}, _claims(oauth))
    message = ".".join(_b64(json.dumps(part).encode()) for part in parts)
    answer = oauth.post("token", oauth.service_form(f"{message}.{_b64(_signature(message.encode()))}"))
    assert answer.status_code == 200, answer.text


def test_a_key_that_the_header_brings_along(oauth: OAuth) -> None:
    """[H8] `jwk` in the header is a stranger's key, whoever signs with it."""
    stranger = key("stranger")
    header = {"jwk": stranger.as_dict(private=False), "kid": "backend"}
    refused(oauth.post("token", oauth.service_form(oauth.assertion("backend", stranger, header=header))), "invalid_client")


def test_the_key_of_another_client(oauth: OAuth) -> None:
    """[H8] A signature by a key that is registered, but for another client."""
    refused(oauth.post("token", oauth.service_form(oauth.assertion("backend", key("writer")))), "invalid_client")
    header = {"kid": "backend"}
    refused(oauth.post("token", oauth.service_form(oauth.assertion("backend", key("writer"), header=header))), "invalid_client")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
def test_no_signature(oauth: OAuth, algorithm: str) -> None:
    """[K10] alg=none, however it is written."""
    assertion = _unsigned({"alg": algorithm, "kid": "backend", "typ": "JWT"}, _claims(oauth))
    refused(oauth.post("token", oauth.service_form(assertion)), "invalid_client")


@pytest.mark.parametrize("algorithm, hash", [("HS256", hashlib.sha256), ("HS384", hashlib.sha384)])
@pytest.mark.parametrize("secret", ["pem", "jwk"])
def test_the_public_key_as_a_secret(oauth: OAuth, algorithm: str, hash: Any, secret: str) -> None:
    """[K10] A MAC with the public key as its secret."""
    signer = key("backend-rsa", "RSA")
    known = signer.as_pem(private=False) if secret == "pem" else json.dumps(signer.as_dict(private=False)).encode()
    header, claims = {"alg": algorithm, "kid": "backend-rsa", "typ": "JWT"}, _claims(oauth)
    message = ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
    assertion = f"{message}.{_b64(hmac.new(known, message.encode(), hash).digest())}"
    refused(oauth.post("token", oauth.service_form(assertion)), "invalid_client")


@pytest.mark.parametrize("algorithm, kind", [("RS256", "RSA"), ("PS384", "RSA"), ("RS512", "RSA"), ("ES256", "P-256")])
def test_other_algorithms(oauth: OAuth, algorithm: str, kind: str) -> None:
    """[H13] Only RS384 and ES384, also where the key could be used with another algorithm."""
    signer = key("backend-rsa", "RSA") if kind == "RSA" else key("p256", kind)
    refused(
        oauth.post("token", oauth.service_form(oauth.assertion("backend", signer, header={"alg": algorithm}))), "invalid_client"
    )


@pytest.mark.parametrize(
    "assertion",
    [
        "",
        "x",
        "a.b.c",
        "a.b",
        "....",
        "e30.e30.e30",
        "é.é.é",
        "x" * 9_000,
        _unsigned({"alg": "ES384"}, {}),
        "bnVsbA.bnVsbA.",
        "W10.W10.AA",
    ],
)
def test_what_is_no_assertion(oauth: OAuth, assertion: str) -> None:
    """[H3, H7] Anything else in place of a signed JWT."""
    refused(oauth.post("token", oauth.service_form(assertion)), "invalid_request" if len(assertion) > 8_192 else "invalid_client")


@pytest.mark.parametrize("kind", ["not_an_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", ""])
def test_another_kind_of_assertion(oauth: OAuth, kind: str) -> None:
    """[H2, H7] client_assertion_type is the one of JWTs, or the request is refused."""
    form = oauth.service_form(oauth.assertion("backend")) | {"client_assertion_type": kind}
    refused(oauth.post("token", form), "invalid_client")


def test_used_once(oauth: OAuth) -> None:
    """[H13, K6] A second use of the same jti is refused, also in an assertion made anew."""
    first = oauth.assertion("backend", jti="only-once")
    assert oauth.post("token", oauth.service_form(first)).status_code == 200
    refused(oauth.post("token", oauth.service_form(first)), "invalid_client")
    refused(oauth.post("token", oauth.service_form(oauth.assertion("backend", jti="only-once"))), "invalid_client")
    assert oauth.post("token", oauth.service_form(oauth.assertion("writer", jti="only-once"))).status_code == 200


def test_used_many_times_at_once(oauth: OAuth) -> None:
    """[K6] Of eight uses of one assertion at the same moment one succeeds."""
    form = oauth.service_form(oauth.assertion("backend"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: oauth.post("token", form), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7
    assert all(answer.json().get("error", "invalid_client") == "invalid_client" for answer in answers)


@pytest.mark.parametrize("more", [{"scope": "system/Patient.xyz"}, {"grant_type": "refresh_token", "refresh_token": "x"}])
def test_a_refused_request_uses_it_up(oauth: OAuth, more: dict[str, str]) -> None:
    """[H13] An assertion that was right is used up by a request that is refused, too: whoever sees it in a log has no use of it."""
    form = oauth.service_form(oauth.assertion("backend"))
    assert oauth.post("token", form | more).json()["error"] in ("invalid_scope", "unauthorized_client")
    assert "used before" in refused(oauth.post("token", form), "invalid_client")
    assert "used before" in refused(oauth.post("token", form | more), "invalid_client")


def test_without_a_kid(oauth: OAuth) -> None:
    """[H14] Without kid the one key that fits is taken; where two fit, none is."""
    assert oauth.post("token", oauth.service_form(oauth.assertion("writer", header={"kid": None}))).status_code == 200
    twice = Client("twice", "Two keys", "backend", "system/*.rs", "private_key_jwt", jwks=public(key("one"), key("two")))
    oauth.stored(twice)
    assert oauth.post("token", oauth.service_form(oauth.assertion("twice", key("two")))).status_code == 200
    refused(oauth.post("token", oauth.service_form(oauth.assertion("twice", key("two"), header={"kid": None}))), "invalid_client")


def test_keys_are_told_apart_by_type(oauth: OAuth) -> None:
    """[H14] Two keys of one kid: the algorithm says which of them."""
    keys = jwk.ECKey.generate_key("P-384", {"kid": "same"}), jwk.RSAKey.generate_key(2048, {"kid": "same"})
    oauth.stored(Client("same", "One kid", "backend", "system/*.rs", "private_key_jwt", jwks=public(*keys)))
    for signer in keys:
        assert oauth.post("token", oauth.service_form(oauth.assertion("same", signer))).status_code == 200


def test_an_app_with_a_key_proves_itself_by_it_only(oauth: OAuth) -> None:
    """A client that is registered with a key has no other way in, and one with a secret has no key."""
    refused(oauth.post("introspect", {"client_id": "keyed", "token": "x"}), "invalid_client")
    refused(oauth.post("introspect", {"token": "x"}, auth=("keyed", "secret")), "invalid_client")
    form = {"client_assertion_type": JWT_BEARER, "client_assertion": oauth.assertion("keyed"), "token": "x"}
    assert oauth.post("introspect", form).json() == {"active": False}
    refused(oauth.post("introspect", form), "invalid_client")
