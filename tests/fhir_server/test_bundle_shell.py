"""A Bundle's shell is read and checked without touching what its entries carry."""

import asyncio
import json

import pytest

from fhir_server.bundles.shell import Shell, split
from resources.outcomes import FhirError

BASE = "http://example.org/fhir"


def read(bundle: object, most: int = 10_000) -> Shell:
    body = bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode()
    return asyncio.run(split(body, BASE, most))


def batch(*entries: object) -> dict[str, object]:
    return {"resourceType": "Bundle", "type": "batch", "entry": list(entries)}


def test_resources_stay_the_clients_bytes() -> None:
    """White space, order of keys and digits of a resource reach its handler as they were sent."""
    resource = b'{ "resourceType" : "Observation",\n "valueQuantity":{"value":72.50}}'
    entry = b'{"resource":' + resource + b',"request":{"method":"POST","url":"Observation"}}'
    shell = read(b'{"resourceType":"Bundle","type":"batch","entry":[' + entry + b"]}")
    assert shell.entries[0].body == resource


@pytest.mark.parametrize(
    ("url", "path", "query", "type", "id"),
    [
        ("Patient", "Patient", "", "Patient", ""),
        ("Patient/1", "Patient/1", "", "Patient", "1"),
        ("/Patient/1", "Patient/1", "", "Patient", "1"),
        (f"{BASE}/Patient/1", "Patient/1", "", "Patient", "1"),
        ("Patient?name=a&_count=2", "Patient", "name=a&_count=2", "Patient", ""),
        ("Patient/a%2Db/_history/2", "Patient/a%2Db/_history/2", "", "Patient", "a-b"),
        (f"{BASE}?_type=Patient", "", "_type=Patient", "", ""),
        ("Patient?identifier=http://x|1", "Patient", "identifier=http://x|1", "Patient", ""),
    ],
)
def test_urls_are_read_relative_to_the_base(url: str, path: str, query: str, type: str, id: str) -> None:
    """request.url may be relative, with a slash in front, or absolute below the base."""
    [entry] = read(batch({"request": {"method": "GET", "url": url}})).entries
    assert entry.fault is None
    assert (entry.path, entry.query, entry.type, entry.id) == (path, query, type, id)


@pytest.mark.parametrize(
    ("entry", "expression"),
    [
        ({}, "Bundle.entry[1]"),
        ("x", "Bundle.entry[1]"),
        ({"resource": {"resourceType": "Patient"}}, "Bundle.entry[1].request"),
        ({"request": {"method": "GET"}}, "Bundle.entry[1].request.url"),
        ({"request": {"method": "FETCH", "url": "Patient/1"}}, "Bundle.entry[1].request.method"),
        ({"request": {"method": "GET", "url": "http://elsewhere.org/fhir/Patient/1"}}, "Bundle.entry[1].request.url"),
        ({"request": {"method": "GET", "url": "Patient/1"}, "foo": 1}, "Bundle.entry[1].foo"),
        ({"request": {"method": 5, "url": "Patient/1"}}, "Bundle.entry[1].request.method"),
    ],
)
def test_a_wrong_entry_is_a_fault_of_that_entry(entry: object, expression: str) -> None:
    """The other entries are not touched by it, and the fault says where it is."""
    good = {"request": {"method": "GET", "url": "Patient/1"}}
    shell = read(batch(good, entry, good))
    assert [e.fault is None for e in shell.entries] == [True, False, True]
    fault = shell.entries[1].fault
    assert fault is not None
    assert fault.status == 400
    assert any((issue.expression or "").startswith(expression) for issue in fault.issues)


def test_a_repeated_resource_is_found() -> None:
    """Two resources in one entry are refused, not silently reduced to one."""
    twice = b'{"resource":{"resourceType":"Patient"},"resource":{"resourceType":"Patient","active":true},'
    entry = twice + b'"request":{"method":"POST","url":"Patient"}}'
    body = b'{"resourceType":"Bundle","type":"batch","entry":[' + entry + b"]}"
    try:
        [found] = read(body).entries
    except FhirError as refused:
        assert refused.status == 400
    else:
        assert found.fault is not None


def test_numbers_of_late_entries_are_those_of_the_whole_bundle() -> None:
    """A fault far down is reported under its own number, though the shell is checked in portions."""
    good = {"request": {"method": "GET", "url": "Patient/1"}}
    shell = read(batch(*[good] * 1234, {**good, "foo": 1}))
    [bad] = [entry for entry in shell.entries if entry.fault]
    assert bad.number == 1234
    assert bad.fault is not None
    assert bad.fault.issues[0].expression == "Bundle.entry[1234].foo"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"[]", 400),
        (b'{"resourceType":"Patient"}', 400),
        (b'{"resourceType":"Bundle","type":"batch","entry":{}}', 400),
        (b'{"resourceType":"Bundle","type":"batch","foo":1}', 400),
        (b'{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/1"}}],"foo":1}', 400),
        (b'{"resourceType":"Bundle","type":"batch","entry":' + b"[" * 5000, 400),
    ],
)
def test_what_is_no_bundle_is_refused(body: bytes, status: int) -> None:
    """Anything wrong outside an entry refuses the whole body."""
    with pytest.raises(FhirError) as refused:
        read(body)
    assert refused.value.status == status


def test_too_many_entries_are_refused_with_the_limit() -> None:
    """The answer names the number sent and the number allowed."""
    good = {"request": {"method": "GET", "url": "Patient/1"}}
    with pytest.raises(FhirError, match="3 entries") as refused:
        read(batch(good, good, good), most=2)
    assert refused.value.status == 413
