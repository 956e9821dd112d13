"""`_list`: http://hl7.org/fhir/R4/search.html#list"""

from typing import Any

import httpx
import pytest

SEEN = {"system": "urn:listed", "code": "here"}


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
        assert api.put(f"{document['resourceType']}/{document['id']}", json=document).status_code == 201


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Patient?_list=ls-plain", "1 2"),
        ("Patient?_list=ls-changes", "3 4"),
        ("Patient?_list=ls-none", ""),
        ("Patient?_list=ls-changes,ls-none", "3 4"),
        ("Patient?_list=ls-plain,ls-changes", "1 2 3 4"),
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
