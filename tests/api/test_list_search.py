"""`_list`: http://hl7.org/fhir/R4/search.html#list"""

import asyncio
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest
from indexing.feed_harness import sweep
from services.running import service

from tests.api.conftest import Running

SEEN = {"system": "urn:listed", "code": "here"}
MANY = 300
"""Lists named at once: four times as many are more than can be looked up one by one."""


def entry(target: str, **more: Any) -> dict[str, Any]:
    return {"item": {"reference": target}, **more}


@pytest.fixture(scope="module", autouse=True)
def documents(api: httpx.Client) -> None:
    """Patients with an Observation each, and Lists in which some of them are flagged as deleted."""
    flagged: dict[str, Any] = {"flag": {"text": "gone"}, "deleted": True}
    here = str(api.base_url).rstrip("/")
    lists = {
        "ls-plain": [entry("Patient/ls-1"), entry("Patient/ls-2", deleted=False), entry("Observation/ls-1")],
        "ls-changes": [
            entry("Patient/ls-1", **flagged),
            entry(f"{here}/Patient/ls-2", **flagged),
            entry("Patient/ls-3"),
            entry("Patient/ls-4", **flagged),
            entry("Patient/ls-4"),
            entry("Observation/ls-1"),
            entry("Observation/ls-2", **flagged),
        ],
        "ls-none": [entry("Patient/ls-1", **flagged)],
        "ls-versions": [
            entry("Patient/ls-1/_history/1", **flagged),
            entry(f"{here}/Patient/ls-1/_history/2"),
            entry("Patient/ls-2"),
        ],
        "ls-elsewhere": [entry("Patient/ls-2/_history/1", **flagged), entry("https://other.example/Patient/ls-2")],
    }
    made: list[dict[str, Any]] = []
    for n in range(1, 5):
        subject = {"reference": f"Patient/ls-{n}"}
        made.append({"resourceType": "Patient", "id": f"ls-{n}"})
        made.append({"resourceType": "Observation", "id": f"ls-{n}", "status": "final", "code": {"text": "x"}, "subject": subject})
    for id, entries in lists.items():
        made.append({"resourceType": "List", "id": id, "status": "current", "mode": "changes", "entry": entries})
    for document in made:
        document["meta"] = {"tag": [SEEN]}
        assert api.put(f"{document['resourceType']}/{document['id']}", json=document).is_success


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Patient?_list=ls-plain", "1 2"),
        ("Patient?_list=ls-changes", "3 4"),
        ("Patient?_list=ls-none", ""),
        ("Patient?_list=ls-changes,ls-none", "3 4"),
        ("Patient?_list=ls-plain,ls-changes", "1 2 3 4"),
        ("Patient?_list=ls-plain,ls-none", "1 2"),
        ("Patient?_list=ls-versions", "1 2"),
        ("Patient?_list=ls-none,ls-versions", "1 2"),
        ("Patient?_list=ls-elsewhere", ""),
        ("Patient?_list=ls-elsewhere,ls-versions", "1 2"),
        ("Patient?_list=ls-plain&_list=ls-changes", ""),
        ("Patient?_list=ls-changes&_id=ls-4,ls-1", "4"),
        ("Observation?_list=ls-changes", "1"),
        ("Observation?patient._list=ls-changes", "3 4"),
        ("Observation?subject._list=ls-changes", "3 4"),
        ("Patient?_has:Observation:patient:_list=ls-changes", "1"),
        ("Patient?_list=ls-unknown", ""),
        ("../fhir?_type=Patient,Observation&_list=ls-changes", "1 3 4"),
        ("Patient?_has:List:item:_id=ls-changes", "1 2 3 4"),
    ],
)
def test_what_is_flagged_as_deleted_is_no_item(api: httpx.Client, query: str, found: str) -> None:
    """What a List has by an entry flagged `deleted`, and by no other, is left out; `_has` tells who is named by any entry."""
    answer = api.get(query).json()
    ids = [each["resource"]["id"].removeprefix("ls-") for each in answer.get("entry", ()) if each["search"]["mode"] == "match"]
    assert sorted(ids) == found.split()
    assert answer["total"] == len(found.split())


def test_the_flag_counts_at_once(api: httpx.Client) -> None:
    """A List that changes means something else for the very next search."""
    for flags, total in ((False, 1), (True, 0), (False, 1)):
        document = {"resourceType": "List", "id": "ls-turns", "status": "current", "mode": "changes"}
        assert api.put("List/ls-turns", json=document | {"entry": [entry("Patient/ls-1", deleted=flags)]}).is_success
        assert api.get("Patient?_list=ls-turns").json()["total"] == total


def test_a_flag_spelled_with_escapes(api: httpx.Client) -> None:
    """JSON may escape any character of a member's name: it is the same member."""
    entries = '[{"delete\\u0064":true,"item":{"reference":"Patient/ls-1"}},{"item":{"reference":"Patient/ls-2"}}]'
    body = f'{{"resourceType":"List","id":"ls-escaped","status":"current","mode":"changes","entry":{entries}}}'
    answer = api.put("List/ls-escaped", content=body, headers={"Content-Type": "application/fhir+json"})
    assert answer.status_code == 201
    assert "\\u0064" in api.get("List/ls-escaped").text
    assert [each["resource"]["id"] for each in api.get("Patient?_list=ls-escaped").json()["entry"]] == ["ls-2"]


def test_many_lists_that_flag_something_on_elasticsearch(tmp_path: Path) -> None:
    """Lists that flag something are looked up together, as others are, and thousands of flagged entries make no difference."""
    made: list[dict[str, Any]] = [{"resourceType": "Patient", "id": f"{n}"} for n in range(3)]
    for n in range(3):
        subject = {"reference": f"Patient/{n}"}
        made.append({"resourceType": "Observation", "id": f"{n}", "status": "final", "code": {"text": "x"}, "subject": subject})
    for n in range(MANY):
        entries = [entry(f"Patient/gone-{n}-{each}", deleted=True) for each in range(10)]
        entries += [entry("Patient/0", deleted=True), entry("Patient/1", deleted=n != 0), entry("Patient/2")]
        made.append({"resourceType": "List", "id": f"{n}", "status": "current", "mode": "changes", "entry": entries})
    steps = [{"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}} for each in made]
    prefix, url = f"test{secrets.token_hex(4)}", service("elasticsearch")
    one = Running(tmp_path, search_url=url, search_prefix=prefix, search_wait=60)
    one.start()
    try:
        with httpx.Client(base_url=f"{one.root}/fhir/", timeout=60) as client:
            stored = client.post("", json={"resourceType": "Bundle", "type": "batch", "entry": steps}).json()
            assert {each["response"]["status"] for each in stored["entry"]} == {"201 Created"}
            ids = [f"{n}" for n in range(MANY)]
            named = ["_list=" + ",".join(ids[start:] + ids[:start]) for start in range(4)]
            for query in (f"Observation?subject.{named[0]}", f"Patient?{'&'.join(named)}"):
                found = client.get(query).json()
                assert sorted(each["resource"]["id"] for each in found["entry"]) == ["1", "2"]
    finally:
        one.stop()
        asyncio.run(sweep(url, prefix))
