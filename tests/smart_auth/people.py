"""A server with people on it, whose clock tests can move, and browsers without JavaScript, each at an address of its own."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.conftest import Running

from fhir_server.app import open_service
from fhir_server.config import Settings
from resources import instants
from smart_auth.happenings import Happening
from smart_auth.people import delays
from smart_auth.people.passwords import hashed
from smart_auth.service import Service
from smart_auth.users import User, kept

PASSWORD = "a long pass phrase"
SIGN_IN = "/oauth/sign-in"
_addresses = itertools.count(2)


class Clock:
    """A clock that stands, however long a busy machine takes, until `later` moves it on. Seconds outside, microseconds inside.

    The store goes by the machine's clock, by which it forgets what has expired: a test begins with one that is not behind it."""

    def __init__(self) -> None:
        self._now = instants.now()

    def __call__(self) -> int:
        return self._now

    def later(self, seconds: float) -> None:
        self._now += int(seconds * 1_000_000)

    def catch_up(self) -> None:
        """Be no earlier than the machine's clock is now."""
        self._now = max(self._now, instants.now())

    @property
    def seconds(self) -> int:
        return self() // 1_000_000


@dataclass
class People:
    """The server, its clock, and users that no test has had yet."""

    running: Running
    clock: Clock
    _unused: Iterator[str]
    _needing: Iterator[str]

    def user(self) -> str:
        """The name of a user with the role front-desk, whose password is PASSWORD."""
        return next(self._unused)

    def needing(self) -> str:
        """The name of a user whose role needs a second factor."""
        return next(self._needing)

    def browser(self) -> "Browser":
        return Browser(self.running.root)

    @asynccontextmanager
    async def service(self) -> AsyncIterator[Service]:
        """A Service on the server's store, with the server's clock."""
        with pytest.MonkeyPatch.context() as time:
            time.setattr(instants, "now", self.clock)
            async with open_service(self.running.app._settings) as service:
                time.undo()
                yield service


@contextmanager
def people(folder: Path, count: int = 300, needing: int = 60, **settings: Any) -> Iterator[People]:
    """A running server with `count` users, and `needing` whose role needs a second factor."""
    clock = Clock()
    chosen = {"auth": "smart", "password_memory": 19, "mfa_roles": "auditor", "rate_limit_sign_in": "off"} | settings
    plain, strict = [f"user{n}" for n in range(count)], [f"auditor{n}" for n in range(needing)]
    users = [User(name, "front-desk", email=f"{name}@example.org") for name in plain]
    users += [User(name, "auditor", email=f"{name}@example.org") for name in strict]
    with pytest.MonkeyPatch.context() as patience, pytest.MonkeyPatch.context() as time:
        patience.setattr(delays, "_PATIENCE", 0.0)
        time.setattr(instants, "now", clock)
        running = Running(folder, **chosen)
        with ThreadPoolExecutor(1) as thread:  # where a browser is driven, this one has a loop already
            thread.submit(asyncio.run, _kept(running.app._settings, users)).result()
        running.start()
        time.undo()  # the server has its clock now; others in this process have their own
        try:
            yield People(running, clock, iter(plain), iter(strict))
        finally:
            running.stop()


async def _kept(settings: Settings, users: list[User]) -> None:
    async with open_service(settings) as service:
        password = await hashed(service.settings, PASSWORD)
        made = [kept(user.having(password=password)) for user in users]
        await service.commit(*made, happening=Happening("user", "users for tests"))


class Found(HTMLParser):
    """What a page holds: its forms (action -> hidden fields), headings, alerts, the data of passkey forms."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.options: list[str] = []
        self.images: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((given["action"], {}))
            self.options += [given["data-options"]] if "data-options" in given else []
        elif tag == "input" and given.get("type") == "hidden" and self.forms:
            self.forms[-1][1][given["name"]] = given["value"]
        elif tag == "img":
            self.images.append(given["src"])

    def fields(self, action: str) -> dict[str, str]:
        """The hidden fields of the last form that is sent there."""
        return next(fields for path, fields in reversed(self.forms) if path == action)


def said(answer: httpx.Response) -> str:
    """What the page says in its alert, or "" """
    found = re.search(r'role="alert">([^<]*)<', answer.text)
    return found.group(1) if found else ""


class Browser:
    """One browser: cookies, an address, forms sent as a page of the server sends them."""

    def __init__(self, root: str) -> None:
        self.root = root
        number = next(_addresses)
        self.address = f"127.9.{number // 250}.{number % 250 + 1}"
        brief = httpx.Limits(max_keepalive_connections=0)  # no connection stays behind, so nobody has to close a browser
        transport = httpx.HTTPTransport(local_address=self.address, limits=brief)
        self.http = httpx.Client(base_url=root, transport=transport, timeout=30)

    def get(self, path: str, **query: str) -> httpx.Response:
        """A page, redirects followed."""
        return self.http.get(path, params=query or None, follow_redirects=True)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        """A form; the answer itself, no redirect followed."""
        sent = {"Origin": self.root, "Sec-Fetch-Site": "same-origin"} | headers
        return self.http.post(path, data=fields, headers=sent)

    def send(self, page: httpx.Response, action: str, **fields: str) -> httpx.Response:
        """Fill in a form of the page and send it."""
        return self.post(action, Found(page.text).fields(action) | fields)

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        """Send the sign-in page with these; the answer itself."""
        return self.send(self.get(SIGN_IN), SIGN_IN, username=name, password=password)

    def entered(self, name: str, password: str = PASSWORD) -> "Browser":
        """This browser, signed in."""
        answer = self.sign_in(name, password)
        assert answer.status_code == 303 and answer.headers["location"] == "/account", (answer.status_code, said(answer))
        return self

    @property
    def signed_in(self) -> bool:
        """Whether the account page shows."""
        return self.http.get("/account").status_code == 200

    def cookies(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self.http.cookies.jar}
