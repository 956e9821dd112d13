"""Apps of all kinds that walk through a launch, standalone or from an EHR, as an app's own library would."""

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import httpx
from api.conftest import Running
from granting import Browser, Form, alone, answered, granting
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from fhir_server.app import open_service
from fhir_server.config import Settings
from smart_auth.clients import Client, Secret, kept
from smart_auth.service import Service
from smart_auth.tokens import digest

BACK = "https://app.example/back"
LAUNCH = "https://app.example/launch"
SECRET = "the secret of an app"
KINDS = ("public", "confidential", "asymmetric")
ORCHESTRATES = "smart/orchestrate_launch"
EVERYTHING = (
    "patient/*.cruds user/*.cruds openid fhirUser profile launch launch/patient launch/encounter offline_access online_access"
)
STANDALONE = "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.rs"
US_CORE = (
    "Medication AllergyIntolerance CarePlan CareTeam Condition Coverage Device DiagnosticReport DocumentReference Encounter Goal "
    "Immunization Location MedicationDispense MedicationRequest Observation Organization Patient Practitioner PractitionerRole Procedure "
    "Provenance QuestionnaireResponse RelatedPerson ServiceRequest Specimen"
)
EHR = "launch openid fhirUser offline_access user/Patient.rs user/Observation.rs patient/Patient.rs"

ERRORS = {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
"""What the token endpoint says is wrong (RFC 6749, 5.2)."""

EC = ECKey.generate_key("P-384", {"kid": "ec", "alg": "ES384", "use": "sig"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa", "alg": "RS384", "use": "sig"})
_JWKS: Any = KeySet([EC, RSA]).as_dict(private=False)


def _client(id: str, kind: str, **more: Any) -> Client:
    known: dict[str, Any] = {
        "public": {"type": "public", "auth_method": "none"},
        "confidential": {
            "type": "confidential",
            "auth_method": "client_secret_basic",
            "secrets": (Secret(digest(SECRET)),),
        },
        "asymmetric": {"type": "confidential", "auth_method": "private_key_jwt", "jwks": _JWKS},
    }[kind]
    chosen = {"redirect_uris": (BACK,), "launch_uri": LAUNCH, "scopes": EVERYTHING} | known | more
    return Client(id=id, name=f"App {id}", **chosen)


CLIENTS = (
    *(_client(f"walk-{kind}", kind) for kind in KINDS),
    _client("walk-other", "public"),
    _client("walk-es256", "public", registered={"id_token_signed_response_alg": "ES256"}),
    _client("walk-es384", "public", registered={"id_token_signed_response_alg": "ES384"}),
    _client("walk-native", "public", redirect_uris=("http://127.0.0.1/cb", "http://[::1]:1234/cb?a=b", "com.example.app:/cb")),
    _client("walk-web", "confidential", redirect_uris=("http://127.0.0.1/cb",)),
    _client("walk-little", "public", scopes="launch/patient openid patient/Observation.rs patient/Patient.r"),
    _client("walk-types", "public", scopes=f"launch/patient {' '.join(f'patient/{type}.cruds' for type in US_CORE.split(' '))}"),
    _client("walk-ehr", "confidential", scopes=f"{ORCHESTRATES} {EVERYTHING}"),
    _client("walk-ehr-public", "public", scopes=f"{ORCHESTRATES} {EVERYTHING}"),
    _client("walk-trusted", "confidential", trusted=True),
    _client("walk-older", "public", fhir_context="references"),
    _client("walk-off", "public", disabled=True),
)


def refused(answer: httpx.Response, *errors: str) -> None:
    """Make sure that it is an error as RFC 6749 (5.2) wants it."""
    assert answer.status_code in (400, 401), answer.text
    body = answer.json()
    assert body["error"] in (errors or ERRORS) and set(body) <= {"error", "error_description", "error_uri"}
    assert "no-store" in answer.headers["cache-control"] and "no-cache" in answer.headers["pragma"]
    assert answer.headers["content-type"] == "application/json"


async def at_once(urls: list[str], requests: list[dict[str, Any]]) -> list[httpx.Response]:
    """The answers to these requests, each to its URL, all sent at the same time."""
    async with httpx.AsyncClient(timeout=30) as http:
        return list(await asyncio.gather(*(http.post(url, **request) for url, request in zip(urls, requests, strict=True))))


@dataclass
class App:
    """One run of an app of a `kind`, with the verifier and state that it has chosen."""

    root: str
    kind: str = "public"
    client: str = ""
    scope: str = STANDALONE
    redirect_uri: str = BACK
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def __post_init__(self) -> None:
        self.client = self.client or f"walk-{self.kind}"

    def request(self, **more: str | None) -> dict[str, str]:
        """The parameters of an authorization request; None takes one away."""
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client,
            "redirect_uri": self.redirect_uri,
            "scope": self.scope,
            "state": self.state,
            "aud": f"{self.root}/fhir",
            "code_challenge": challenge(self.verifier),
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in (asked | more).items() if value is not None}

    def exchange(self, code: str, **more: str | None) -> httpx.Response:
        """The answer of the token endpoint to a code."""
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
        }
        return self.token(form | more)

    def refresh(self, refresh_token: str, **more: str | None) -> httpx.Response:
        """The answer of the token endpoint to a refresh token."""
        return self.token({"grant_type": "refresh_token", "refresh_token": refresh_token, **more})

    def token(self, form: Mapping[str, str | None]) -> httpx.Response:
        """The answer of the token endpoint to this form, sent with what proves this kind of client."""
        return httpx.post(f"{self.root}/oauth/token", **self.proved(form), headers={"Origin": "https://app.example"}, timeout=30)

    def proved(self, form: Mapping[str, str | None]) -> dict[str, Any]:
        """`data` (and `auth`) of a request to the token endpoint."""
        own: dict[str, str | None] = {}
        if self.kind == "public":
            own = {"client_id": self.client}
        elif self.kind == "asymmetric":
            own = {
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self.assertion(),
            }
        sent = {name: value for name, value in (own | dict(form)).items() if value is not None}
        return {"data": sent} | ({"auth": (self.client, SECRET)} if self.kind == "confidential" else {})

    def assertion(self, **more: Any) -> str:
        """A client assertion, as inferno makes them: no iat, no nbf, no jku."""
        claims = {
            "iss": self.client,
            "sub": self.client,
            "aud": f"{self.root}/oauth/token",
            "exp": int(time.time()) + 290,
            "jti": secrets.token_urlsafe(16),
        }
        return jwt.encode({"alg": "ES384", "kid": "ec", "typ": "JWT"}, claims | more, EC, algorithms=["ES384"])


def challenge(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


class Kept(Browser):
    """A browser that stays open when those of other servers are closed."""

    _open: ClassVar[list[Browser]] = []


class Smart:
    """A server with the users, documents and apps of granting.py and the apps above; a signed-in browser for each user."""

    def __init__(self, running: Running) -> None:
        self.running, self.root, self.base = running, running.root, f"{running.root}/fhir"
        self.settings: Settings = running.app._settings
        self._browsers: dict[str, Browser] = {}
        self.at_store(lambda service: service.commit(*map(kept, CLIENTS)))

    def at_store(self, work: Callable[[Service], Awaitable[Any]]) -> Any:
        """What `work`, given a Service on the same store, comes to."""

        async def run() -> Any:
            async with open_service(self.settings) as service:
                return await work(service)

        return alone(run())

    def browser(self, user: str) -> Browser:
        """The browser in which this user has signed in (once for all tests)."""
        if user not in self._browsers:
            browser = self._browsers[user] = Kept(self.root)
            browser.sign_in(browser.http.get("/oauth/sign-in"), user)
        return self._browsers[user]

    def close(self) -> None:
        """Close all browsers."""
        for browser in self._browsers.values():
            browser.http.close()

    def authorize(self, app: App, user: str = "doc", method: str = "GET", **more: str | None) -> httpx.Response:
        """Where the browser of a signed-in user gets by an authorization request: a page, or the app's own address."""
        browser, asked = self.browser(user), app.request(**more)
        if method == "GET":
            return browser.follow(browser.http.get("/oauth/authorize", params=asked))
        return browser.follow(browser.http.post("/oauth/authorize", data=asked))

    def consented(self, page: httpx.Response, user: str = "doc", patient: str = "anna") -> httpx.Response:
        """From the first page to the app's address: the patient is chosen where one is asked for, then all is allowed (or was before)."""
        browser = self.browser(user)
        if any(name == "patient" for name, _ in Form(page).buttons):
            page = browser.choose(page, patient=patient)
        return page if page.status_code == 303 else browser.decide(page)

    def code(self, app: App, user: str = "doc", **more: str | None) -> str:
        """The code for a launch in which the user allows all."""
        found = answered(self.consented(self.authorize(app, user, **more), user))
        assert found["state"] == app.state
        return found["code"]

    def tokens(self, app: App, user: str = "doc", **more: str | None) -> dict[str, Any]:
        """The token response for such a launch."""
        answer = app.exchange(self.code(app, user, **more))
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def read(self, path: str, token: str) -> httpx.Response:
        """A request to the FHIR interface with an access token."""
        return httpx.get(f"{self.base}/{path}", headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def launch(self, app: App, user: str = "doc", **context: Any) -> str:
        """What an EHR hands an app, after it has told the server the context: the launch of its launch URL."""
        reads = "user/Patient.rs user/Encounter.rs user/Observation.rs"
        own = self.tokens(App(self.root, "confidential", client="walk-ehr", scope=f"{ORCHESTRATES} {reads}"), user)
        answer = httpx.post(
            f"{self.root}/oauth/launch",
            json={"client_id": app.client, **context},
            headers={"Authorization": f"Bearer {own['access_token']}"},
            timeout=30,
        )
        assert answer.status_code == 201, answer.text
        told: dict[str, str] = answer.json()
        return told["launch"]


@contextmanager
def walking(folder: Path, **settings: Any) -> Iterator[Smart]:
    """Such a server, running."""
    with granting(folder, **settings) as running:
        smart = Smart(running)
        try:
            yield smart
        finally:
            smart.close()
