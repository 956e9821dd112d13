"""_text and _content: http://hl7.org/fhir/R4/search.html#text and http://hl7.org/fhir/R4/search.html#content"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest

from tests.api.conftest import Running, problem

Put = Callable[[dict[str, Any]], httpx.Response]


def told(id: str, words: str, **more: Any) -> dict[str, Any]:
    """A Patient with a narrative."""
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><p>{words}</p></div>'
    return {"resourceType": "Patient", "id": id, "text": {"status": "generated", "div": div}, **more}


def found(api: httpx.Client, query: str) -> list[str]:
    answer = api.get(query)
    assert answer.status_code == 200, answer.text
    return sorted(entry["resource"]["id"] for entry in answer.json().get("entry", []))


def test_sees_what_was_written_before(api: httpx.Client, put: Put) -> None:
    """Each search by words sees what was created, changed and deleted before it."""
    put(told("tx-1", "Morbus <b>Zebrina</b>"))
    put(told("tx-2", "nothing of note", name=[{"family": "Zebrina"}]))
    assert found(api, "Patient?_text=zebrina") == ["tx-1"]
    assert found(api, "Patient?_content=zebrina") == ["tx-1", "tx-2"]
    put(told("tx-1", "recovered"))
    put(told("tx-3", "zebrinas relapse"))
    assert found(api, "Patient?_text=zebrina") == []
    assert found(api, "Patient?_text=zebrin*&_count=1&_total=accurate") == ["tx-3"]
    api.delete("Patient/tx-2")
    assert found(api, "Patient?_content=zebrina OR recovered") == ["tx-1"]


def test_scores(api: httpx.Client, put: Put) -> None:
    """With _sort=_score the best match comes first, and each entry has its score."""
    put(told("tx-6", "okapi among many other animals of the forest"))
    put(told("tx-7", "okapi okapi"))
    bundle = api.get("Patient?_text=okapi&_sort=_score").json()
    assert [entry["resource"]["id"] for entry in bundle["entry"]] == ["tx-7", "tx-6"]
    scores = [entry["search"]["score"] for entry in bundle["entry"]]
    assert 1 >= scores[0] > scores[1] >= 0
    assert "score" not in api.get("Patient?_text=okapi").json()["entry"][0]["search"]
    assert "Only what is found by words" in problem(api.get("Patient?_sort=_score"))


def test_through_a_chain(api: httpx.Client, put: Put) -> None:
    """The words may be those of another resource."""
    put(told("tx-4", "Quagga syndrome"))
    put(
        {
            "resourceType": "Observation",
            "id": "tx-5",
            "status": "final",
            "code": {"text": "x"},
            "subject": {"reference": "Patient/tx-4"},
        }
    )
    assert found(api, "Observation?patient._text=quagga") == ["tx-5"]
    assert found(api, "Observation?patient._text=quagga NOT syndrome") == []


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("Patient?_text=NOT x1", "says only what is not to be there"),
        ('Patient?_text="open', "is not closed"),
        ("Patient?_text=(a", "without its )"),
        ("Patient?_text:exact=a", "takes none"),
        ("Patient?_content=a*", "at least 2 characters"),
        ("AuditEvent?_content=rest", "AuditEvent cannot be searched by _content"),
        ("Bundle?_text=a", "Bundle cannot be searched by _text"),
    ],
)
def test_what_cannot_be_asked(api: httpx.Client, query: str, text: str) -> None:
    """What cannot be read is refused with the reason."""
    answer = api.get(query)
    assert answer.status_code == 400
    assert text in problem(answer)


def test_offered(api: httpx.Client) -> None:
    """The CapabilityStatement lists both, but not for types that cannot be searched by them."""
    resources = {r["type"]: r for r in api.get("metadata").json()["rest"][0]["resource"]}
    offered = {type: {p["name"] for p in r["searchParam"]} & {"_text", "_content"} for type, r in resources.items()}
    assert offered["Patient"] == {"_text", "_content"}
    assert offered["Bundle"] == {"_content"}
    assert offered["AuditEvent"] == set()


def test_nothing_is_kept_before_the_first_search(tmp_path: Path) -> None:
    """The words of documents stand nowhere until somebody searches by them; then they stay up, over a restart too."""
    one = Running(tmp_path)
    one.start()
    tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'txt'"
    try:
        with httpx.Client(base_url=f"{one.root}/fhir/", timeout=30) as api:
            for n in range(250):
                assert api.put(f"Patient/w{n}", json=told(f"w{n}", f"word{n} here")).status_code == 201
            path = tmp_path / "fhir.db"
            assert apsw.Connection(str(path)).execute(tables).get == 0
            assert api.get("Patient?_text=here&_summary=count").json()["total"] == 250
            assert apsw.Connection(str(path)).execute(tables).get == 1
    finally:
        one.stop()
    one = Running(tmp_path)
    one.start()
    try:
        with httpx.Client(base_url=f"{one.root}/fhir/", timeout=30) as api:
            assert found(api, "Patient?_text=word7") == ["w7"]
    finally:
        one.stop()
