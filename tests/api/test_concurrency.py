"""Hundreds of clients at once, several server processes, one database: nothing lost, nothing twice."""

import asyncio
import json
import random
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.making import FHIR, Json, bundle, entry, observation, patient, unique, urn
from robustness.running import Server

CLIENTS = 200
TLS = ssl.create_default_context()  # not used; making one for each client would be most of the work

Client = httpx.AsyncClient
Work = Callable[[Client, int], Awaitable[Any]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two processes."""
    folder: Path = tmp_path_factory.mktemp("concurrency") / "data"
    with Server(folder, "--workers", "2") as server:
        yield server


def together(server: Server, work: Work, clients: int = CLIENTS) -> list[Any]:
    """The outcomes of `clients` tasks that begin at the same moment, each with a connection of its own, over both processes."""

    async def run() -> list[Any]:
        async with AsyncExitStack() as stack:
            made = [httpx.AsyncClient(base_url=server.base, timeout=120, verify=TLS) for _ in range(clients)]
            for client in made:
                await stack.enter_async_context(client)
            await asyncio.gather(*(client.get("/Patient/none") for client in made))
            return await asyncio.gather(*(work(client, number) for number, client in enumerate(made)))

    return asyncio.run(run())


def get(server: Server, url: str, **query: str) -> Json:
    document: Json = httpx.get(f"{server.base}/{url}", params=query or None, timeout=120, verify=TLS).json()
    return document


def put(server: Server, resource: Json) -> None:
    """Store a resource under its own id."""
    url = f"{server.base}/{resource['resourceType']}/{resource['id']}"
    assert httpx.put(url, content=json.dumps(resource), headers=FHIR, timeout=120, verify=TLS).status_code == 201


def total(server: Server, type: str, **query: str) -> int:
    """How many resources of `type` match."""
    found: int = get(server, type, **query, _summary="count")["total"]
    return found


def test_conditional_creates_make_one(served: Server) -> None:
    """Criteria that nothing matches make one resource, whoever asks; everybody learns its address."""
    value = unique()

    async def create(client: Client, _: int) -> httpx.Response:
        headers = {**FHIR, "If-None-Exist": f"identifier={value}"}
        return await client.post("/Patient", content=json.dumps(patient(value)), headers=headers)

    answers = together(served, create)
    assert Counter(a.status_code for a in answers) == {201: 1, 200: CLIENTS - 1}
    assert len({a.headers["location"] for a in answers}) == 1
    assert total(served, "Patient", identifier=value) == 1


@pytest.mark.parametrize("named", [False, True])
def test_conditional_updates_make_one(served: Server, named: bool) -> None:
    """One creates, all others update it; no update is lost without notice: each has a version of its own.

    The same holds where all of them name the id that it is to have.
    """
    value = unique()
    own = {"id": unique()} if named else {}

    async def update(client: Client, number: int) -> httpx.Response:
        body = json.dumps(patient(value, birthDate=f"19{number % 90 + 10}-01-01", **own))
        return await client.put(f"/Patient?identifier={value}", content=body, headers=FHIR)

    answers = together(served, update)
    done = [a for a in answers if a.status_code in (200, 201)]
    assert Counter(a.status_code for a in done)[201] == 1
    assert {a.status_code for a in answers} <= {200, 201, 409}
    assert len(done) > CLIENTS * 0.9
    assert len({a.json()["id"] for a in done}) == 1
    assert sorted(int(a.json()["meta"]["versionId"]) for a in done) == list(range(1, len(done) + 1))


def test_updates_with_the_same_version_let_one_win(served: Server) -> None:
    """Of many updates of version 1 one is done; the others are told which version there is."""
    id = unique()
    put(served, patient(id=id))

    async def update(client: Client, number: int) -> httpx.Response:
        body = json.dumps(patient(id=id, multipleBirthInteger=number))
        return await client.put(f"/Patient/{id}", content=body, headers={**FHIR, "If-Match": 'W/"1"'})

    answers = together(served, update)
    assert Counter(a.status_code for a in answers) == {200: 1, 412: CLIENTS - 1}
    [won] = [a for a in answers if a.status_code == 200]
    assert get(served, f"Patient/{id}") == won.json()


def test_patches_are_all_applied(served: Server) -> None:
    """Patches without If-Match are applied to what is there when their turn comes: none is lost."""
    id = unique()
    put(served, patient(id=id))

    async def patch(client: Client, number: int) -> httpx.Response:
        body = json.dumps([{"op": "add", "path": "/identifier/-", "value": {"value": f"p{number}"}}])
        return await client.patch(f"/Patient/{id}", content=body, headers={"Content-Type": "application/json-patch+json"})

    answers = together(served, patch)
    done = {f"p{number}" for number, a in enumerate(answers) if a.status_code == 200}
    assert {a.status_code for a in answers} <= {200, 409}
    assert len(done) > CLIENTS * 0.9
    assert {i["value"] for i in get(served, f"Patient/{id}")["identifier"][1:]} == done


def test_deletions_all_succeed(served: Server) -> None:
    """A DELETE without If-Match is idempotent: whoever comes too late is told the same, and one deletion is written."""
    id = unique()
    put(served, patient(id=id))

    async def delete(client: Client, _: int) -> httpx.Response:
        return await client.delete(f"/Patient/{id}")

    answers = together(served, delete)
    assert Counter(a.status_code for a in answers) == {204: CLIENTS}
    assert Counter("etag" in a.headers for a in answers) == {True: 1, False: CLIENTS - 1}
    assert len(get(served, f"Patient/{id}/_history")["entry"]) == 2


def test_transactions_with_the_same_identities(served: Server) -> None:
    """Each transaction wants two of ten patients (made by whoever is first), an update of a shared one, and an Observation of its own."""
    values = [unique() for _ in range(10)]
    shared = unique()

    async def transact(client: Client, number: int) -> httpx.Response:
        one, two = random.Random(number).sample(values, 2)
        first, second = urn(), urn()
        body = bundle(
            "transaction",
            entry("POST", "Patient", patient(one), first, ifNoneExist=f"identifier={one}"),
            entry("POST", "Patient", patient(two), second, ifNoneExist=f"identifier={two}"),
            entry("PUT", f"Patient?identifier={shared}", patient(shared, multipleBirthInteger=number)),
            entry("POST", "Observation", observation(first, identifier=[{"value": f"{shared}-{number}"}])),
            entry("POST", "Observation", observation(second)),
        )
        return await client.post("", content=json.dumps(body), headers=FHIR)

    answers = together(served, transact)
    done = [number for number, a in enumerate(answers) if a.status_code == 200]
    assert {a.status_code for a in answers} <= {200, 409}
    assert len(done) > CLIENTS * 0.9
    assert [total(served, "Patient", identifier=value) for value in (*values, shared)] == [1] * 11
    [common] = get(served, "Patient", identifier=shared)["entry"]
    assert common["resource"]["meta"]["versionId"] == str(len(done))
    assert [n for n in range(CLIENTS) if total(served, "Observation", identifier=f"{shared}-{n}")] == done
    wanted = [get(served, "Patient", identifier=value)["entry"][0]["resource"]["id"] for value in values]
    assert sum(total(served, "Observation", subject=f"Patient/{id}") for id in wanted) == 2 * len(done)


def test_bookings_of_one_slot(served: Server) -> None:
    """Of many who create the appointment of one slot on condition that it is free, one gets it."""
    slot, value = unique(), unique()
    put(served, free(slot))

    async def book(client: Client, number: int) -> httpx.Response:
        made = {"resourceType": "Basic", "code": {"text": "booking"}, "identifier": [{"value": f"{value}-{number}"}]}
        taken = {**free(slot), "status": "busy"}
        body = bundle("transaction", entry("PUT", f"Slot/{slot}", taken, ifMatch='W/"1"'), entry("POST", "Basic", made))
        return await client.post("", content=json.dumps(body), headers=FHIR)

    answers = together(served, book)
    assert Counter(a.status_code for a in answers) == {200: 1, 412: CLIENTS - 1}
    [won] = [number for number, a in enumerate(answers) if a.status_code == 200]
    booked = [number for number in range(CLIENTS) if total(served, "Basic", identifier=f"{value}-{number}")]
    assert booked == [won]


def free(id: str) -> Json:
    return {
        "resourceType": "Slot",
        "id": id,
        "schedule": {"reference": "Schedule/1"},
        "status": "free",
        "start": "2026-03-01T09:00:00Z",
        "end": "2026-03-01T09:30:00Z",
    }


def test_one_key_from_everywhere(served: Server) -> None:
    """One Idempotency-Key, many senders, two processes: one is carried out, all get its answer."""
    value, key = unique(), unique()
    body = json.dumps(patient(value))

    async def create(client: Client, _: int) -> httpx.Response:
        return await client.post("/Patient", content=body, headers={**FHIR, "Idempotency-Key": key})

    answers = together(served, create)
    assert {a.status_code for a in answers} == {201}
    assert len({a.content for a in answers}) == 1
    assert total(served, "Patient", identifier=value) == 1
