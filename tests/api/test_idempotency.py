"""Idempotency-Key: a request that is sent twice is carried out once."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from api.conftest import Running
from api.making import FHIR, Json, bundle, count, entry, observation, patient, post, send, statuses, texts, unique, urn

REPLAYED = "idempotency-replayed"


def test_a_create_sent_twice(api: httpx.Client) -> None:
    """The second gets the first one's answer: status, Location, ETag, body. One resource is made."""
    value, key = unique(), unique()
    first, second = (post(api, patient(value), Idempotency_Key=key) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    for name in ("location", "etag", "last-modified"):
        assert first.headers[name] == second.headers[name]
    assert first.content == second.content
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    assert count(api, "Patient", value) == 1


def test_prefer_minimal(api: httpx.Client) -> None:
    """The kept answer has no more content than the first had."""
    key, resource = unique(), patient()
    first, second = (post(api, resource, Idempotency_Key=key, Prefer="return=minimal") for _ in range(2))
    assert first.content == second.content == b""
    assert first.headers["location"] == second.headers["location"]


@pytest.mark.parametrize("change", ["body", "url", "method"])
def test_the_same_key_for_another_request(api: httpx.Client, change: str) -> None:
    """422: the key was meant for something else, and nothing is written."""
    value, key = unique(), unique()
    id = post(api, patient(value), Idempotency_Key=key).json()["id"]
    headers = {**FHIR, "Idempotency-Key": key}
    if change == "body":
        answer = post(api, patient(value, active=True), Idempotency_Key=key)
    elif change == "url":
        answer = api.post("Practitioner", content=json.dumps(patient(value, resourceType="Practitioner")), headers=headers)
    else:
        answer = api.patch(f"Patient/{id}", content=b"[]", headers={**headers, "Content-Type": "application/json-patch+json"})
    assert answer.status_code == 422
    assert "Idempotency-Key" in texts(answer)[0][1]
    assert count(api, "Patient", value) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_keys_that_are_none(api: httpx.Client, key: str) -> None:
    """400 for an empty key and for one that is too long."""
    assert post(api, patient(), Idempotency_Key=key).status_code == 400


def test_a_refused_request_uses_no_key(api: httpx.Client) -> None:
    """After a 422 the corrected request may carry the same key."""
    key = unique()
    assert post(api, patient(gender="x"), Idempotency_Key=key).status_code == 422
    assert post(api, patient(gender="other"), Idempotency_Key=key).status_code == 201


def test_a_conditional_create(api: httpx.Client) -> None:
    """The answer stays the first one, be it 201 or 200, whatever became of the resource."""
    value = unique()
    for key, status in ((unique(), 201), (unique(), 200)):
        answers = [post(api, patient(value), Idempotency_Key=key, If_None_Exist=f"identifier={value}") for _ in range(2)]
        assert [a.status_code for a in answers] == [status, status]
        assert answers[0].content == answers[1].content


def test_a_patch(api: httpx.Client) -> None:
    """A patch that appends appends once."""
    id, key = post(api, patient()).json()["id"], unique()
    body = json.dumps([{"op": "add", "path": "/identifier/-", "value": {"value": unique()}}])
    headers = {"Content-Type": "application/json-patch+json", "Idempotency-Key": key}
    for _ in range(2):
        answer = api.patch(f"Patient/{id}", content=body, headers=headers)
        assert (answer.status_code, answer.headers["etag"]) == (200, 'W/"2"')
    assert len(api.get(f"Patient/{id}").json()["identifier"]) == 2


def test_a_transaction(api: httpx.Client) -> None:
    """The whole answer is kept, but what its GET entries read is read again."""
    value, key, name = unique(), unique(), urn()
    body = bundle(
        "transaction",
        entry("GET", f"Patient?identifier={value}"),
        entry("POST", "Patient", patient(value), name),
        entry("POST", "Observation", observation(name)),
        entry("HEAD", "metadata"),
    )
    first = send(api, body, Idempotency_Key=key)
    post(api, patient(value))
    second = send(api, body, Idempotency_Key=key)
    assert statuses(first) == statuses(second) == ["200", "201", "201", "200"]
    assert first.json()["entry"][1:] == second.json()["entry"][1:]
    assert [a.json()["entry"][0]["resource"]["total"] for a in (first, second)] == [1, 2]
    assert second.headers[REPLAYED] == "true"


def test_a_batch(api: httpx.Client) -> None:
    """400: a batch has no one moment at which its answer could be kept; the text says what to send instead."""
    answer = send(api, bundle("batch", entry("POST", "Patient", patient())), Idempotency_Key=unique())
    assert answer.status_code == 400
    assert "transaction" in texts(answer)[0][1]


@pytest.mark.parametrize("kind", ["create", "conditional", "transaction"])
def test_twins_at_the_same_time(running: Running, api: httpx.Client, kind: str) -> None:
    """Of many copies sent at once one is carried out; all get its answer."""
    value, key = unique(), unique()
    resource: Json = patient(value)
    headers: dict[str, Any] = {**FHIR, "Idempotency-Key": key}
    url = "/Patient"
    if kind == "conditional":
        headers["If-None-Exist"] = f"identifier={value}"
    if kind == "transaction":
        url, resource = "", bundle("transaction", entry("POST", "Patient", resource))

    async def together() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=f"{running.root}/fhir", timeout=30) as client:
            return await asyncio.gather(*(client.post(url, content=json.dumps(resource), headers=headers) for _ in range(30)))

    answers = asyncio.run(together())
    assert {a.status_code for a in answers} == {200 if kind == "transaction" else 201}
    assert len({a.content for a in answers}) == 1
    assert sum(REPLAYED not in a.headers for a in answers) == 1
    assert count(api, "Patient", value) == 1


def test_a_replay_is_recorded(api: httpx.Client) -> None:
    """The second answer shows the resource again, so it has an AuditEvent of its own."""
    key, resource = unique(), patient()
    first, _ = (post(api, resource, Idempotency_Key=key) for _ in range(2))
    id = first.json()["id"]
    assert api.get("AuditEvent", params={"entity": f"Patient/{id}"}).json()["total"] == 2
