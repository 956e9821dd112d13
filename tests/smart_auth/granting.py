"""A server with users, apps and two patients, and a browser without JavaScript that signs in and grants."""

import asyncio
import base64
import hashlib
import re
import secrets
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
from api.conftest import Running

from fhir_server.app import open_service
from fhir_server.config import Settings
from smart_auth.access import Access
from smart_auth.clients import Client, Secret
from smart_auth.clients import kept as kept_client
from smart_auth.people.passwords import hashed
from smart_auth.tokens import digest, issue
from smart_auth.users import User
from smart_auth.users import kept as kept_user

PASSWORD = "granted by whoever signs in"
SECRET = "a secret of the app's server"
BACK = "https://app.example/back"
EVERYTHING = "patient/*.cruds user/*.cruds openid fhirUser profile launch/patient launch/encounter offline_access online_access"

APPS = (
    Client("public", "Growth <b>Chart</b>", "public", EVERYTHING, "none", (BACK,)),
    Client("server", "Diary", "confidential", EVERYTHING, "client_secret_basic", (BACK,), secrets=(Secret(digest(SECRET)),)),
    Client(
        "own",
        "Booking",
        "confidential",
        EVERYTHING,
        "client_secret_basic",
        (BACK,),
        secrets=(Secret(digest(SECRET)),),
        trusted=True,
    ),
)
USERS = (
    User("anna", "patient", "Patient/anna", "Anna Smith"),
    User("rita", "patient", "Person/rita", "Rita"),
    User("nobody", "patient", "", "Nobody"),
    User("doc", "practitioner", "Practitioner/doc", "Dr. Who"),
    User("desk", "front-desk", "", "Desk"),
    User("chief", "admin", "", "Chief"),
    User("auditor", "auditor", "", "Auditor"),
)
_LAB = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}
DOCUMENTS: tuple[dict[str, Any], ...] = (
    {
        "resourceType": "Patient", "id": "anna", "name": [{"given": ["Anna"], "family": "Smith"}], "birthDate": "1980-02-03",
        "identifier": [{"system": "urn:mrn", "value": "MRN-1"}],
    },
    {"resourceType": "Patient", "id": "bert", "name": [{"text": "Bert <script>alert(1)</script>"}], "birthDate": "1990-04-05"},
    {"resourceType": "Patient", "id": "carl", "name": [{"given": ["Carl"], "family": "Smith"}]},
    {"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Who"}]},
    {"resourceType": "RelatedPerson", "id": "rita", "patient": {"reference": "Patient/bert"}, "active": True},
    {"resourceType": "RelatedPerson", "id": "former", "patient": {"reference": "Patient/anna"}, "period": {"end": "2020-01-01"}},
    {
        "resourceType": "Person", "id": "rita",
        "link": [
            {"target": {"reference": f"{type}/{id}"}}
            for type, id in (("RelatedPerson", "rita"), ("RelatedPerson", "former"), ("Patient", "carl"))
        ],
    },
    {
        "resourceType": "Encounter", "id": "visit", "status": "finished", "subject": {"reference": "Patient/anna"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB", "display": "ambulatory"},
        "type": [{"text": "Check-up"}], "period": {"start": "2026-01-02T10:00:00Z"},
    },
    {
        "resourceType": "Encounter", "id": "other", "status": "finished", "subject": {"reference": "Patient/bert"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
    },
    {
        "resourceType": "Observation", "id": "lab", "status": "final", "category": [_LAB], "code": {"text": "glucose"},
        "subject": {"reference": "Patient/anna"},
    },
    {"resourceType": "Observation", "id": "pulse", "status": "final", "code": {"text": "pulse"}, "subject": {"reference": "Patient/anna"}},
)  # fmt: skip


Result = TypeVar("Result")


@contextmanager
def granting(
    folder: Path, *, apps: Sequence[Client] = APPS, documents: Sequence[dict[str, Any]] = DOCUMENTS, **settings: Any
) -> Iterator[Running]:
    """A running server with all of the above."""
    limits = {"rate_limit_oauth": "off", "rate_limit_authorize": "off", "rate_limit_sign_in": "off"}
    running = Running(folder, auth="smart", password_memory=19, **(limits | settings))
    token = alone(_prepared(running.app._settings, apps))
    running.start()
    try:
        with httpx.Client(base_url=f"{running.root}/fhir/", headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
            for document in documents:
                answer = client.put(f"{document['resourceType']}/{document['id']}", json=document)
                assert answer.status_code == 201, answer.text
        yield running
    finally:
        Browser.close_all()
        running.stop()


def alone(work: Coroutine[Any, Any, Result]) -> Result:
    """What comes of it, in a thread of its own: where a browser is driven, this one has a loop already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _prepared(settings: Settings, apps: Sequence[Client]) -> str:
    async with open_service(settings) as service:
        password = await hashed(service.settings, PASSWORD)
        now = service.clock()
        token, record = issue(Access("tests", "tests", "system/*.cruds", now + 3_600_000_000, now))
        await service.commit(record, *map(kept_client, apps), *(kept_user(user.having(password=password)) for user in USERS))
        return token


@dataclass
class Form(HTMLParser):
    """The forms of a page: fields that a browser sends where nothing is clicked, and the buttons."""

    page: httpx.Response
    fields: list[tuple[str, str]] = field(default_factory=list)
    boxes: dict[str, bool] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.page.text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "button" and "name" in given:
            self.buttons.append((given["name"], given["value"]))
        elif tag == "input" and given.get("type") == "checkbox":
            self.boxes[given["value"]] = "checked" in given
        elif tag == "input" and given.get("type") == "hidden":
            self.fields.append((given["name"], given["value"]))

    @property
    def hidden(self) -> dict[str, str]:
        return dict(self.fields)


class Browser:
    """One browser: cookies, forms, no JavaScript. `root` is the server's address."""

    _open: ClassVar[list["Browser"]] = []

    def __init__(self, root: str) -> None:
        self.root = root
        self.http = httpx.Client(base_url=root, timeout=30)
        self.verifier = secrets.token_urlsafe(32)
        self._open.append(self)

    @classmethod
    def close_all(cls) -> None:
        """Close every browser's connections."""
        while cls._open:
            cls._open.pop().http.close()

    def authorize(self, scope: str, client: str = "public", **more: str) -> httpx.Response:
        """What an app's request leads to, up to the first page or the app's own address."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code", "client_id": client, "redirect_uri": BACK, "scope": scope, "state": "st", "aud": f"{self.root}/fhir",
            "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        return self.follow(self.http.get("/oauth/authorize", params=asked | more))

    def follow(self, answer: httpx.Response) -> httpx.Response:
        """Follow redirects as long as they stay here."""
        while answer.status_code == 303 and not answer.headers["location"].startswith(BACK):
            answer = self.http.get(answer.headers["location"])
        return answer

    def post(self, path: str, pairs: dict[str, Any] | list[tuple[str, str]]) -> httpx.Response:
        """Send a form, and follow."""
        fields = list(pairs.items()) if isinstance(pairs, dict) else pairs
        body = urlencode(fields)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.root, "Sec-Fetch-Site": "same-origin"}
        return self.follow(self.http.post(path, content=body, headers=headers))

    def sign_in(self, page: httpx.Response, user: str) -> httpx.Response:
        """Fill in the sign-in page."""
        return self.post("/oauth/sign-in", Form(page).hidden | {"username": user, "password": PASSWORD})

    def asked(self, scope: str, user: str, client: str = "public", **more: str) -> httpx.Response:
        """Up to what a user sees after signing in for an app."""
        page = self.authorize(scope, client, **more)
        return self.sign_in(page, user) if page.url.path == "/oauth/sign-in" else page

    def choose(self, page: httpx.Response, **fields: str) -> httpx.Response:
        """Send the form of the patient picker."""
        return self.post("/oauth/patient", Form(page).hidden | fields)

    def decide(self, page: httpx.Response, scopes: Sequence[str] | None = None, decision: str = "allow") -> httpx.Response:
        """Send the consent form with these boxes ticked; None: as they are."""
        form = Form(page)
        ticked = [value for value, checked in form.boxes.items() if checked] if scopes is None else list(scopes)
        pairs = [*form.fields, *(("scope", each) for each in ticked), ("decision", decision)]
        return self.post("/oauth/consent", pairs)

    def redeem(self, answer: httpx.Response, client: str = "public") -> dict[str, Any]:
        """The token response for the code that a redirect carries."""
        found = answered(answer)
        form = {"grant_type": "authorization_code", "code": found["code"], "redirect_uri": BACK, "code_verifier": self.verifier}
        auth = None if client == "public" else (client, SECRET)
        response = httpx.post(f"{self.root}/oauth/token", data=form | ({"client_id": client} if auth is None else {}), auth=auth)
        assert response.status_code == 200, response.text
        tokens: dict[str, Any] = response.json()
        return tokens

    def read(self, path: str, token: str) -> httpx.Response:
        """A read of the FHIR interface."""
        return httpx.get(f"{self.root}/fhir/{path}", headers={"Authorization": f"Bearer {token}"})


def answered(answer: httpx.Response) -> dict[str, str]:
    """What an app is told in its redirect."""
    assert answer.status_code == 303, (answer.status_code, re.sub(r"<[^>]+>|\s+", " ", answer.text))
    assert answer.headers["location"].startswith(BACK), answer.headers["location"]
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def shows(page: httpx.Response) -> str:
    """The page without its hidden fields: random as they are, any word may stand in them."""
    return re.sub(r'<input type="hidden"[^>]*>', "", page.text)


def scopes(tokens: dict[str, Any]) -> set[str]:
    """What was granted."""
    return set(tokens["scope"].split(" "))
