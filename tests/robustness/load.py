"""What the clients of the kill test do: every request carries its own id, in its X-Request-Id and in the documents that it writes."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

MARK = "http://example.org/request"
"""Identifier system: which request wrote this version."""
NAME = "http://example.org/name"
"""Identifier system: what conditional creates and searches look for."""
SHARED = 4
"""Patients that all clients update, so that If-Match is refused now and then."""

Place = tuple[str, str, int]
"""Type, id and version."""


@dataclass
class Sent:
    """A request and what became of it. `status` 0: no answer arrived, so it may have happened or not, but not in part.

    `makes`: how many versions it writes if it happens. `seen`: the versions that its answer named. `name`: the criterion that
    conditional creates share. `body` and `key` are kept where the request is to be repeated (Idempotency-Key).
    """

    id: str
    kind: str
    makes: int = 0
    status: int = 0
    seen: list[Place] = field(default_factory=list)
    name: str = ""
    body: dict[str, Any] | None = None
    problem: str = ""


def patient(request_id: str, name: str = "", id: str = "") -> dict[str, Any]:
    """A Patient that tells which request wrote it."""
    identifier = [{"system": MARK, "value": request_id}] + ([{"system": NAME, "value": name}] if name else [])
    document: dict[str, Any] = {"resourceType": "Patient", "active": True, "identifier": identifier}
    return (
        document
        | {"name": [{"family": "Kill", "given": [name or request_id]}], "birthDate": "1970-01-01"}
        | ({"id": id} if id else {})
    )


def placed(location: str) -> Place:
    """`http://…/Patient/a/_history/3` or `Patient/a/_history/3` -> ("Patient", "a", 3)."""
    type, id, _, version = location.split("/")[-4:]
    return type, id, int(version)


class Load:
    """Clients of one server. They remember across its lives what they own; `sent` is what they sent in this life."""

    def __init__(self, http: httpx.AsyncClient, base: str, seed: int, clients: int) -> None:
        self._http, self._base, self._random, self._clients = http, base, random.Random(seed), clients
        self._numbers = itertools.count()
        self._races = itertools.count()
        self._own: list[dict[str, int]] = [{} for _ in range(clients)]
        self._names: dict[str, str] = {}
        self._shared = dict.fromkeys((f"shared-{n}" for n in range(SHARED)), 0)
        self._life = f"{seed}"
        self.sent: list[Sent] = []

    def new_life(self, number: int) -> None:
        """Forget what was sent; the server was started again."""
        self._life, self.sent = f"{number}", []

    async def drive(self) -> None:
        """Send until the server is gone."""
        await asyncio.gather(*(self._client(number) for number in range(self._clients)))

    async def repeat(self, lost: Sent) -> Sent:
        """Send an unanswered transaction again with its Idempotency-Key."""
        again = self._new("repeat")
        await self._send(again, "POST", "", lost.body, {"idempotency-key": lost.id})
        return again

    async def names(self, wanted: list[str]) -> list[str]:
        """The ids of the Patients with these names, by search."""
        again = self._new("search")
        params = {"identifier": ",".join(f"{NAME}|{name}" for name in wanted), "_count": "1000", "_elements": "id"}
        answer = await self._send(again, "GET", "/Patient", params=params)
        assert answer is not None and answer.status_code == 200, again
        return [entry["resource"]["id"] for entry in answer.json().get("entry", [])]

    async def _client(self, number: int) -> None:
        """One client's life. The first lost answer ends it: the server was killed."""
        actions: dict[Callable[[int], Awaitable[Sent]], int] = {
            self._create: 24, self._update: 18, self._update_shared: 8, self._transaction: 14,
            self._conditional: 12, self._read: 12, self._search: 9, self._delete: 3,
        }  # fmt: skip
        names, weights = list(actions), list(actions.values())
        while True:
            action = self._random.choices(names, weights)[0]
            if (await action(number)).status == 0:
                return

    def _new(self, kind: str, makes: int = 0, name: str = "") -> Sent:
        sent = Sent(f"{self._life}-{next(self._numbers)}", kind, makes, name=name)
        self.sent.append(sent)
        return sent

    async def _send(
        self, sent: Sent, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, params: Any = None
    ) -> httpx.Response | None:
        head = {"x-request-id": sent.id, "content-type": "application/fhir+json"} if body else {"x-request-id": sent.id}
        try:
            answer = await self._http.request(method, self._base + path, json=body, headers=head | (headers or {}), params=params)
        except httpx.TransportError:
            return None
        sent.status = answer.status_code
        if answer.status_code < 300 and "location" in answer.headers:
            sent.seen.append(placed(answer.headers["location"]))
        if answer.status_code >= 400:
            sent.problem = answer.text
        return answer

    async def _create(self, number: int) -> Sent:
        sent = self._new("create", 1)
        sent.name = f"n{sent.id}"
        await self._send(sent, "POST", "/Patient", patient(sent.id, sent.name))
        if sent.status == 201:
            self._own[number][sent.seen[0][1]] = 1
            self._names[sent.seen[0][1]] = sent.name
        return sent

    async def _put(self, sent: Sent, id: str, version: int) -> int:
        """PUT with If-Match where a version is known; returns the version as it is now known (0: to be read again)."""
        match = {"if-match": f'W/"{version}"'} if version else {"if-none-match": "*"}
        answer = await self._send(sent, "PUT", f"/Patient/{id}", patient(sent.id, self._names.get(id, ""), id), match)
        if answer is not None and answer.status_code < 300:
            now = int(answer.headers["etag"][3:-1])
            sent.seen = [("Patient", id, now)]
            return now
        return 0

    async def _update(self, number: int) -> Sent:
        own = self._own[number]
        if not own:
            return await self._create(number)
        id = self._random.choice(list(own))
        if not own[id]:  # an earlier update was lost or refused
            return await self._read_one(own, id)
        sent = self._new("update", 1)
        own[id] = await self._put(sent, id, own[id])
        return sent

    async def _update_shared(self, number: int) -> Sent:
        id = self._random.choice(list(self._shared))
        sent = self._new("contend", 1)
        known = self._shared[id]
        now = await self._put(sent, id, known)
        if sent.status == 412:
            return await self._read_one(self._shared, id)
        self._shared[id] = max(self._shared[id], now)
        return sent

    async def _read_one(self, known: dict[str, int], id: str) -> Sent:
        sent = self._new("read")
        answer = await self._send(sent, "GET", f"/Patient/{id}")
        if answer is not None and answer.status_code == 200:
            version = int(answer.headers["etag"][3:-1])
            sent.seen = [("Patient", id, version)]
            if id in known:  # not deleted meanwhile
                known[id] = max(known[id], version)
        return sent

    async def _read(self, number: int) -> Sent:
        known = self._own[self._random.randrange(self._clients)]
        if not known:
            return await self._create(number)
        return await self._read_one(known, self._random.choice(list(known)))

    async def _transaction(self, number: int) -> Sent:
        sent = self._new("transaction", 5)
        entries = [{"resource": patient(sent.id), "request": {"method": "POST", "url": "Patient"}} for _ in range(3)]
        for part in ("a", "b"):
            id = f"t{sent.id}{part}"
            entries.append({"resource": patient(sent.id, id=id), "request": {"method": "PUT", "url": f"Patient/{id}"}})
        sent.body = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        answer = await self._send(sent, "POST", "", sent.body, {"idempotency-key": sent.id})
        if answer is not None and answer.status_code == 200:
            sent.seen = [placed(entry["response"]["location"]) for entry in answer.json()["entry"]]
        return sent

    async def _conditional(self, number: int) -> Sent:
        name = f"race{self._life}-{next(self._races) // 4}"
        sent = self._new("conditional", 1, name)
        await self._send(sent, "POST", "/Patient", patient(sent.id, name), {"if-none-exist": f"identifier={NAME}|{name}"})
        return sent

    async def _search(self, number: int) -> Sent:
        if not self._names:
            return await self._create(number)
        id, name = self._random.choice(list(self._names.items())[-50:])
        sent = self._new("search")
        answer = await self._send(sent, "GET", "/Patient", params={"identifier": f"{NAME}|{name}"})
        if answer is not None and answer.status_code == 200:
            found = [entry["resource"] for entry in answer.json().get("entry", [])]
            sent.seen = [("Patient", one["id"], int(one["meta"]["versionId"])) for one in found]
            sent.name = name if id in self._names else ""  # it must have been found, unless a delete was sent meanwhile
        return sent

    async def _delete(self, number: int) -> Sent:
        own = self._own[number]
        if len(own) < 3:
            return await self._create(number)
        id = self._random.choice(list(own))
        version = own.pop(id)
        self._names.pop(id, None)
        sent = self._new("delete")
        await self._send(sent, "DELETE", f"/Patient/{id}")
        if sent.status < 300 and sent.status:
            sent.seen = [("Patient", id, version + 1)] if version else []
        return sent
