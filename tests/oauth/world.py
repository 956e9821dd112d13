"""A server with clients of every kind, and what they send: forms, secrets, signed assertions."""

import asyncio
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
from api.conftest import Running
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwk, jwt
from joserfc.jws import JWSRegistry

from fhir_server.app import open_service
from fhir_server.config import Settings
from smart_auth.access import OPERATOR, Access
from smart_auth.clients import Client, Secret
from smart_auth.clients import kept as kept_client
from smart_auth.issuing.authorization import Authorization
from smart_auth.issuing.tokens import issue_for
from smart_auth.service import Service
from smart_auth.tokens import digest, issue
from smart_auth.users import User
from smart_auth.users import kept as kept_user

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SECRET = "a-secret~with%25signs and blanks"
APP_SCOPES = "openid fhirUser launch launch/patient offline_access patient/*.cruds user/*.cruds"
READS = "system/*.rs"
HOUR = 3_600_000_000

USERS = (
    User("anna", "patient", "Patient/anna", "Anna Smith"),
    User("doc", "practitioner", "Practitioner/doc", "Dr. Who"),
    User("chief", "admin", "", "Chief"),
)
_CLASS = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}
DOCUMENTS: tuple[dict[str, Any], ...] = (
    {"resourceType": "Patient", "id": "anna", "name": [{"family": "Smith"}]},
    {"resourceType": "Patient", "id": "bert", "name": [{"family": "Jones"}]},
    {"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Who"}]},
    {"resourceType": "Encounter", "id": "visit", "status": "finished", "class": _CLASS, "subject": {"reference": "Patient/anna"}},
    {"resourceType": "Basic", "id": "note", "code": {"text": "note"}, "subject": {"reference": "Patient/anna"}},
)


@cache
def key(name: str, kind: str = "EC") -> Any:
    """A key pair of this name: EC on P-384, RSA of 2048 bits, or EC on another curve (`P-256`)."""
    options: Any = {"kid": name}
    if kind == "EC":
        return jwk.ECKey.generate_key("P-384", options)
    if kind == "RSA":
        return jwk.RSAKey.generate_key(2048, options)
    return jwk.ECKey.generate_key(kind, options)


def public(*keys: Any) -> dict[str, Any]:
    """The JWK Set of these keys."""
    return {"keys": [each.as_dict(private=False) for each in keys]}


@cache
def weak(name: str) -> dict[str, Any]:
    """A public RSA key of 1024 bits as a JWK."""
    number = rsa.generate_private_key(65_537, 1_024).public_key().public_numbers().n
    return {"kty": "RSA", "kid": name, "e": "AQAB", "n": urlsafe_b64encode(number.to_bytes(128)).rstrip(b"=").decode()}


def clients() -> tuple[Client, ...]:
    """One client of every kind."""
    secret = (Secret(digest(SECRET)),)
    back = ("https://app.example/back",)
    return (
        Client("public", "Public app", "public", APP_SCOPES, "none", back, launch_uri="https://app.example/launch?from=ehr"),
        Client("server", "App with a server", "confidential", APP_SCOPES, "client_secret_basic", back, secrets=secret),
        Client("switched", "Switched off and on", "confidential", APP_SCOPES, "client_secret_basic", back, secrets=secret),
        Client("keyed", "App with a key", "confidential", APP_SCOPES, "private_key_jwt", back, jwks=public(key("keyed"))),
        Client("gone", "Disabled app", "confidential", APP_SCOPES, "client_secret_basic", back, secrets=secret, disabled=True),
        Client(
            "backend", "Exporter", "backend", READS, "private_key_jwt", jwks=public(key("backend"), key("backend-rsa", "RSA"))
        ),
        Client("writer", "Loader", "backend", "system/*.cruds", "private_key_jwt", jwks=public(key("writer"))),
        Client("narrow", "Counter", "backend", "system/Patient.rs system/Observation.read", "private_key_jwt", jwks=public(key("narrow"))),
        Client(
            "ehr", "EHR", "backend", "smart/orchestrate_launch system/*.rs", "private_key_jwt", jwks=public(key("ehr"))
        ),
    )  # fmt: skip


def by_user(user: User, scopes: str, client: str = "server", **more: Any) -> Access:
    """What a token of this user stands for; good for an hour from when it is kept."""
    return Access(user.name, client, scopes, 0, role=user.role, fhir_user=user.fhir_user, user_name=user.shown, **more)


TOKENS: Mapping[str, Access] = {
    "everything": Access("loader", "loader", "system/*.cruds", 0),
    "anna": by_user(USERS[0], "openid fhirUser patient/*.rs", patient="anna"),
    "doc": by_user(
        USERS[1], "openid fhirUser launch user/*.rs", patient="anna", encounter="visit",
        extra={"intent": "reconcile-medications", "need_patient_banner": False},
    ),
    "blind": by_user(USERS[1], "openid user/Observation.rs"),
    "staff": by_user(USERS[1], "smart/orchestrate_launch user/*.rs"),
    "blind staff": by_user(USERS[1], "smart/orchestrate_launch user/Observation.rs"),
    "patient with the scope of staff": by_user(USERS[0], "smart/orchestrate_launch patient/*.rs", patient="anna"),
    "command line": Access(OPERATOR, OPERATOR, "system/*.cruds", 0),
    "command line, reading": Access(OPERATOR, OPERATOR, "system/*.rs", 0),
    "admin in disguise": by_user(USERS[2], "system/*.cruds user/*.cruds", OPERATOR),
    "keeper": by_user(USERS[1], "smart/app-state user/Patient.rs", "public", patient="anna"),
    "keeper for anna": by_user(USERS[0], "smart/app-state patient/*.rs", "public", patient="anna"),
    "other keeper": by_user(USERS[1], "smart/app-state user/Patient.rs", "server", patient="anna"),
    "chief": by_user(USERS[2], "openid user/*.cruds"),
}  # fmt: skip


class OAuth:
    """A running server and its clients. `tokens` are access tokens by the names in TOKENS."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.running = Running(folder, auth="smart", **({"rate_limit_authorize": "off"} | settings))
        self.settings: Settings = self.running.app._settings
        self.tokens: dict[str, str] = asyncio.run(_prepared(self.settings))
        self.running.start()
        self.root = self.running.root
        self.http = httpx.Client(base_url=self.root, timeout=30)
        for document in DOCUMENTS:
            answer = self.http.put(
                f"/fhir/{document['resourceType']}/{document['id']}", json=document, headers=self.bearer("everything")
            )
            assert answer.status_code == 201, answer.text

    def close(self) -> None:
        """Stop it."""
        self.http.close()
        self.running.stop()

    @property
    def token_url(self) -> str:
        return f"{self.root}/oauth/token"

    def bearer(self, name: str) -> dict[str, str]:
        """The Authorization header with one of `tokens`, or with the token itself."""
        return {"Authorization": f"Bearer {self.tokens.get(name, name)}"}

    def post(self, path: str, form: Mapping[str, Any], **options: Any) -> httpx.Response:
        """A form to an endpoint below /oauth/."""
        return self.http.post(f"/oauth/{path}", data=dict(form), **options)

    def assertion(
        self, client: str, signer: Any = None, *, header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:  # fmt: skip
        """A client assertion, right but for what is given; a claim that is given as None is left out."""
        signer = signer or key(client)
        algorithm = "RS384" if signer.key_type == "RSA" else "ES384"
        whole = {"alg": algorithm, "kid": signer.kid, "typ": "JWT"} | dict(header or {})
        usual = {"iss": client, "sub": client, "aud": self.token_url, "exp": int(time.time()) + 300, "jti": str(uuid4())}
        kept = {name: value for name, value in (usual | claims).items() if value is not None}
        whole = {name: value for name, value in whole.items() if value is not None}
        return signed(whole, kept, signer)

    def service_form(self, assertion: str, scope: str | None = READS, **more: str) -> dict[str, str]:
        """The form by which a backend service asks for a token."""
        form = {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER, "client_assertion": assertion}
        return form | ({} if scope is None else {"scope": scope}) | more

    def service_token(self, client: str, scope: str = READS) -> httpx.Response:
        """The answer to a right request for a token of a backend service."""
        return self.post("token", self.service_form(self.assertion(client), scope))

    def granted(self, user: User, client: str, scopes: str = APP_SCOPES) -> tuple[str, str]:
        """Access and refresh token of an authorization that the user has given the client."""
        return asyncio.run(_granted(self.settings, user, client, scopes))

    def issued(self, access: Access) -> str:
        """A token that stands for this, good for an hour."""
        return asyncio.run(_issued(self.settings, access))

    def stored(self, client: Client) -> None:
        """Keep one more client."""
        asyncio.run(_kept(self.settings, client))


def signed(header: dict[str, Any], claims: dict[str, Any], signer: Any) -> str:
    """A signed JWT with whatever header."""
    registry = JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    return jwt.encode(header, claims, signer, registry=registry)


async def _prepared(settings: Settings) -> dict[str, str]:
    async with open_service(settings) as service:
        later = service.clock() + HOUR
        issued = {
            name: issue(msgspec.structs.replace(access, expires=later, issued=service.clock())) for name, access in TOKENS.items()
        }
        records = [record for _, record in issued.values()]
        await service.commit(*records, *map(kept_client, clients()), *map(kept_user, USERS))
        return {name: token for name, (token, _) in issued.items()}


async def _granted(settings: Settings, user: User, client: str, scopes: str) -> tuple[str, str]:
    async with open_service(settings) as service:
        authorization = _authorization(service, user, client, scopes)
        known = next(each for each in clients() if each.id == client)
        issued = issue_for(service, known, user, authorization)
        await service.commit(*issued.changes, happening=issued.happening)
        return issued.access_token, issued.refresh_token


def _authorization(service: Service, user: User, client: str, scopes: str) -> Authorization:
    now = service.clock()
    return Authorization(
        id=uuid4().hex, client=client, client_name=client, user=user.name, scopes=scopes, created=now, expires=now + HOUR,
        auth_time=now, patient="anna",
    )  # fmt: skip


async def _issued(settings: Settings, access: Access) -> str:
    async with open_service(settings) as service:
        token, record = issue(msgspec.structs.replace(access, expires=service.clock() + HOUR, issued=service.clock()))
        await service.commit(record)
        return token


async def _kept(settings: Settings, client: Client) -> None:
    async with open_service(settings) as service:
        await service.commit(kept_client(client, -1))


def refused(answer: httpx.Response, error: str, *statuses: int) -> str:
    """Checks that the answer is an error of RFC 6749 (5.2), and gives its description."""
    assert answer.status_code in (statuses or (400, 401)), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["error"] == error, body
    assert set(body) == {"error", "error_description"}
    described: str = body["error_description"]
    assert described.isascii() and '"' not in described and "\\" not in described
    return described
