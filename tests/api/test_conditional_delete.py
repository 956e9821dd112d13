"""Conditional delete (https://hl7.org/fhir/R4/http.html#3.1.0.7.1)."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from api.conftest import Running
from api.making import bundle, count, entry, patient, post, send, statuses, unique


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that may delete several resources at once."""
    folder: Path = tmp_path_factory.mktemp("several")
    server = Running(folder, conditional_delete="multiple", default_count=5, max_count=5)
    server.start()
    with httpx.Client(base_url=f"{server.root}/fhir/", timeout=30) as client:
        yield client
    server.stop()


def test_none_and_one(api: httpx.Client) -> None:
    """204 for one match and for none."""
    value = unique()
    url = f"Patient?identifier={value}"
    assert api.delete(url).status_code == 204
    id = post(api, patient(value)).json()["id"]
    assert api.delete(url).status_code == 204
    assert api.get(f"Patient/{id}").status_code == 410


def test_several_are_refused(api: httpx.Client) -> None:
    """412, and all of them stay."""
    value = unique()
    for _ in range(2):
        post(api, patient(value))
    assert api.delete(f"Patient?identifier={value}").status_code == 412
    assert count(api, "Patient", value) == 2


@pytest.mark.parametrize("query", ["", "?", "?_count=10", "?nonsense=1", "?_lastUpdated=never"])
def test_a_whole_type_is_never_deleted(api: httpx.Client, several: httpx.Client, query: str) -> None:
    """Without criteria, or with ones that cannot be read, nothing is deleted."""
    for client in (api, several):
        post(client, patient())
        assert client.delete(f"Patient{query}").status_code == 400
        assert client.get("Patient", params={"_summary": "count"}).json()["total"] > 0


def test_criteria_are_never_ignored(api: httpx.Client) -> None:
    """Lenient handling does not widen what is deleted, and the refusal does not suggest it."""
    value = unique()
    post(api, patient(value))
    answer = api.delete(f"Patient?identifier={value}&nonsense=1", headers={"Prefer": "handling=lenient"})
    assert answer.status_code == 400
    assert "no search parameter 'nonsense'" in answer.text and "lenient" not in answer.text
    assert count(api, "Patient", value) == 1


def test_several_where_allowed(several: httpx.Client) -> None:
    """All matches go in one commit, and the answer says which."""
    value = unique()
    ids = [post(several, patient(value)).json()["id"] for _ in range(5)]
    answer = several.delete(f"Patient?identifier={value}")
    assert answer.status_code == 200
    assert all(id in answer.text for id in ids)
    assert count(several, "Patient", value) == 0
    instants = {several.get(f"Patient/{id}/_history").json()["entry"][0]["response"]["lastModified"] for id in ids}
    assert len(instants) == 1


def test_more_than_allowed_at_once(several: httpx.Client) -> None:
    """412 with the way out: portions by _count."""
    value = unique()
    for _ in range(7):
        post(several, patient(value))
    url = f"Patient?identifier={value}"
    refused = several.delete(url)
    assert refused.status_code == 412
    assert "_count" in refused.text
    assert count(several, "Patient", value) == 7
    assert several.delete(f"{url}&_count=4").status_code == 200
    assert count(several, "Patient", value) == 3


def test_in_a_transaction(several: httpx.Client) -> None:
    """A conditional delete in a transaction follows the same rules."""
    value = unique()
    for _ in range(2):
        post(several, patient(value))
    answer = send(several, bundle("transaction", entry("DELETE", f"Patient?identifier={value}")))
    assert statuses(answer) == ["204"]
    assert count(several, "Patient", value) == 0
