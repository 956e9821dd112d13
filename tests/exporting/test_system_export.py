"""Everything is exported: once, as it is stored, of one moment."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api.conftest import Running
from exporting.asking import begin, documents, finished, manifest


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    server = Running(Path(tmp_path_factory.mktemp("export")))
    server.start()
    with httpx.Client(base_url=f"{server.root}/fhir/", timeout=30) as made:
        for number in range(30):
            made.put(f"Patient/p{number}", json={"resourceType": "Patient", "id": f"p{number}"}).raise_for_status()
        made.put("Patient/p3", json={"resourceType": "Patient", "id": "p3", "active": True}).raise_for_status()
        made.delete("Patient/p4").raise_for_status()
        made.put("Organization/o", json={"resourceType": "Organization", "id": "o", "name": "Ward"}).raise_for_status()
        time.sleep(0.01)  # what is stored tells milliseconds, and `_since` counts from the beginning of one
        yield made
    server.stop()


def test_each_live_document_comes_once_as_it_is_read(client: httpx.Client) -> None:
    """The newest version of each, the same bytes as a read gives; nothing of what was deleted."""
    found = {f"{each['resourceType']}/{each['id']}": each for each in documents(client, manifest(client))}
    assert len(found) == 30 and "Patient/p4" not in found
    for name in ("Patient/p3", "Organization/o"):
        assert found[name] == client.get(name).json()


def test_types_and_changes_since(client: httpx.Client) -> None:
    """`_type` names what is wanted; with the transactionTime of an earlier export only what was written after it comes."""
    first = manifest(client, "$export?_type=Organization,Practitioner")
    assert [each["id"] for each in documents(client, first)] == ["o"]
    client.put("Patient/late", json={"resourceType": "Patient", "id": "late"}).raise_for_status()
    second = manifest(client, f"$export?_since={first['transactionTime']}")
    assert [each["id"] for each in documents(client, second)] == ["late"]
    client.delete("Patient/late").raise_for_status()


def test_what_is_called_off_is_gone(client: httpx.Client) -> None:
    """The job, its manifest and its files are 404 from then on, and it cannot be called off again."""
    url = begin(client)
    told = finished(client, url).json()
    assert client.delete(url).status_code == 202
    for method, address in (("GET", url), ("DELETE", url), ("GET", told["output"][0]["url"])):
        response = client.request(method, address)
        assert response.status_code == 404 and response.json()["resourceType"] == "OperationOutcome"
