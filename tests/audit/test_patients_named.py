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


MOVES: dict[str, Send] = PATCHES | {
    "PUT": MAKES["PUT"],
    "PUT with If-Match": lambda api, id, body: api.put(f"Observation/{id}", content=body, headers={**FHIR, "If-Match": 'W/"1"'}),
    "conditional PUT": MAKES["conditional PUT"],
    "transaction, PUT": MAKES["transaction, PUT"],
    "transaction, conditional PUT": MAKES["transaction, conditional PUT"],
    "transaction, conditional PATCH": lambda api, id, _: transaction(
        api, "PATCH", f"Observation?identifier=urn:x|{id}", binary(moved("new"))
    ),
}


@pytest.mark.parametrize("way", MOVES)
def test_a_document_that_becomes_another_patients(api: httpx.Client, way: str) -> None:
    """Both are named, the one whose record it leaves and the one into whose it comes."""
    id = f"moved-{next(_ids)}"
    MAKES["PUT"](api, id, document(id, "old", list(MEMBERS)))
    assert named(api, MOVES[way](api, id, document(id, "new", list(MEMBERS)))) == {"old", "new", "performer"}


DELETES: dict[str, Send] = {
    "DELETE": lambda api, id, _: api.delete(f"Observation/{id}"),
    "conditional DELETE": lambda api, id, _: api.delete(f"Observation?identifier=urn:x|{id}"),
    "transaction, DELETE": lambda api, id, _: transaction(api, "DELETE", f"Observation/{id}", ""),
    "transaction, conditional DELETE": lambda api, id, _: transaction(api, "DELETE", f"Observation?identifier=urn:x|{id}", ""),
}


@pytest.mark.parametrize("way", DELETES)
def test_a_document_that_is_deleted(api: httpx.Client, way: str) -> None:
    """Those whom it was about are named."""
    id = f"deleted-{next(_ids)}"
    MAKES["PUT"](api, id, document(id, "old", list(MEMBERS)))
    assert named(api, DELETES[way](api, id, "")) == {"old", "performer"}


def test_a_patient_who_was_linked_to_another(api: httpx.Client) -> None:
    """The other's record held that Patient too (Patient.link): both are named when the link goes, and when the Patient does."""
    link = [{"other": {"reference": "Patient/old"}, "type": "seealso"}]
    patient = {"resourceType": "Patient", "id": "linked"}
    assert named(api, api.put("Patient/linked", json=patient | {"link": link})) == {"linked", "old"}
    assert named(api, api.put("Patient/linked", json=patient)) == {"linked", "old"}
    api.put("Patient/linked", json=patient | {"link": link})
    assert named(api, api.delete("Patient/linked")) == {"linked", "old"}


def test_a_large_transaction_of_updates(api: httpx.Client) -> None:
    """However many documents leave a record, nobody is left out."""
    for subject in ("old", "new"):
        entries = [
            {
                "resource": json.loads(document(f"many-{n}", f"{subject}-{n}", list(MEMBERS))),
                "request": {"method": "PUT", "url": f"Observation/many-{n}"},
            }
            for n in range(250)
        ]
        answer = api.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    asked, people = answer.headers["x-request-id"], set[str]()
    for entry in api.get("AuditEvent/_history?_count=20").json()["entry"]:
        if asked in json.dumps(entry["resource"].get("entity", [])):
            people |= {each["what"].get("reference") for each in entry["resource"]["entity"]}
    assert people >= {f"Patient/{subject}-{n}" for subject in ("old", "new") for n in range(250)}


def test_a_bundle_names_the_patients_that_it_holds(api: httpx.Client) -> None:
    """Also where nothing in it refers to them: when it is written, read, found and replaced."""
    held = {"resourceType": "Patient", "id": "old", "name": [{"family": "A"}]}
    kept = {"resourceType": "Bundle", "id": "held", "type": "collection", "entry": [{"resource": held}]}
    assert named(api, api.put("Bundle/held", json=kept)) == {"old"}
    assert named(api, api.get("Bundle/held")) == {"old"}
    assert named(api, api.get("Bundle?_id=held")) == {"old"}
    assert named(api, api.put("Bundle/held", json={name: kept[name] for name in ("resourceType", "id", "type")})) == {"old"}
