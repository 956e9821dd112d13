"""Observation/$lastn: https://hl7.org/fhir/R4/observation-operation-lastn.html"""

from typing import Any

import httpx
import pytest

from tests.api.conftest import Running, problem

LOINC, LOCAL = "http://loinc.org", "urn:local"


@pytest.fixture(scope="module", autouse=True)
def observations(api: httpx.Client) -> None:
    """Two codes that a third observation connects, one with a tie, one by its text, one of somebody else."""
    rows: list[tuple[str, list[tuple[str, str]], str]] = [
        ("w1", [(LOINC, "weight")], "2026-01-01"),
        ("w2", [(LOINC, "weight"), (LOCAL, "w")], "2026-01-02"),
        ("w3", [(LOCAL, "w")], "2026-01-03"),
        ("b1", [(LOINC, "bp")], "2026-01-01T10:00:00Z"),
        ("b2", [(LOINC, "bp")], "2026-01-05T10:00:00Z"),
        ("b3", [(LOINC, "bp")], "2026-01-05T10:00:00Z"),
        ("s1", [("urn:other", "bp")], "2026-01-04"),
        ("n1", [(LOINC, "undated")], ""),
        ("t1", [], "2026-01-01"),
        ("t2", [], "2026-01-02"),
    ]
    for person in ("ln-1", "ln-2"):
        api.put(f"Patient/{person}", json={"resourceType": "Patient", "id": person})
    for id, codes, when in rows:
        code: dict[str, Any] = {"text": "Mood" if id == "t1" else "MOOD"}
        if codes:
            code["coding"] = [{"system": system, "code": value} for system, value in codes]
        document = {"resourceType": "Observation", "id": f"ln-{id}", "status": "final", "code": code}
        document |= {"subject": {"reference": "Patient/ln-1"}} | ({"effectiveDateTime": when} if when else {})
        assert api.put(f"Observation/ln-{id}", json=document).is_success
    other = {"resourceType": "Observation", "id": "ln-o", "status": "final", "code": {"coding": [{"system": LOINC, "code": "bp"}]}}
    api.put("Observation/ln-o", json=other | {"subject": {"reference": "Patient/ln-2"}, "effectiveDateTime": "2026-02-01"})


def found(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    entries = [e["resource"] for e in answer.json().get("entry", []) if e["search"]["mode"] == "match"]
    assert answer.json()["total"] == len(entries)
    return [e["id"].removeprefix("ln-") for e in entries]


LATEST = [
    ("patient=ln-1", "b2 b3 n1 s1 t2 w3"),
    ("subject=Patient/ln-1&max=1", "b2 b3 n1 s1 t2 w3"),
    ("patient=ln-1&max=2", "b2 b3 n1 s1 t1 t2 w2 w3"),
    ("patient=ln-1&max=3", "b1 b2 b3 n1 s1 t1 t2 w1 w2 w3"),
    ("patient=ln-1&code=http://loinc.org|bp", "b2 b3"),
    ("patient=ln-1&date=lt2026-01-03", "b1 t2 w2"),
    ("patient=ln-1&code=none", ""),
    ("patient=ln-2", "o"),
    ("patient:Patient._id=ln-2", "o"),
    ("patient=ln-9", ""),
    ("patient:missing=false&subject=Patient/ln-2", "o"),
    ("subject._id=ln-2", "o"),
    ("_filter=patient eq ln-2", "o"),
]


@pytest.mark.parametrize(("query", "expected"), LATEST)
def test_latest(api: httpx.Client, query: str, expected: str) -> None:
    """The latest of each code, ties among them."""
    assert " ".join(sorted(found(api.get(f"Observation/$lastn?{query}")))) == expected


def test_groups_come_together(api: httpx.Client) -> None:
    """Observations of one code stand together, the latest first."""
    assert found(api.get("Observation/$lastn?patient=ln-1&max=3&code:not=undated"))[-2:] == ["t2", "t1"]
    assert "w3 w2 w1" in " ".join(found(api.get("Observation/$lastn?patient=ln-1&max=3")))


def test_post_and_include(api: httpx.Client) -> None:
    """Parameters may come in a body; _include and _elements work as in a search; self says what was applied."""
    names = {"patient": "ln-1", "max": "2", "code": "bp", "_include": "Observation:patient", "_elements": "status"}
    body = {"resourceType": "Parameters", "parameter": [{"name": name, "valueString": value} for name, value in names.items()]}
    bundle = api.post("Observation/$lastn", json=body).json()
    assert [e["resource"]["id"] for e in bundle["entry"] if e["search"]["mode"] == "include"] == ["ln-1"]
    assert all("effectiveDateTime" not in e["resource"] for e in bundle["entry"])
    [own] = bundle["link"]
    assert own["relation"] == "self" and "$lastn?max=2&patient=ln-1&code=bp" in own["url"]


def test_only_the_total(api: httpx.Client) -> None:
    """_summary=count answers how many there are."""
    bundle = api.get("Observation/$lastn?patient=ln-1&max=3&_summary=count").json()
    assert bundle["total"] == 10 and "entry" not in bundle


def test_cut(api: httpx.Client, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a page may hold are cut, and that is told."""
    monkeypatch.setitem(running.app._ctx.settings.__dict__, "max_count", 4)
    bundle = api.get("Observation/$lastn?patient=ln-1").json()
    assert bundle["total"] == 6
    assert [e["search"]["mode"] for e in bundle["entry"]] == ["match"] * 4 + ["outcome"]
    assert "6 observations" in bundle["entry"][-1]["resource"]["issue"][0]["details"]["text"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "needs patient or subject"),
        ("code=bp", "needs patient or subject"),
        ("patient=", "needs patient or subject"),
        ("patient=&subject=", "needs patient or subject"),
        ("patient:missing=false", "needs patient or subject"),
        ("subject:Patient._id:not=ln-9", "needs patient or subject"),
        ("patient:Patient.gender:missing=false", "needs patient or subject"),
        ("_filter=not (patient eq ln-9)", "needs patient or subject"),
        ("_filter=patient eq ln-1 or status eq final", "needs patient or subject"),
        ("patient=ln-1&max=0", "whole number"),
        ("patient=ln-1&max=x", "whole number"),
        ("patient=ln-1&max=1&max=2", "whole number"),
        ("patient=ln-1&_sort=date", "no _sort"),
        ("patient=ln-1&_explain=true", "no _explain"),
        ("patient=ln-1&cod=x", "did you mean code"),
    ],
)
def test_refused(api: httpx.Client, query: str, says: str) -> None:
    """What cannot be asked is 400 with the reason."""
    answer = api.get(f"Observation/$lastn?{query}")
    assert answer.status_code == 400
    assert says in problem(answer)


def test_only_for_observations(api: httpx.Client) -> None:
    """Other types have no $lastn."""
    assert api.get("Patient/$lastn?patient=1").status_code == 404
