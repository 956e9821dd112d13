"""The AuditEvent of every interaction: http://hl7.org/fhir/R4/auditevent.html, codes of http://hl7.org/fhir/restful-interaction"""

from base64 import b64decode
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from conformance.load import definitions
from conformance.validate import Validator
from resources import documents, structure
from tests.api.conftest import FHIR

PATIENT = {"resourceType": "Patient", "active": True}
VALIDATOR = Validator(definitions())


def events(api: httpx.Client) -> list[dict[str, Any]]:
    """The newest events first."""
    bundle = api.get("AuditEvent/_history?_count=100").json()
    return [entry["resource"] for entry in bundle["entry"]]


def event_of(api: httpx.Client, request_id: str) -> dict[str, Any]:
    """The one event of the request with this X-Request-Id."""
    found = [
        event
        for event in events(api)
        if any(e.get("what", {}).get("identifier", {}).get("value") == request_id for e in event.get("entity", []))
    ]
    assert len(found) == 1
    return found[0]


def facts(event: dict[str, Any]) -> tuple[str, str, str]:
    return event["subtype"][0]["code"], event["action"], event["outcome"]


def references(event: dict[str, Any]) -> list[str]:
    """What it names, without versions, each once."""
    named = [e["what"]["reference"] for e in event.get("entity", []) if "reference" in e.get("what", {})]
    return list(dict.fromkeys(name.partition("/_history/")[0] for name in named))


def query(event: dict[str, Any]) -> str:
    return next((b64decode(e["query"]).decode() for e in event.get("entity", []) if "query" in e), "")


HEADERS = {"If-Match": 'W/"9"'}

CASES: list[tuple[str, str, dict[str, Any], tuple[str, str, str], bool, str]] = [
    ("PUT", "Patient/ID", {"json": PATIENT | {"id": "ID"}}, ("update", "U", "0"), True, ""),
    ("GET", "Patient/ID", {}, ("read", "R", "0"), True, ""),
    ("HEAD", "Patient/ID", {}, ("read", "R", "0"), True, ""),
    ("GET", "Patient/ID/_history/1", {}, ("vread", "R", "0"), True, ""),
    ("GET", "Patient/ID/_history", {}, ("history-instance", "R", "0"), True, ""),
    ("GET", "Patient?_id=ID", {}, ("search-type", "E", "0"), True, "Patient?_id=ID"),
    ("POST", "Patient/_search", {"data": {"_id": "ID"}}, ("search-type", "E", "0"), True, "Patient/_search?_id=ID"),
    ("GET", "Patient/ID/$everything", {}, ("operation", "E", "0"), True, "Patient/ID/$everything"),
    ("GET", "Patient/ID/$meta", {}, ("operation", "E", "0"), True, "Patient/ID/$meta"),
    ("GET", "Patient?famly=x", {}, ("search-type", "E", "4"), False, "Patient?famly=x"),
    ("GET", "Patient/ID/_history/7", {}, ("vread", "R", "4"), True, ""),
    ("PUT", "Patient/ID", {"json": PATIENT | {"id": "ID"}, "headers": HEADERS}, ("update", "U", "4"), True, ""),
    ("PUT", "Patient/ID", {"content": b"{", "headers": FHIR}, ("update", "U", "4"), True, ""),
    ("PUT", "Patient/ID", {"content": b"x", "headers": {"Content-Type": "text/x"}}, ("update", "U", "4"), True, ""),
    ("GET", "Patient/ID?_format=xml", {}, ("read", "R", "4"), True, ""),
    ("DELETE", "AuditEvent?entity=Patient/ID", {}, ("delete", "D", "4"), False, "AuditEvent?entity=Patient/ID"),
    ("DELETE", "Patient/ID", {}, ("delete", "D", "0"), True, ""),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_each_interaction_leaves_one_valid_event(
    api: httpx.Client, put: Callable[[dict[str, Any]], httpx.Response], number: int
) -> None:
    """Each interaction, refused attempts too, leaves one event that says what, on what, and how it ended."""
    method, path, options, expected, touches, asked = CASES[number]
    id, request_id = f"au-{number}", f"audit-{number}"
    put(PATIENT | {"id": id})
    options = {name: _with_id(value, id) for name, value in options.items()}
    options["headers"] = options.get("headers", {}) | {"X-Request-Id": request_id}
    api.request(method, path.replace("ID", id), **options)
    event = event_of(api, request_id)
    assert facts(event) == expected
    assert references(event) == ([f"Patient/{id}"] if touches else [])
    assert query(event) == asked.replace("ID", id)
    [agent] = [agent for agent in event["agent"] if agent["requestor"]]
    assert agent["network"] == {"address": "127.0.0.1", "type": "2"}
    body = documents.encode(event)
    assert structure.check(body) == []
    assert [i for i in VALIDATOR.check("AuditEvent", documents.decode(body)) if i.severity == "error"] == []


def _with_id(value: Any, id: str) -> Any:
    return {k: id if v == "ID" else v for k, v in value.items()} if isinstance(value, dict) else value


def test_what_was_not_there_is_recorded_too(api: httpx.Client) -> None:
    """Reading or deleting what never was leaves an event."""
    api.get("Patient/au-none", headers={"X-Request-Id": "audit-none"})
    assert facts(event_of(api, "audit-none")) == ("read", "R", "4")
    api.delete("Patient/au-none", headers={"X-Request-Id": "audit-none-deleted"})
    assert facts(event_of(api, "audit-none-deleted")) == ("delete", "D", "0")


@pytest.mark.parametrize(
    ("method", "path", "status", "asked"),
    [
        ("GET", "Patientt/1?name=x", 404, "Patientt/1?name=x"),
        ("GET", "Patient/a_b", 404, "Patient/a_b"),
        ("PUT", "Patient/a_b", 400, "Patient/a_b"),
        ("POST", "Patient/1", 405, "Patient/1"),
        ("GET", "Patient/1/$nothing", 404, "Patient/1/$nothing"),
        ("GET", "Patient/" + "x" * 5_000, 414, "Patient/" + "x" * 2_040),
        ("GET", "Patient?name=" + "x" * 10_000, 414, "Patient?name=" + "x" * 2_035),
    ],
)
def test_what_leads_to_no_interaction_is_recorded_too(api: httpx.Client, method: str, path: str, status: int, asked: str) -> None:
    """One event, without a subtype and with no more than the beginning of what was asked."""
    id = f"audit-none-{method}-{status}-{len(path)}"
    answer = api.request(method, path, headers={"X-Request-Id": id})
    event = event_of(api, id)
    assert (event["action"], event["outcome"], "subtype" in event) == ("E", "4", False)
    assert event["outcomeDesc"].startswith(f"{answer.status_code} ") and answer.status_code == status
    assert query(event) == asked
    assert [i for i in VALIDATOR.check("AuditEvent", event) if i.severity == "error"] == []


def test_an_entry_that_leads_nowhere_is_recorded(api: httpx.Client) -> None:
    """A batch's entry for an unknown type has an event beside that of the batch."""
    body = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": "Patientt/1"}}]}
    api.post("", json=body, headers=FHIR | {"X-Request-Id": "audit-entry"})
    found = [event for event in events(api) if "audit-entry" in str(event.get("entity"))]
    assert sorted(query(event) for event in found) == ["", "Patientt/1"]


def test_a_refused_transaction_is_recorded_as_one(api: httpx.Client) -> None:
    """What the body asked for counts, not what the address can be."""
    wrong = {"resource": {"resourceType": "Patient", "gender": "x"}, "request": {"method": "POST", "url": "Patient"}}
    for type in ("transaction", "batch"):
        body = {"resourceType": "Bundle", "type": type, "entry": [wrong]}
        api.post("", json=body, headers=FHIR | {"X-Request-Id": f"audit-{type}", "Idempotency-Key": "audit"})
        assert facts(event_of(api, f"audit-{type}")) == (type, "E", "4")


def test_a_replayed_transaction_is_recorded_as_one(api: httpx.Client) -> None:
    """Nothing is written the second time, but its answer shows what was."""
    entry = {"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}}
    body = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    for id in ("audit-first", "audit-again"):
        api.post("", json=body, headers=FHIR | {"X-Request-Id": id, "Idempotency-Key": "audit-replayed"})
    first, again = event_of(api, "audit-first"), event_of(api, "audit-again")
    assert facts(first) == facts(again) == ("transaction", "E", "0")
    assert references(first) == references(again) != []


def test_refusals_say_why(api: httpx.Client) -> None:
    """outcomeDesc has status and issue code, and nothing of the content."""
    api.put("Patient/au-2", content=b'{"resourceType":"Patient","secret":1}', headers=FHIR | {"X-Request-Id": "audit-why"})
    assert event_of(api, "audit-why")["outcomeDesc"].startswith("400 ")


def test_create_names_the_new_resource(api: httpx.Client) -> None:
    """The event of a create has the id that the server gave."""
    answer = api.post("Patient", json={"resourceType": "Patient"}, headers=FHIR | {"X-Request-Id": "audit-create"})
    event = event_of(api, "audit-create")
    assert facts(event) == ("create", "C", "0")
    assert references(event) == [f"Patient/{answer.json()['id']}"]


def test_events_are_found_by_search(api: httpx.Client, put: Callable[[dict[str, Any]], httpx.Response]) -> None:
    """Events can be searched like any resource, as soon as the request was answered."""
    put(PATIENT | {"id": "au-3"})
    api.get("Patient/au-3")
    found = api.get("AuditEvent?entity=Patient/au-3&subtype=read").json()
    assert found["total"] == 1


def test_events_cannot_be_changed(api: httpx.Client) -> None:
    """405 for a change or deletion of an event, alone or in a transaction."""
    id = events(api)[0]["id"]
    assert api.put(f"AuditEvent/{id}", json={}).status_code == 405
    assert api.delete(f"AuditEvent/{id}").status_code == 405
    entry = {"request": {"method": "DELETE", "url": f"AuditEvent/{id}"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    assert api.post("", json=bundle, headers=FHIR).status_code == 405
    assert api.get(f"AuditEvent/{id}").status_code == 200


def test_binaries_are_about_whom_their_documents_are_about(api: httpx.Client) -> None:
    """Whoever reads, finds, overwrites or deletes a Binary touches the patient of the document that stands in for it (securityContext)."""
    document = {
        "resourceType": "DocumentReference",
        "id": "au-of-binary",
        "status": "current",
        "subject": {"reference": "Patient/au-binary"},
        "content": [{"attachment": {"url": "Binary/au-held"}}],
    }
    held = {"resourceType": "Binary", "id": "au-held", "contentType": "image/png", "data": "AAAA"}
    bound = held | {"securityContext": {"reference": "DocumentReference/au-of-binary/_history/1"}}
    assert api.put("DocumentReference/au-of-binary", json=document).status_code == 201
    entry = {"resource": bound, "request": {"method": "PUT", "url": "Binary/au-held"}}
    asks: list[tuple[str, str, dict[str, Any]]] = [
        ("PUT", "Binary/au-held", {"json": bound}),
        ("GET", "Binary/au-held", {"headers": {"Accept": "image/png"}}),
        ("GET", "Binary?_id=au-held", {}),
        ("POST", "", {"json": {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}}),
        ("PUT", "Binary/au-held", {"json": held}),
        ("PUT", "Binary/au-held", {"json": bound}),
        ("DELETE", "Binary/au-held", {}),
    ]
    for number, (method, path, more) in enumerate(asks):
        headers = {"X-Request-Id": f"au-binary-{number}"} | more.pop("headers", {})
        assert api.request(method, path, headers=headers, **more).is_success
        assert "Patient/au-binary" in references(event_of(api, f"au-binary-{number}")), (method, path)
