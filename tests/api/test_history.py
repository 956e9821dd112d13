"""history: http://hl7.org/fhir/R4/http.html#history"""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.api.conftest import problem
from tests.api.making import link, pages

Put = Callable[[dict[str, Any]], httpx.Response]


def make(put: Put, id: str, versions: int, type: str = "Patient") -> list[httpx.Response]:
    return [put({"resourceType": type, "id": id, "active": bool(n % 2)}) for n in range(versions)]


def versions(api: httpx.Client, url: str) -> list[dict[str, Any]]:
    """All entries of all pages."""
    found: list[dict[str, Any]] = []
    for bundle in pages(api, url):
        assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "history")
        found += bundle.get("entry", [])
    return found


def test_instance_newest_first_with_the_deletion(api: httpx.Client, put: Put, base: str) -> None:
    """Every version is there once, newest first; a deletion has no resource."""
    make(put, "hist-1", 2)
    api.delete("Patient/hist-1")
    entries = versions(api, "Patient/hist-1/_history")
    assert [e["response"]["etag"] for e in entries] == ['W/"3"', 'W/"2"', 'W/"1"']
    assert [e["request"]["method"] for e in entries] == ["DELETE", "PUT", "PUT"]
    assert [e["response"]["status"] for e in entries] == ["204", "200", "201"]
    assert "resource" not in entries[0]
    assert {e["fullUrl"] for e in entries} == {f"{base}/Patient/hist-1"}


def test_pages_are_stable_while_writing_goes_on(api: httpx.Client, put: Put) -> None:
    """Following next gives each version once, though new ones come in meanwhile."""
    make(put, "hist-2", 5)
    first = api.get("Patient/hist-2/_history?_count=2").json()
    make(put, "hist-2", 2)
    following = link(first, "next")
    rest = versions(api, following)
    found = [e["response"]["etag"] for e in [*first["entry"], *rest]]
    assert found == [f'W/"{n}"' for n in (5, 4, 3, 2, 1)]


def test_since_and_at(api: httpx.Client, put: Put) -> None:
    """_since gives what came at or after an instant, _at what was current in a span of time."""
    instants = []
    for _ in range(3):
        instants.append(make(put, "hist-3", 1)[0].json()["meta"]["lastUpdated"])
        time.sleep(0.005)  # lastUpdated is written with milliseconds
    first, second, third = instants
    assert first < second < third
    since = versions(api, f"Patient/hist-3/_history?_since={second}")
    assert [e["response"]["etag"] for e in since] == ['W/"3"', 'W/"2"']
    at = versions(api, f"Patient/hist-3/_history?_at={second}")
    assert 'W/"2"' in [e["response"]["etag"] for e in at]
    assert 'W/"3"' not in [e["response"]["etag"] for e in at]
    assert versions(api, "Patient/hist-3/_history?_at=2001") == []


def test_type_and_system(api: httpx.Client, put: Put) -> None:
    """The history of a type has that type only; the system's has all but the server's own AuditEvents."""
    make(put, "hist-4", 1, "Practitioner")
    make(put, "hist-4", 1)
    of_type = versions(api, "Practitioner/_history?_count=1000")
    assert {e["resource"]["resourceType"] for e in of_type if "resource" in e} == {"Practitioner"}
    newest = api.get("_history?_count=2").json()["entry"]
    assert [e["resource"]["resourceType"] for e in newest] == ["Patient", "Practitioner"]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("_since=yesterday", "instant"),
        ("_since=2026-02-31T00:00:00Z", "does not exist"),
        ("_count=many", "_count"),
        ("name=x", "no parameter name"),
        ("_cursor=AAAA", "page link"),
        ("_summary=most", "_summary"),
    ],
)
def test_wrong_parameters(api: httpx.Client, put: Put, query: str, word: str) -> None:
    """What cannot be understood is 400 with what would be."""
    make(put, "hist-5", 1)
    answer = api.get(f"Patient/hist-5/_history?{query}")
    assert answer.status_code == 400
    assert word in problem(answer)


def test_cursor_of_another_history(api: httpx.Client, put: Put) -> None:
    """A cursor belongs to the history that it came from."""
    make(put, "hist-6", 2)
    bundle = api.get("Patient/hist-6/_history?_count=1").json()
    cursor = link(bundle, "next").partition("_cursor=")[2]
    assert api.get(f"Patient/_history?_count=1&_cursor={cursor}").status_code == 400


def test_never_existed(api: httpx.Client) -> None:
    """The history of what never was is 404."""
    assert api.get("Patient/hist-never/_history").status_code == 404


@pytest.mark.parametrize("asked", ["_count=0", "_summary=count"])
def test_the_total_alone(api: httpx.Client, put: Put, asked: str) -> None:
    """_count=0 and _summary=count answer how many versions there are, of a resource, a type or everything, and show none."""
    id = asked.replace("=", "").replace("_", "hist-7-")
    make(put, id, 2)
    time.sleep(0.005)  # lastUpdated is written with milliseconds
    make(put, id, 1)
    api.delete(f"Patient/{id}")
    one = api.get(f"Patient/{id}/_history?{asked}").json()
    assert ("entry" in one, one["total"]) == (False, 4)
    since = one_instant(api, f"Patient/{id}/_history/3")
    assert api.get(f"Patient/{id}/_history", params={"_since": since, **dict([asked.split("=")])}).json()["total"] == 2
    for url in ("Patient/_history", "_history"):
        whole = api.get(f"{url}?{asked}").json()
        assert ("entry" in whole, whole["total"]) == (False, len(versions(api, f"{url}?_count=1000")))


def one_instant(api: httpx.Client, url: str) -> str:
    return str(api.get(url).json()["meta"]["lastUpdated"])


def test_every_page_of_a_resource_tells_the_total(api: httpx.Client, put: Put) -> None:
    """The total counts the versions of all pages; pages of a type have none, because counting costs more than the page."""
    make(put, "hist-8", 5)
    first = api.get("Patient/hist-8/_history?_count=2").json()
    second = api.get(link(first, "next")).json()
    assert (first["total"], second["total"]) == (5, 5)
    assert "total" not in api.get("Patient/_history?_count=2").json()
