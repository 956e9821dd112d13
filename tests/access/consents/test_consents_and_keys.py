"""What a patient keeps is not told again under an `Idempotency-Key` of before, and who was told again is on record."""

from base64 import b64encode
from collections.abc import Iterator
from uuid import uuid4

import pytest
from access.consents.consenting import Agree, Json, lab, of_class
from access.worlds import Ask, Told, World

from smart_auth.access import Access

PATCH = '[{"op":"add","path":"/language","value":"en"}]'
AGAIN = "idempotency-replayed"


def _new(patient: str) -> Json:
    return {name: value for name, value in lab("", patient).items() if name != "id"}


def _transaction(*entries: Json) -> Json:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def _asks(patient: str) -> dict[str, Ask]:
    """What can be sent with a key, and tells of Observation/p1."""
    headers = {"Idempotency-Key": uuid4().hex, "Prefer": "return=representation"}
    binary = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": b64encode(PATCH.encode()).decode()}
    patched = {"resource": binary, "request": {"method": "PATCH", "url": "Observation/p1"}}
    found = {"resource": _new(patient), "request": {"method": "POST", "url": "Observation", "ifNoneExist": "_id=p1"}}
    plain = {**headers, "Content-Type": "application/json-patch+json"}
    return {
        "patch": Ask("", "PATCH", "Observation/p1", PATCH, plain),
        "conditional patch": Ask("", "PATCH", "Observation?_id=p1", PATCH, plain),
        "conditional create": Ask("", "POST", "Observation", _new(patient), {**headers, "If-None-Exist": "_id=p1"}),
        "patch in a transaction": Ask("", "POST", "", _transaction(patched), headers),
        "create in a transaction": Ask("", "POST", "", _transaction(found), headers),
    }


@pytest.fixture(params=list(_asks("q")))
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    yield _asks("q")[request.param]


def test_nothing_is_told_again(world: World, agree: Agree, ask: Ask) -> None:
    """Once the patient keeps a document from the caller the kept answer is 404, and the kept answer again when that has ended."""
    first = world.ask("ann", ask)
    assert first.status == 200 and b'"id":"p1"' in first.body
    id = agree({"type": "deny", "class": of_class("Observation")})
    hidden = world.ask("ann", ask)
    assert (hidden.status, AGAIN in hidden.headers) == (404, False)
    assert b"flu" not in hidden.body and b'"status":"final"' not in hidden.body
    assert world.ask("everything", Ask("", "PUT", f"Consent/{id}", _ended(world, id))).status == 200
    again = world.ask("ann", ask)
    assert (again.status, again.headers.get(AGAIN), again.body) == (200, "true", first.body)


def test_who_is_told_again_is_on_record(world: World, ask: Ask) -> None:
    """The AuditEvent of a kept answer names the patient whom it tells of, as the first one's does."""
    for _ in range(2):
        told = world.ask("ann", ask)
        assert told.status == 200
        assert _patients(world, told) == {"Patient/p"}
    assert told.headers[AGAIN] == "true"


def test_who_only_writes_is_answered_again(world: World, agree: Agree) -> None:
    """A service that may create and read nothing gets the answer to what it sent, also while the patient keeps the record."""
    world.issue(feeder=Access("feeder", "feeder", "system/Observation.c", 0))
    agree({"type": "deny"})
    entry = {"resource": _new("p"), "request": {"method": "POST", "url": "Observation"}}
    for path, body in (("Observation", _new("p")), ("", _transaction(entry))):
        ask = Ask("", "POST", path, body, {"Idempotency-Key": uuid4().hex})
        first, again = world.ask("feeder", ask), world.ask("feeder", ask)
        assert (again.status, again.body, again.headers[AGAIN]) == (first.status, first.body, "true")
        assert first.status in (200, 201)
        assert _patients(world, again) == {"Patient/p"}


def _ended(world: World, id: str) -> Json:
    found: Json = world.get("everything", f"Consent/{id}").json()
    return {**found, "status": "inactive"}


def _patients(world: World, told: Told) -> set[str]:
    """The patients whom the AuditEvent of a request names."""
    events = world.get("everything", "AuditEvent/_history?_count=5").json()["entry"]
    named = {
        str(entity.get("what", {}).get("reference"))
        for event in events
        if told.headers["x-request-id"] in str(event["resource"])
        for entity in event["resource"]["entity"]
    }
    return {name for name in named if name.startswith("Patient/")}
