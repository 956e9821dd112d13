"""The AuditEvent of a write names every patient whom the document is about, and was about: their access logs show it."""

import json
import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import httpx
import pytest
from api.conftest import FHIR, serving

JSON_PATCH = {"Content-Type": "application/json-patch+json"}
MEMBERS = {
    "resourceType": '"Observation"',
    "id": '"ID"',
    "meta": '{"tag":[{"system":"urn:x","code":"y"}]}',
    "identifier": '[{"system":"urn:x","value":"ID"}]',
    "status": '"final"',
    "code": '{"text":"x"}',
    "subject": '{"reference":"Patient/SUBJECT"}',
    "performer": '[{"reference":"Patient\\/performer"}]',
}
Send = Callable[[httpx.Client, str, str], httpx.Response]
_ids = count(1)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with patients."""
    patients = [{"resourceType": "Patient", "id": id} for id in ("old", "new", "performer")]
    with serving(tmp_path_factory.mktemp("named"), patients) as client:
        yield client


def document(id: str, subject: str, order: list[str]) -> str:
    """An Observation with its members in this order."""
    text = ",".join(f'"{name}":{MEMBERS[name]}' for name in order)
    return "{" + text.replace("ID", id).replace("SUBJECT", subject) + "}"


def orders() -> list[list[str]]:
    """The members with `id` and `meta` first, last, and anywhere."""
    names, draw = list(MEMBERS), random.Random(1)
    last = [*names[3:], "meta", "id", "resourceType"]
    return [names, last, *(draw.sample(names, len(names)) for _ in range(3))]


def named(api: httpx.Client, answer: httpx.Response) -> set[str]:
    """The patients whom the event of a request names."""
    assert answer.status_code in (200, 201, 204), answer.text
    asked = answer.headers["x-request-id"]
    found = [entry["resource"] for entry in api.get("AuditEvent/_history?_count=20").json()["entry"]]
    [event] = [each for each in found if asked in json.dumps(each.get("entity", []))]
    people = [each for each in event["entity"] if each.get("role", {}).get("code") == "1"]
    return {each["what"]["reference"].removeprefix("Patient/") for each in people}


def transaction(api: httpx.Client, method: str, url: str, resource: str) -> httpx.Response:
    """A transaction of one entry."""
    request = json.dumps({"method": method, "url": url})
    held = f',"resource":{resource}' if resource else ""
    entry = f'{{"request":{request}{held}}}'
    return api.post("", content=f'{{"resourceType":"Bundle","type":"transaction","entry":[{entry}]}}', headers=FHIR)


def binary(patch: list[dict[str, Any]]) -> str:
    """A JSON Patch as entries of a transaction have it."""
    data = b64encode(json.dumps(patch).encode()).decode()
    return json.dumps({"resourceType": "Binary", "contentType": JSON_PATCH["Content-Type"], "data": data})


def moved(value: str) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": "/subject/reference", "value": f"Patient/{value}"}]


MAKES: dict[str, Send] = {
    "PUT": lambda api, id, body: api.put(f"Observation/{id}", content=body, headers=FHIR),
    "POST": lambda api, id, body: api.post("Observation", content=body, headers=FHIR),
    "conditional POST": lambda api, id, body: api.post(
        "Observation", content=body, headers={**FHIR, "If-None-Exist": f"identifier=urn:x|{id}"}
    ),
    "conditional PUT": lambda api, id, body: api.put(f"Observation?identifier=urn:x|{id}", content=body, headers=FHIR),
    "transaction, PUT": lambda api, id, body: transaction(api, "PUT", f"Observation/{id}", body),
    "transaction, POST": lambda api, id, body: transaction(api, "POST", "Observation", body),
    "transaction, conditional PUT": lambda api, id, body: transaction(api, "PUT", f"Observation?identifier=urn:x|{id}", body),
}


@pytest.mark.parametrize("order", orders(), ids=lambda order: " ".join(order))
@pytest.mark.parametrize("way", MAKES)
def test_whatever_the_order_of_members(api: httpx.Client, way: str, order: list[str]) -> None:
    """All patients in a document that is written are named, before and behind `id` and `meta`, with escapes too."""
    id = f"made-{next(_ids)}"
    assert named(api, MAKES[way](api, id, document(id, "new", order))) == {"new", "performer"}


PATCHES: dict[str, Send] = {
    "PATCH": lambda api, id, _: api.patch(f"Observation/{id}", content=json.dumps(moved("new")), headers=JSON_PATCH),
    "conditional PATCH": lambda api, id, _: api.patch(
        f"Observation?identifier=urn:x|{id}", content=json.dumps(moved("new")), headers=JSON_PATCH
    ),
    "transaction, PATCH": lambda api, id, _: transaction(api, "PATCH", f"Observation/{id}", binary(moved("new"))),
}


@pytest.mark.parametrize("order", orders(), ids=lambda order: " ".join(order))
@pytest.mark.parametrize("way", PATCHES)
def test_whatever_the_order_of_members_of_what_is_patched(api: httpx.Client, way: str, order: list[str]) -> None:
    """So are those in the outcome of a patch."""
    id = f"patched-{next(_ids)}"
    MAKES["PUT"](api, id, document(id, "old", order))
    assert named(api, PATCHES[way](api, id, "")) >= {"new", "performer"}
