"""Access tokens of another authorization server: which count, for what, and what happens while it is down."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.conftest import Running
from issuing import CLIENT, EC256, KEYS, OTHER, RSA, SECRET, Issuer
from joserfc.jwk import RSAKey
from people import Clock

FAR = 4_102_444_800
"""Seconds since the epoch: long after any run of these tests."""

DOCUMENTS: tuple[dict[str, Any], ...] = (
    {"resourceType": "Patient", "id": "anna"},
    {"resourceType": "Patient", "id": "bert"},
    {"resourceType": "Practitioner", "id": "doc"},
)


class House:
    """A server that takes the tokens of an issuer."""

    def __init__(self, running: Running, issuer: Issuer) -> None:
        self.running, self.issuer = running, issuer
        self.base = f"{running.root}/fhir"

    def status(self, token: str, path: str = "Patient/anna") -> int:
        return self.read(token, path).status_code

    def read(self, token: str, path: str) -> httpx.Response:
        return httpx.get(f"{self.base}/{path}", headers={"Authorization": f"Bearer {token}"})

    def token(self, *given: Any, **claims: Any) -> str:
        """A token of the issuer for this server that reads everything."""
        return self.issuer.token(*given, **{"aud": self.base, "scope": "system/*.cruds"} | claims)


@contextmanager
def started(folder: Path, issuer: Issuer, **settings: Any) -> Iterator[House]:
    running = Running(folder, auth="smart", auth_issuer=issuer.url, **settings)
    running.start()
    house = House(running, issuer)
    try:
        yield house
    finally:
        running.stop()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[House]:
    more = {
        "auth_role_claim": "realm_access.roles",
        "auth_roles": "boss=admin clinicians=practitioner clinical%20staff=practitioner",
        "auth_claims": "name=nick",
    }
    with started(tmp_path_factory.mktemp("outside"), issuer, **more) as house:
        for document in DOCUMENTS:
            url = f"{house.base}/{document['resourceType']}/{document['id']}"
            headers = {"Authorization": f"Bearer {house.token()}"}
            assert httpx.put(url, json=document, headers=headers).status_code == 201
        yield house


@pytest.mark.parametrize("algorithm", sorted(KEYS))
def test_algorithms_that_count(house: House, algorithm: str) -> None:
    """JWTs signed with the keys that the issuer publishes are taken."""
    assert house.status(house.token(algorithm)) == 200


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["https://elsewhere.example", "HERE"]},
        {"scope": None, "scp": ["system/Patient.rs"]},
        {"scope": "user/Patient.rs", "realm_access": {"roles": "clinical staff"}},
        {"scope": None, "scp": "system/Patient.rs"},
        {"scope": "system/Patient.read"},
        {"scope": "patient/Patient.rs", "patient": "anna"},
        {"scope": "patient/Patient.rs", "patient": "Patient/anna"},
        {"scope": "user/Patient.rs", "realm_access": {"roles": ["x", "clinicians"]}},
        {"nbf": int(time.time()), "iat": 1},
        {"exp": FAR + 0.5},
    ],
)
def test_tokens_that_count(house: House, claims: dict[str, Any]) -> None:
    """Audiences in lists, scopes as scope or scp, a patient with or without the type, roles in a path: all as issuers write them."""
    if isinstance(claims.get("aud"), list):
        claims = {"aud": [house.base if each == "HERE" else each for each in claims["aud"]]}
    assert house.status(house.token(**claims)) == 200


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"scope": "patient/Patient.rs", "patient": "bert"}, 404),
        ({"scope": "patient/Patient.rs"}, 403),
        ({"scope": "user/Patient.rs"}, 403),
        ({"scope": "user/Patient.rs", "realm_access": {"roles": ["strangers"]}}, 403),
        ({"scope": "user/Patient.rs", "fhirUser": "Practitioner/doc"}, 403),
        ({"scope": "system/Patient.rs", "realm_access": {"roles": ["clinicians"]}}, 403),
        ({"scope": "system/Observation.rs"}, 403),
        ({"scope": None}, 403),
        ({"scope": ["system/Patient.rs", 7, None]}, 200),
        ({"scope": {"system/Patient.rs": True}}, 403),
        ({"scope": "patient/Patient.rs", "patient": "anna/../bert"}, 403),
    ],
)
def test_what_tokens_are_good_for(house: House, claims: dict[str, Any], status: int) -> None:
    """The scopes bound what is read, user/ scopes need a role that is in the table, a user's token is no system's."""
    assert house.status(house.token(**claims)) in ((status, 403) if status == 404 else (status,))


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("another issuer", {"iss": "https://evil.example"}),
        ("no issuer", {"iss": None}),
        ("the issuer with a slash", {"iss": "SLASH"}),
        ("another audience", {"aud": "https://elsewhere.example/fhir"}),
        ("no audience", {"aud": None}),
        ("two audiences in one text", {"aud": "BLANK"}),
        ("a client in place of an audience", {"aud": None, "token_use": "access"}),
        ("a longer audience", {"aud": "LONGER"}),
        ("expired", {"exp": 1_700_000_000}),
        ("never expires", {"exp": None}),
        ("expires in words", {"exp": "4102444800"}),
        ("expires in a list", {"exp": [4102444800]}),
        ("expires far beyond reckoning", {"exp": 10**300}),
        ("not yet", {"nbf": FAR}),
        ("issued later", {"iat": FAR}),
        ("an id_token", {"nonce": "n"}),
        ("an id_token too", {"at_hash": "h"}),
        ("an id_token of Cognito", {"token_use": "id"}),
        ("nobody", {"sub": None, "client_id": None}),
        ("somebody with a long name", {"sub": "x" * 300}),
    ],
)
def test_claims_that_do_not_count(house: House, name: str, claims: dict[str, Any]) -> None:
    """[C18, K15] Signed well, but another's, for others, too old, too new, or no access token: 401."""
    known = {"SLASH": f"{house.issuer.url}/", "LONGER": f"{house.base}/Patient", "BLANK": f"https://x.example {house.base}"}
    token = house.token(**{name: known.get(value, value) if isinstance(value, str) else value for name, value in claims.items()})
    answer = house.read(token, "Patient/anna")
    assert answer.status_code == 401 and 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert house.issuer.url not in answer.text


def forged(house: House, header: dict[str, Any], signature: str = "") -> str:
    """A JWT with any header and signature."""
    claims = {"iss": house.issuer.url, "sub": "x", "aud": house.base, "exp": FAR, "scope": "system/*.cruds"}
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)]
    return ".".join((*parts, signature))


def test_signatures_that_do_not_count(house: House) -> None:
    """[C18] No signature, a shared secret made of the public key, another's key, keys that the token brings along or points to: 401."""
    unsigned = forged(house, {"alg": "HS256", "kid": "rsa"}).rpartition(".")[0]
    shared = hmac.new(RSA.as_pem(private=False), unsigned.encode(), "sha256").digest()
    good = house.token()
    head, body, signature = good.split(".")
    stranger = OTHER.as_dict(private=False)
    tokens = {
        "none": forged(house, {"alg": "none"}),
        "None": forged(house, {"alg": "None", "kid": "rsa"}),
        "no algorithm": forged(house, {"kid": "rsa"}, signature),
        "algorithm in a list": forged(house, {"alg": ["RS256"], "kid": "rsa"}, signature),
        "shared secret": f"{unsigned}.{urlsafe_b64encode(shared).decode().rstrip('=')}",
        "RS512": house.token("RS512", RSA),
        "another key": house.token("RS256", OTHER),
        "its own key": house.token("RS256", OTHER, {"jwk": stranger}),
        "its own address": house.token("RS256", OTHER, {"jku": f"{house.issuer.url}/evil", "kid": "evil"}),
        "a path as kid": house.token("RS256", OTHER, {"kid": "../../dev/null"}),
        "an unknown kid": house.token("RS256", RSA, {"kid": "unknown"}),
        "no kid but two keys": house.token("ES256", EC256, {"kid": None, "alg": "ES256"}) + "x",
        "extensions": forged(house, {"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": False}, signature),
        "changed": f"{head}.{body[:-4]}AAAA.{signature}",
        "cut": f"{head}.{body}.{signature[:-10]}",
        "empty": f"{head}.{body}.",
        "five parts": f"{good}.x.y",
        "no JWT": "x" * 43,
        "dots": "..",
        "long": "a." + "b" * 16_000 + ".c",
        "another kind": house.token("RS256", RSA, {"typ": "logout+jwt"}),
    }
    assert {name for name, token in tokens.items() if house.status(token) != 401} == set()
    assert "/evil" not in house.issuer.asked
    assert house.status(good) == 200


def test_no_flood_of_fetches(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty tokens with unknown keys, all within a moment, do not make the server ask for keys thirty times."""
    monkeypatch.setattr(house.running.app._ctx.tokens.issuer._keys, "_clock", Clock())  # type: ignore[attr-defined]
    before = len(house.issuer.asked)
    for number in range(30):
        assert house.status(house.token("RS256", OTHER, {"kid": f"k{number}"})) == 401
    assert len(house.issuer.asked) - before <= 1


def test_it_is_no_authorization_server(house: House) -> None:
    """Its own sign-in and token endpoints are not there; discovery and the CapabilityStatement name the issuer's."""
    for path in ("/oauth/authorize", "/oauth/token", "/oauth/sign-in", "/account", "/.well-known/openid-configuration"):
        assert httpx.get(f"{house.running.root}{path}").status_code == 404
    told = httpx.get(f"{house.base}/.well-known/smart-configuration", headers={"Origin": "https://app.example"})
    assert told.json()["token_endpoint"] == f"{house.issuer.url}/token" and told.json()["issuer"] == house.issuer.url
    assert told.headers["access-control-allow-origin"] in ("*", "https://app.example")
    security = httpx.get(f"{house.base}/metadata").json()["rest"][0]["security"]
    addresses = {each["url"]: each["valueUri"] for each in security["extension"][0]["extension"]}
    assert addresses == {"authorize": f"{house.issuer.url}/authorize", "token": f"{house.issuer.url}/token"}


def test_rotated_keys_are_found(tmp_path: Path) -> None:
    """A key that the issuer publishes anew counts within seconds, and while the issuer is down known keys go on; unknown ones are 503."""
    with Issuer() as issuer, started(tmp_path, issuer) as house:
        issuer.keys = [RSA]
        assert house.status(house.token(), "Patient/x") == 404
        new = RSAKey.generate_key(2048, {"kid": "new", "use": "sig"})
        issuer.keys = [RSA, RSAKey.import_key(new.as_dict(private=True) | {"alg": "RS256"})]
        house.running.app._ctx.tokens.issuer._keys._at -= 11_000_000  # type: ignore[attr-defined]
        assert house.status(house.token("RS256", new), "Patient/x") == 404
        assert house.status(house.token("RS384", new), "Patient/x") == 401  # the key is for another algorithm
        issuer.down = True
        assert house.status(house.token(jti="another"), "Patient/x") == 404
        house.running.app._ctx.tokens.issuer._keys._at -= 11_000_000  # type: ignore[attr-defined]
        assert house.status(house.token("RS256", OTHER, {"kid": "unknown"}), "Patient/x") == 503


def test_people_of_the_issuers_own_fhir_server(tmp_path: Path, issuer: Issuer) -> None:
    """Where ids are the same here, FHIR_AUTH_FHIR_BASE makes the issuer's `fhirUser` a person of this server; nobody else's base does."""
    base = "https://issuer.example/fhir"
    with started(tmp_path, issuer, auth_fhir_base=f"{base}/") as house:
        for user, status in ((f"{base}/Practitioner/doc", 404), ("https://other.example/fhir/Practitioner/doc", 403)):
            assert house.status(house.token(scope="user/Patient.rs", fhirUser=user), "Patient/x") == status, user


def test_an_issuer_that_is_down_lets_nobody_in(tmp_path: Path) -> None:
    """503 for every token while the issuer cannot be asked, also for its discovery; it comes back by itself. Without a token: 401."""
    with Issuer() as issuer:
        issuer.down = True
        with started(tmp_path, issuer) as house:
            answer = house.read(house.token(), "Patient/x")
            assert answer.status_code == 503 and answer.json()["resourceType"] == "OperationOutcome"
            assert httpx.get(f"{house.base}/Patient/x").status_code == 401
            assert httpx.get(f"{house.base}/.well-known/smart-configuration").status_code == 503
            assert httpx.get(f"{house.base}/metadata").status_code == 200
            issuer.down = False
            house.running.app._ctx.tokens.issuer._metadata._failed -= 11_000_000  # type: ignore[attr-defined]
            house.running.app._ctx.tokens.issuer._keys._failed -= 11_000_000  # type: ignore[attr-defined]
            assert house.status(house.token(), "Patient/x") == 404


@pytest.mark.parametrize("said", [{"issuer": "https://other.example"}, {"jwks_uri": "http://other.example/jwks"}, {"jwks_uri": 7}])
def test_an_issuer_that_contradicts_itself(tmp_path: Path, said: dict[str, Any]) -> None:
    """Metadata under another name, or keys at an address that is not safe, are not used: 503."""
    with Issuer() as issuer:
        issuer.said = said
        with started(tmp_path, issuer) as house:
            assert house.status(house.token()) == 503


def test_introspection(tmp_path: Path) -> None:
    """[C18] Tokens are asked for, an answer counts as long as is set, a token that ends is refused, an issuer that is down is 503."""
    with Issuer() as issuer:
        more = {
            "auth_introspection": f"{issuer.url}/introspect", "auth_client_id": CLIENT, "auth_client_secret": SECRET,
            "auth_introspection_ttl": 3, "auth_audience": "api://fhir other",
        }  # fmt: skip
        with started(tmp_path, issuer, **more) as house:
            clock = house.running.app._ctx.tokens._clock = Clock()  # type: ignore[attr-defined]
            good = {
                "active": True,
                "sub": "s",
                "client_id": "c",
                "scope": "system/*.rs",
                "exp": int(time.time()) + 3_600,
                "aud": "api://fhir",
            }
            tokens = {
                "good": good,
                "inactive": good | {"active": False},
                "nearly": good | {"active": "true"},
                "others": good | {"aud": "api://other"},
                "for nobody": {name: value for name, value in good.items() if name != "aud"},
                "old": good | {"exp": 1},
                "endless": {name: value for name, value in good.items() if name != "exp"},
                "issuer": good | {"iss": "https://other.example"},
            }
            issuer.active = {name.replace(" ", "-"): answer for name, answer in tokens.items()}
            found = {name: house.status(name, "Patient/x") for name in (*issuer.active, "unknown")}
            assert found == dict.fromkeys(found, 401) | {"good": 404}
            asked = issuer.asked.count("/introspect")
            clock.later(2.9)
            assert [house.status("good", "Patient/x") for _ in range(3)] == [404] * 3
            assert issuer.asked.count("/introspect") == asked
            del issuer.active["good"]
            clock.later(0.1)
            assert house.status("good", "Patient/x") == 401
            issuer.down = True
            assert house.status("another", "Patient/x") == 503
