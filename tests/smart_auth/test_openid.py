"""The id_token, the keys that sign it, userinfo (OpenID Connect Core 1.0, Discovery 1.0)."""

import asyncio
import dataclasses
import time
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from walking import KINDS, App, Smart, answered

from resources.store import RecordChange
from smart_auth.keys import ALGORITHMS, KIND, public_keys, rotate, sign, stored_keys
from smart_auth.openid.subjects import forgotten_subject, subject_of
from smart_auth.sealing import Sealer, WrongSecret
from smart_auth.service import Service

SCOPE = "openid fhirUser user/Practitioner.rs"


def keys(smart: Smart) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(configuration(smart)["jwks_uri"]).json()["keys"]
    return found


def configuration(smart: Smart) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{smart.root}/.well-known/openid-configuration").json()
    return found


def opened(smart: Smart, token: str, algorithm: str = "RS256") -> jwt.Token:
    """The token, its signature checked by a key that is told in public."""
    return jwt.decode(token, KeySet.import_key_set({"keys": keys(smart)}), algorithms=[algorithm])


@pytest.mark.parametrize("kind", KINDS)
def test_the_id_token(smart: Smart, kind: str) -> None:
    """[C14, F1, F5, F6] RS256 by a key that is told, with who has signed in, for which app, when and how."""
    app = App(smart.root, kind, scope=SCOPE)
    before = int(time.time())
    token = opened(smart, smart.tokens(app, nonce="n-0S6_WzA2Mj", prompt="consent")["id_token"])
    header, claims = token.header, token.claims
    assert (header["alg"], header["typ"]) == ("RS256", "JWT")
    assert header["kid"] in [key["kid"] for key in keys(smart)]
    assert claims["iss"] == configuration(smart)["issuer"] and claims["aud"] == app.client
    assert claims["nonce"] == "n-0S6_WzA2Mj" and claims["amr"] == ["pwd"]
    assert before <= claims["iat"] <= time.time() < claims["exp"] <= claims["iat"] + 3600
    assert claims["auth_time"] <= claims["iat"]
    assert 0 < len(claims["sub"]) <= 255 and claims["sub"] != "doc"
    assert claims["fhirUser"] == f"{smart.base}/Practitioner/doc"


def test_fhir_user_can_be_read(smart: Smart) -> None:
    """[F7, F8] The URL of fhirUser, with the launch's token, by a script of another origin too."""
    body = smart.tokens(App(smart.root, scope=SCOPE))
    url = opened(smart, body["id_token"]).claims["fhirUser"]
    answer = httpx.get(url, headers={"Authorization": f"Bearer {body['access_token']}", "Origin": "https://app.example"})
    assert (answer.status_code, answer.json()["resourceType"]) == (200, "Practitioner")
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example")


def test_only_what_was_granted_is_told(smart: Smart) -> None:
    """Without openid no id_token; without fhirUser and profile no more than who it is, the same for all apps."""
    assert "id_token" not in smart.tokens(App(smart.root, scope="user/Patient.rs fhirUser"))
    plain = opened(smart, smart.tokens(App(smart.root, scope="openid user/Patient.rs"))["id_token"]).claims
    assert set(plain) == {"iss", "aud", "sub", "iat", "exp", "auth_time", "amr"}
    profile = opened(smart, smart.tokens(App(smart.root, client="walk-other", scope="openid profile"))["id_token"]).claims
    assert (profile["name"], profile["profile"], profile["sub"]) == ("Dr. Who", f"{smart.base}/Practitioner/doc", plain["sub"])
    assert (
        opened(smart, smart.tokens(App(smart.root, scope="openid user/Patient.rs"), "chief")["id_token"]).claims["sub"]
        != plain["sub"]
    )


def test_a_subject_does_not_tell_the_name(smart: Smart) -> None:
    """Not even as a part of it. (The name is one that no random text happens to have in it.)"""
    claims = opened(smart, smart.tokens(App(smart.root, scope="openid user/AuditEvent.rs"), "auditor")["id_token"]).claims
    assert claims["sub"] and "auditor" not in claims["sub"].lower()


@pytest.mark.parametrize("algorithm, curve", [("ES256", "P-256"), ("ES384", "P-384")])
def test_an_app_that_asks_for_another_algorithm(smart: Smart, algorithm: str, curve: str) -> None:
    """id_token_signed_response_alg of its registration, with a key of that algorithm."""
    token = smart.tokens(App(smart.root, client=f"walk-{algorithm.lower()}", scope=SCOPE))["id_token"]
    read = opened(smart, token, algorithm)
    assert read.header["alg"] == algorithm
    assert next(key for key in keys(smart) if key["kid"] == read.header["kid"])["crv"] == curve


def test_the_configuration(smart: Smart) -> None:
    """[F2, F3] JSON at the issuer's address, with all that OpenID Connect wants."""
    answer = httpx.get(f"{smart.root}/.well-known/openid-configuration")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["issuer"] == smart.root
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
        assert body[name].startswith(smart.root + "/oauth/")
    assert body["response_types_supported"] == ["code"] and body["subject_types_supported"] == ["public"]
    assert "RS256" in body["id_token_signing_alg_values_supported"]


def test_the_keys_are_public_ones(smart: Smart) -> None:
    """[F4] At least one RSA key of 2048 bits; nothing private in any."""
    found = keys(smart)
    assert any(key["kty"] == "RSA" and len(key["n"]) >= 342 for key in found)
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & {name for key in found for name in key}
    assert all(key["use"] == "sig" and key["kid"] and key["alg"] in ALGORITHMS for key in found)
    KeySet.import_key_set({"keys": found})


def test_private_keys_are_sealed(smart: Smart) -> None:
    """What is stored shows no private key."""
    keys(smart)

    async def look(service: Service) -> None:
        for record in await service.store.records(KIND):
            assert b'"d"' not in record.value and b'"p"' not in record.value

    smart.at_store(look)


def test_keys_rotate(smart: Smart) -> None:
    """The new key signs at once; the old one is told until its last token has expired, and its tokens stay good."""
    app = App(smart.root, scope=SCOPE)
    old = smart.tokens(app)["id_token"]
    made = smart.at_store(lambda service: rotate(service, "RS256", "tests"))
    new = smart.tokens(app)["id_token"]
    assert opened(smart, new).header["kid"] == made.kid != opened(smart, old).header["kid"]

    async def look(service: Service) -> None:
        for algorithm, key in await stored_keys(service):
            if key.kid == opened(smart, old).header["kid"]:
                assert algorithm == "RS256" and key.until > service.clock() + 3_600_000_000

    smart.at_store(look)


def test_several_processes_make_one_first_key(smart: Smart) -> None:
    """Each asks for the keys at the same time: they tell the same ones."""

    async def many(service: Service) -> list[list[str]]:
        await service.commit(*(RecordChange(KIND, name, None) for name in ALGORITHMS))
        told = await asyncio.gather(*(public_keys(service) for _ in range(4)))
        return [[key["kid"] for key in each] for each in told]

    told = smart.at_store(many)
    assert len(told[0]) == 1 and all(each == told[0] for each in told)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_userinfo(smart: Smart, method: str) -> None:
    """What the id_token says of the user, for the access token, by GET and POST and from scripts."""
    body = smart.tokens(App(smart.root, scope=SCOPE))
    headers = {"Authorization": f"Bearer {body['access_token']}", "Origin": "https://app.example"}
    answer = httpx.request(method, configuration(smart)["userinfo_endpoint"], headers=headers)
    claims = opened(smart, body["id_token"]).claims
    assert answer.status_code == 200 and answer.json() == {"sub": claims["sub"], "fhirUser": claims["fhirUser"]}
    assert answer.headers["access-control-allow-origin"] in ("*", "https://app.example")
    assert "no-store" in answer.headers["cache-control"]


def test_nobody_is_no_fhir_user(smart: Smart) -> None:
    """A user who is tied to no person is not granted fhirUser: the token's scope, a refreshed one's too, says what the id_token has."""
    app = App(smart.root, "confidential", scope="openid fhirUser offline_access user/Patient.rs")
    body = smart.tokens(app, "chief")
    granted = {"openid", "offline_access", "user/Patient.rs"}
    assert set(body["scope"].split(" ")) == granted and "fhirUser" not in opened(smart, body["id_token"]).claims
    assert set(app.refresh(body["refresh_token"]).json()["scope"].split(" ")) == granted
    again = app.exchange(answered(smart.authorize(app, "chief", prompt="none"))["code"]).json()
    assert set(again["scope"].split(" ")) == granted
    assert "fhirUser" in smart.tokens(app, "doc")["scope"]


def test_userinfo_without_the_right_token(smart: Smart) -> None:
    """401 without a token and with a wrong one, 403 with one that was granted without openid (RFC 6750, 3.1)."""
    url = f"{smart.root}/oauth/userinfo"
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic x"},
    ):  # RFC 6750, 3.1: no error where there is no token
        none = httpx.get(url, headers=headers)
        assert none.status_code == 401 and none.headers["www-authenticate"] == 'Bearer realm="oauth"'
    wrong = httpx.get(url, headers={"Authorization": "Bearer nothing"})
    assert wrong.status_code == 401 and 'error="invalid_token"' in wrong.headers["www-authenticate"]
    token = smart.tokens(App(smart.root, scope="user/Patient.rs"))["access_token"]
    less = httpx.get(url, headers={"Authorization": f"Bearer {token}"})
    assert less.status_code == 403 and 'error="insufficient_scope"' in less.headers["www-authenticate"]


def test_a_name_that_is_given_again_is_somebody_else(smart: Smart) -> None:
    """After a user was removed, whoever gets the name has another subject."""

    async def again(service: Service) -> tuple[str, str]:
        first = await subject_of(service, "left")
        assert first == await subject_of(service, "left")
        await service.commit(forgotten_subject("left"))
        return first, await subject_of(service, "left")

    first, second = smart.at_store(again)
    assert first != second


def test_another_secret_opens_no_key(smart: Smart, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is signed with a key that was sealed with another FHIR_SECRET, and the log says what to do."""
    keys(smart)

    async def try_it(service: Service) -> None:
        other = dataclasses.replace(service, sealer=Sealer(b"another secret"))
        with pytest.raises(WrongSecret):
            await sign(other, {"sub": "x"}, "RS256")

    smart.at_store(try_it)
    assert "fhir-server keys rotate" in caplog.text
