"""Servers that ask for tokens, with chosen documents in them, and what they answer, in a form that can be compared."""

import asyncio
import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
from access.population import BASE, OTHER, OWN, SYSTEM, Json, documents, marker, shared, ties
from api.conftest import Running

from fhir_server.app import open_context
from fhir_server.config import Settings
from resources import instants
from smart_auth.access import Access
from smart_auth.tokens import issue

SECRET = "the-same-for-all-these-servers"
LABORATORY = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory"
FHIR = {"Content-Type": "application/fhir+json"}

_LATER = 3_600 * 1_000_000
_IDLE = 1.0
"""Seconds after which a connection is not used again."""

CALLERS: Mapping[str, Access] = {
    "everything": Access("loader", "loader", "system/*.cruds", 0),
    "patient": Access("kim", "app", "patient/*.cruds", 0, role="patient", patient=OWN, fhir_user=f"Patient/{OWN}"),
    "other patient": Access("lee", "app", "patient/*.cruds", 0, role="patient", patient=OTHER, fhir_user=f"Patient/{OTHER}"),
    "some categories": Access(
        "kim",
        "app",
        f"patient/Observation.rs?category={LABORATORY} patient/Condition.rs?category=problem-list-item",
        0,
        role="patient",
        patient=OWN,
        fhir_user=f"Patient/{OWN}",
    ),
    "some types": Access(
        "ann", "app", "user/Observation.rs user/Patient.rs", 0, role="practitioner", fhir_user="Practitioner/shared"
    ),
    "one type": Access("service", "service", "system/Observation.rs", 0),
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, `road` says what it tries. `path` is relative to the base, with its query."""

    road: str
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer. `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    def normal(self) -> tuple[int, Mapping[str, str], str]:
        """What must not depend on what the caller may not see: all but instants, made-up ids, and page links, which are sealed."""
        kept = {name: _normal(value) for name, value in self.headers.items() if name not in _VARYING}
        return self.status, kept, _normal(self.body.decode())


_VARYING = frozenset(("date", "x-request-id", "content-length", "last-modified", "server"))
_NORMAL = (
    (re.compile(r"20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|[+-]\d\d:\d\d)"), "INSTANT"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"_cursor=[A-Za-z0-9_-]+"), "_cursor=PLACE"),
    (re.compile(r"\d+(?:\.\d+)? ms"), "TIME"),
)


def _normal(text: str) -> str:
    for pattern, name in _NORMAL:
        text = pattern.sub(name, text)
    return text


class World:
    """A server with documents in it. `callers` are the names of CALLERS whose tokens it knows."""

    def __init__(self, folder: Path, content: Iterable[Json], callers: Mapping[str, Access] = CALLERS, **settings: Any) -> None:
        chosen = {"auth": "smart", "base_url": BASE, "secret": SECRET} | settings
        self.settings = Settings(data_dir=folder, **chosen)
        self.tokens = asyncio.run(issued(self.settings, callers))
        self.running = Running(folder, **chosen)
        self.running.start()
        self._connection = HTTPConnection("127.0.0.1", self.running.port, timeout=60)
        self._used = 0.0
        self.fill(content)

    def ask(self, caller: str, ask: Ask) -> Told:
        """The answer to a request with the token of `caller` (none for "")."""
        headers = dict(ask.headers)
        if caller:
            headers["Authorization"] = f"Bearer {self.tokens.get(caller, caller)}"
        body = ask.body
        if body is not None:
            if not isinstance(body, str):
                body = json.dumps(body)
            headers = {**FHIR, **headers}
        if time.monotonic() - self._used > _IDLE:
            self._connection.close()  # it opens again by itself; the server may be closing it just now
        self._connection.request(ask.method, f"/fhir/{ask.path}", body, headers)
        answer = self._connection.getresponse()
        told = Told(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        self._used = time.monotonic()
        return told

    def get(self, caller: str, path: str) -> Told:
        """The answer to a GET."""
        return self.ask(caller, Ask("", "GET", path))

    def issue(self, **callers: Access) -> None:
        """Make more tokens that the server knows."""
        self.tokens |= asyncio.run(issued(self.settings, callers))

    def close(self) -> None:
        """End the server."""
        self._connection.close()
        self.running.stop()

    def fill(self, content: Iterable[Json]) -> None:
        """Put the documents in, in two versions each, and delete those that are marked so."""
        entries = list(content)
        for version in (1, 2):
            self._transaction(_put(each, version) for each in entries if each["resourceType"] != "AuditEvent" or version == 1)
        self._transaction(_delete(each) for each in entries if each["id"].endswith("-gone"))

    def _transaction(self, entries: Iterable[Json]) -> None:
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}
        if bundle["entry"]:
            told = self.ask("everything", Ask("load", "POST", "", bundle))
            assert told.status == 200, told.body[:2000]


def _put(document: Json, version: int) -> Json:
    type = document["resourceType"]
    if type == "AuditEvent":
        return {"resource": document, "request": {"method": "POST", "url": type}}
    tag = {"system": SYSTEM, "code": f"version-{version}"}
    meta = document.get("meta", {})
    changed = {**document, "meta": {**meta, "tag": [*meta.get("tag", []), tag]}}
    return {"resource": changed, "request": {"method": "PUT", "url": f"{type}/{document['id']}"}}


def _delete(document: Json) -> Json:
    return {"request": {"method": "DELETE", "url": f"{document['resourceType']}/{document['id']}"}}


async def issued(settings: Settings, callers: Mapping[str, Access]) -> dict[str, str]:
    """A token for each of the callers, kept in the store; good for an hour, or until `expires` where that is given."""
    now = instants.now()
    async with open_context(settings) as ctx:
        made = {}
        for name, access in callers.items():
            made[name], record = issue(msgspec.structs.replace(access, issued=now, expires=access.expires or now + _LATER))
            await ctx.store.commit((), records=(record,))
        return made


def everything() -> list[Json]:
    """What is in the world that has both patients, in the order in which it is stored."""
    both = [each for pair in zip(_all(OWN), _all(OTHER), strict=True) for each in pair]
    return [*shared(), *both]


def without_other() -> list[Json]:
    """The same without the other patient: as if there had never been one."""
    return [*shared(), *_all(OWN)]


def _all(who: str) -> list[Json]:
    gone = {
        "resourceType": "Observation",
        "id": f"{who}-gone",
        "status": "final",
        "code": {"text": marker(who)},
        "subject": {"reference": f"Patient/{who}"},
    }
    return [*documents(who), *ties(who), gone]
