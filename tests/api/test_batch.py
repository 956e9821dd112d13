"""batch (https://hl7.org/fhir/R4/http.html#transaction): each entry for itself."""

import json

import httpx
import pytest
from api.making import FHIR, bundle, count, entry, locations, observation, patient, post, put, send, statuses, texts, unique, urn


def test_failures_stay_in_their_entry(api: httpx.Client) -> None:
    """What can be done is done; each entry has its own status and, where it failed, its own OperationOutcome."""
    value = unique()
    answer = send(
        api,
        bundle(
            "batch",
            entry("POST", "Patient", patient(value)),
            entry("POST", "Patient", patient(value, gender="x")),
            entry("POST", "Patient", {"resourceType": "Patient", "foo": 1}),
            entry("POST", "Nonsense", patient()),
            entry("GET", f"Patient/{unique()}"),
            entry("PUT", "Patient/1", patient()),
            entry("POST", "Patient"),
            entry("DELETE", f"Patient/{unique()}"),
        ),
    )
    assert answer.json()["type"] == "batch-response"
    assert statuses(answer) == ["201", "422", "400", "404", "404", "400", "400", "204"]
    for number, item in enumerate(answer.json()["entry"]):
        if item["response"]["status"] >= "400":
            issue = item["response"]["outcome"]["issue"][0]
            assert issue["expression"][0].startswith(f"Bundle.entry[{number}]")
            assert f"Entry {number}" in issue["details"]["text"]
    assert count(api, "Patient", value) == 1


def test_what_a_response_says(api: httpx.Client) -> None:
    """Status, location, etag and lastModified as the request alone would have had them; no content of writes unless preferred."""
    body = bundle("batch", entry("POST", "Patient", patient()))
    plain = send(api, body).json()["entry"][0]
    assert "resource" not in plain
    assert set(plain["response"]) == {"status", "location", "etag", "lastModified"}
    assert plain["response"]["etag"] == 'W/"1"'
    assert plain["response"]["location"].startswith("Patient/")
    full = send(api, body, Prefer="return=representation").json()["entry"][0]
    assert full["resource"]["id"] in full["response"]["location"]
    assert full["resource"]["meta"]["lastUpdated"] == full["response"]["lastModified"]
    told = send(api, body, Prefer="return=OperationOutcome").json()["entry"][0]
    assert told["response"]["outcome"]["resourceType"] == "OperationOutcome"
    assert "resource" not in told


def test_reads_searches_and_operations(api: httpx.Client) -> None:
    """GET, HEAD, searches, history and operations work as entries."""
    value = unique()
    id = post(api, patient(value)).json()["id"]
    answer = send(
        api,
        bundle(
            "batch",
            entry("GET", f"Patient/{id}"),
            entry("HEAD", f"Patient/{id}"),
            entry("GET", f"Patient?identifier={value}"),
            entry("GET", f"Patient/{id}/_history"),
            entry("GET", f"Patient/{id}/_history/1"),
            entry("GET", f"Patient/{id}", ifNoneMatch='W/"1"'),
            entry("GET", f"/Patient/{id}?_elements=identifier"),
            entry("GET", f"{api.base_url}Patient/{id}"),
            entry("POST", "Patient/$validate", patient(gender="x")),
            entry("GET", "metadata"),
        ),
    )
    assert statuses(answer) == ["200", "200", "200", "200", "200", "304", "200", "200", "200", "200"]
    entries = answer.json()["entry"]
    assert entries[0]["resource"]["id"] == id
    assert entries[0]["response"]["etag"] == 'W/"1"'
    assert "resource" not in entries[1]
    assert entries[2]["resource"]["total"] == 1
    assert entries[3]["resource"]["type"] == "history"
    assert "resource" not in entries[5]
    assert entries[7]["resource"]["id"] == id
    assert entries[8]["resource"]["resourceType"] == "OperationOutcome"
    assert entries[9]["resource"]["resourceType"] == "CapabilityStatement"


def test_order(api: httpx.Client) -> None:
    """Deletions come first and reads last, wherever they stand; answers stand where their requests stood."""
    value, id = unique(), unique()
    old = post(api, patient(value)).json()["id"]
    answer = send(
        api,
        bundle(
            "batch",
            entry("GET", f"Patient?identifier={value}"),
            entry("PUT", f"Patient/{id}", patient(value, id=id)),
            entry("POST", "Patient", patient(value), ifNoneExist=f"identifier={value}"),
            entry("DELETE", f"Patient/{old}"),
        ),
    )
    assert statuses(answer) == ["200", "201", "201", "204"]
    assert answer.json()["entry"][0]["resource"]["total"] == 2


def test_conditions_of_entries(api: httpx.Client) -> None:
    """ifNoneExist, ifMatch and ifNoneMatch mean what the headers mean."""
    value, id = unique(), unique()
    put(api, f"Patient/{id}", patient(value, id=id))
    answer = send(
        api,
        bundle(
            "batch",
            entry("POST", "Patient", patient(value), ifNoneExist=f"identifier={value}"),
            entry("PUT", f"Patient/{id}", patient(value, id=id), ifMatch='W/"9"'),
            entry("PUT", f"Patient/{id}", patient(value, id=id), ifNoneMatch="*"),
            entry("PUT", f"Patient/{id}", patient(value, id=id), ifMatch='W/"1"'),
            entry("PUT", f"Patient?identifier={value}", patient(value)),
        ),
    )
    assert statuses(answer) == ["200", "412", "412", "200", "200"]
    assert api.get(f"Patient/{id}").json()["meta"]["versionId"] == "3"


def test_twins_make_one(api: httpx.Client) -> None:
    """Conditional creates with the same criteria make one resource, though entries are carried out side by side."""
    value = unique()
    answer = send(
        api, bundle("batch", *[entry("POST", "Patient", patient(value), ifNoneExist=f"identifier={value}") for _ in range(40)])
    )
    assert sorted(statuses(answer)) == ["200"] * 39 + ["201"]
    assert len(set(locations(answer))) == 1
    assert count(api, "Patient", value) == 1


def test_an_empty_batch(api: httpx.Client) -> None:
    """No entries, no entries."""
    answer = send(api, bundle("batch"))
    assert (answer.status_code, answer.json()) == (200, {"resourceType": "Bundle", "type": "batch-response"})


def test_references_between_entries_are_not_resolved(api: httpx.Client) -> None:
    """A batch has no links between its entries; what was sent is stored."""
    name = urn()
    answer = send(api, bundle("batch", entry("POST", "Patient", patient(), name), entry("POST", "Observation", observation(name))))
    assert statuses(answer) == ["201", "201"]
    assert api.get(locations(answer)[1]).json()["subject"]["reference"] == name


@pytest.mark.parametrize("kind", ["document", "searchset", "history", "collection", "message", "batch-response"])
def test_other_bundles(api: httpx.Client, kind: str) -> None:
    """Only batch and transaction can be carried out; the answer says what else to do."""
    answer = send(api, bundle(kind))
    assert answer.status_code == 400
    place, text = texts(answer)[0]
    assert place == "Bundle.type"
    assert kind in text


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[1]", b"{", b'{"resourceType":"Patient"}', b'{"resourceType":"Bundle"}', b'{"resourceType":"Bundle","type":7}'],
)
def test_bodies_that_are_no_bundle(api: httpx.Client, body: bytes) -> None:
    """400 with a sentence."""
    answer = api.post(str(api.base_url).rstrip("/"), content=body, headers=FHIR)
    assert answer.status_code == 400
    assert texts(answer)


def test_a_batch_in_a_batch(api: httpx.Client) -> None:
    """It is refused in its entry."""
    inner = bundle("batch", entry("GET", "metadata"))
    answer = send(api, bundle("batch", entry("POST", "/", inner), entry("POST", "Bundle", bundle("collection"))))
    assert statuses(answer) == ["400", "201"]


def test_the_shell_is_checked(api: httpx.Client) -> None:
    """An unknown member of the Bundle refuses it, one of an entry that entry."""
    good = entry("GET", "metadata")
    assert send(api, {**bundle("batch", good), "foo": 1}).status_code == 400
    assert statuses(send(api, bundle("batch", good, {**good, "foo": 1}))) == ["200", "400"]


def test_digits_and_order_reach_the_store(api: httpx.Client) -> None:
    """The resource is stored as it was spelled."""
    resource = '{"resourceType":"Observation","valueQuantity":{"value":1.10},"status":"final","code":{"text":"\\u00e9"}}'
    body = '{"resourceType":"Bundle","type":"batch","entry":[{"resource":%s,"request":{"method":"POST","url":"Observation"}}]}'
    answer = api.post(str(api.base_url).rstrip("/"), content=body % resource, headers=FHIR)
    stored = api.get(locations(answer)[0]).content
    assert b'"valueQuantity":{"value":1.10},"status":"final","code":{"text":"\\u00e9"}' in stored
    assert json.loads(stored)["code"]["text"] == "é"
