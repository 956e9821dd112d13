""":in, :not-in, :above, :below of tokens: http://hl7.org/fhir/R4/search.html#modifiers"""

from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from fhir_server.searching.value_sets import ValueSets
from tests.api.conftest import Running, problem
from tests.api.making import pages

SYSTEM = "http://example.org/animals"
HERE = "http://example.org/fhir/ValueSet"
OFFICIAL = "http://hl7.org/fhir/ValueSet/observation-status"
Json = dict[str, Any]


def coded(*codes: str, system: str = SYSTEM) -> Json:
    return {"coding": [{"system": system, "code": code} for code in codes]}


def value_set(id: str, **parts: Any) -> Json:
    return {"resourceType": "ValueSet", "id": id, "url": f"{HERE}/{id}", "status": "active", **parts}


def composed(id: str, *include: Json, exclude: Json | None = None) -> Json:
    return value_set(id, compose={"include": list(include), **({"exclude": [exclude]} if exclude else {})})


def filtered(op: str, value: str, property: str = "concept") -> Json:
    return {"system": SYSTEM, "filter": [{"property": property, "op": op, "value": value}]}


ANIMALS = {
    "resourceType": "CodeSystem",
    "id": "animals",
    "url": SYSTEM,
    "status": "active",
    "version": "2",
    "content": "complete",
    "concept": [
        {"code": "mammal", "concept": [{"code": "dog", "concept": [{"code": "poodle"}]}, {"code": "cat"}]},
        {"code": "bird"},
        {"code": "penguin", "property": [{"code": "parent", "valueCode": "bird"}]},
    ],
}
DOCUMENTS: list[Json] = [
    ANIMALS,
    {
        "resourceType": "CodeSystem", "id": "part", "url": "http://example.org/part", "status": "active", "content": "fragment",
        "concept": [{"code": "a"}],
    },
    composed("listed", {"system": SYSTEM, "concept": [{"code": "dog"}, {"code": "bird"}]}),
    composed("whole", {"system": SYSTEM}),
    composed("mammals", filtered("is-a", "mammal")),
    composed("under-mammal", filtered("descendent-of", "mammal")),
    composed("no-mammals", filtered("is-not-a", "mammal")),
    composed("without", {"system": SYSTEM}, exclude=filtered("is-a", "mammal")),
    composed("nested", {"valueSet": [f"{HERE}/mammals"]}, {"valueSet": [f"{HERE}/listed"]}),
    composed("both", {"valueSet": [f"{HERE}/mammals", f"{HERE}/listed"]}),
    composed("endless", {"valueSet": [f"{HERE}/endless"]}),
    composed("odd", filtered("regex", ".*", "code")),
    composed("unknown", {"system": "http://example.org/nowhere"}),
    composed("fragment", {"system": "http://example.org/part"}),
    composed("empty", {"system": SYSTEM, "filter": [*filtered("is-a", "dog")["filter"], *filtered("is-a", "cat")["filter"]]}),
    composed("of-version", {"system": SYSTEM, "version": "2"}),
    composed("of-other-version", {"system": SYSTEM, "version": "1"}),
    composed("of-official-version", {"valueSet": [f"{OFFICIAL}|5.0.0"]}),
    composed("filtered-version", filtered("is-a", "mammal") | {"version": "1"}),
    composed("listed-version", {"system": SYSTEM, "version": "1", "concept": [{"code": "dog"}]}),
    value_set("active", compose={"inactive": False, "include": [{"system": SYSTEM}]}),
    value_set("bare"),
    value_set("expanded", expansion={"timestamp": "2026-01-01", "contains": [{"system": SYSTEM, "code": "cat"}]}),
    value_set("cut", expansion={"timestamp": "2026-01-01", "total": 5, "contains": [{"system": SYSTEM, "code": "cat"}]}),
    composed("large", {"system": SYSTEM, "concept": [{"code": f"c{n}"} for n in range(9_999)] + [{"code": "cat"}]}),
    composed("too-large", {"system": SYSTEM, "concept": [{"code": f"c{n}"} for n in range(10_001)]}),
]  # fmt: skip
SIX = ("code", "category", "combo-code", "component-code", "value-concept", "method")
OBSERVED = {"dog": "final", "poodle": "final", "cat": "amended", "bird": "final", "penguin": "registered"}


@pytest.fixture(scope="module", autouse=True)
def content(api: httpx.Client) -> None:
    """The value sets, and an observation of each animal about one patient, and one without a known code."""
    made = [*DOCUMENTS, {"resourceType": "Patient", "id": "vs-p"}]
    about = {"subject": {"reference": "Patient/vs-p"}}
    for code, status in OBSERVED.items():
        made.append({"resourceType": "Observation", "id": f"vs-{code}", "status": status, "code": coded(code), **about})
    made.append(
        {"resourceType": "Observation", "id": "vs-other", "status": "final", "code": coded("dog", system="urn:other"), **about}
    )
    for document in made:
        answer = api.put(f"{document['resourceType']}/{document['id']}", json=document)
        assert answer.status_code in (200, 201), answer.text


def found(api: httpx.Client, query: str) -> set[str]:
    answer = api.get(f"Observation?subject=Patient/vs-p&{query}")
    assert answer.status_code == 200, answer.text
    return {entry["resource"]["id"].removeprefix("vs-") for entry in answer.json().get("entry", [])}


@pytest.mark.parametrize(
    ("query", "codes"),
    [
        (f"code:in={HERE}/listed", "dog bird"),
        ("code:in=ValueSet/listed", "dog bird"),
        (f"code:in={HERE}/whole", "dog poodle cat bird penguin"),
        (f"code:in={HERE}/mammals", "dog poodle cat"),
        (f"code:in={HERE}/under-mammal", "dog poodle cat"),
        (f"code:in={HERE}/no-mammals", "bird penguin"),
        (f"code:in={HERE}/without", "bird penguin"),
        (f"code:in={HERE}/nested", "dog poodle cat bird"),
        (f"code:in={HERE}/both", "dog"),
        (f"code:in={HERE}/expanded", "cat"),
        (f"code:in={HERE}/of-version", "dog poodle cat bird penguin"),
        (f"code:in={HERE}/listed-version", "dog"),
        (f"code:in={HERE}/large", "cat"),
        (f"code:in={HERE}/empty", ""),
        (f"code:in={HERE}/listed,{HERE}/expanded", "dog bird cat"),
        (f"code:not-in={HERE}/mammals", "bird penguin other"),
        (f"code:not-in={HERE}/large", "dog poodle bird penguin other"),
        (f"code:not-in={HERE}/empty", "dog poodle cat bird penguin other"),
        (f"code:below={SYSTEM}|mammal", "dog poodle cat"),
        (f"code:below={SYSTEM}|dog", "dog poodle"),
        (f"code:below={SYSTEM}|bird,{SYSTEM}|cat", "bird penguin cat"),
        (f"code:above={SYSTEM}|poodle", "dog poodle"),
        (f"code:above={SYSTEM}|penguin", "bird penguin"),
        (f"status:in={OFFICIAL}", "dog poodle cat bird penguin other"),
        (f"status:in={OFFICIAL}%7C4.0.1", "dog poodle cat bird penguin other"),
        (f"status:not-in={OFFICIAL}", ""),
        (f"code:in={HERE}/mammals&status=final", "dog poodle"),
    ],
)
def test_found(api: httpx.Client, query: str, codes: str) -> None:
    """A value set, or a code with what is above or below it, stands for all of its codes."""
    assert found(api, query) == set(codes.split())


CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"


@pytest.mark.parametrize(
    ("query", "codes"),
    [
        (f"clinical-status:below={CLINICAL}|active", "active relapse"),
        (f"clinical-status:above={CLINICAL}|relapse", "active relapse"),
        (f"clinical-status:below={CLINICAL}|inactive", "resolved"),
        (f"clinical-status:below={CLINICAL}|active&verification-status:missing=true", "active relapse"),
        (f"clinical-status:in={HERE}/still", "active relapse"),
    ],
)
def test_official_hierarchies(api: httpx.Client, query: str, codes: str) -> None:
    """The official CodeSystems need not be stored for what lies above and below their codes."""
    still = {"system": CLINICAL, "filter": [{"property": "concept", "op": "is-a", "value": "active"}]}
    api.put("ValueSet/still", json=composed("still", still)).raise_for_status()
    for code in ("active", "relapse", "resolved"):
        status = {"coding": [{"system": CLINICAL, "code": code}]}
        about = {"subject": {"reference": "Patient/vs-h"}, "clinicalStatus": status}
        api.put(f"Condition/vs-{code}", json={"resourceType": "Condition", "id": f"vs-{code}", **about}).raise_for_status()
    answer = api.get(f"Condition?subject=Patient/vs-h&{query}")
    assert answer.status_code == 200, answer.text
    assert sorted(entry["resource"]["id"] for entry in answer.json().get("entry", [])) == [f"vs-{code}" for code in codes.split()]


def test_through_links(api: httpx.Client) -> None:
    """Value sets may stand at the ends of chains and reverse chains."""
    answer = api.get(f"Patient?_has:Observation:subject:code:in={HERE}/expanded")
    assert [entry["resource"]["id"] for entry in answer.json()["entry"]] == ["vs-p"]


def test_pages(api: httpx.Client) -> None:
    """Pages go on where they ended."""
    whole = pages(api, f"Observation?subject=Patient/vs-p&code:in={HERE}/whole&_count=2")
    seen = [entry["resource"]["id"] for bundle in whole for entry in bundle["entry"]]
    assert sorted(seen) == ["vs-bird", "vs-cat", "vs-dog", "vs-penguin", "vs-poodle"]


def test_follows_changes(api: httpx.Client) -> None:
    """A value set that was changed means its new codes in the very next search."""
    for code in ("cat", "bird"):
        api.put("ValueSet/changing", json=composed("changing", {"system": SYSTEM, "concept": [{"code": code}]}))
        assert found(api, f"code:in={HERE}/changing") == {code}


def test_conditional(api: httpx.Client) -> None:
    """Criteria of conditional writes may name value sets."""
    answer = api.post(
        "Observation",
        json={"resourceType": "Observation", "status": "final", "code": coded("cat")},
        headers={"If-None-Exist": f"subject=Patient/vs-p&code:in={HERE}/expanded"},
    )
    assert (answer.status_code, answer.json()["id"]) == (200, "vs-cat")


def test_late(api: httpx.Client, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the index may lack the latest value sets, searches say so, and criteria of conditional writes are 503."""

    async def all_but_value_sets(types: Sequence[str], position: int | None = None) -> bool:
        return "ValueSet" not in types

    monkeypatch.setattr(running.app._ctx.index, "caught_up", all_but_value_sets)
    criteria = f"subject=Patient/vs-p&code:in={HERE}/expanded"
    for url in (
        f"Observation?{criteria}",
        f"Observation/$lastn?{criteria}",
        f"Observation?_contained=both&{criteria}",
        f"Patient?_has:Observation:subject:code:in={HERE}/expanded",
    ):
        entries = api.get(url).json()["entry"]
        assert "caught up" in entries[-1]["resource"]["issue"][0]["details"]["text"], url
    assert [e["search"]["mode"] for e in api.get("Observation?subject=Patient/vs-p&code=cat").json()["entry"]] == ["match"]
    new = {"resourceType": "Observation", "status": "final", "code": coded("cat")}
    note = {"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": f"Observation?{criteria}"}}
    entry = {"resource": note, "request": {"method": "POST", "url": "Basic"}}
    transaction = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    for answer in (
        api.post("Observation", json=new, headers={"If-None-Exist": criteria}),
        api.post(str(api.base_url).rstrip("/"), json=transaction),
    ):
        assert answer.status_code == 503, answer.text
        assert "caught up" in problem(answer)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (f"code:in={HERE}/none", "there is no ValueSet"),
        ("code:in=ValueSet/none", "there is no ValueSet"),
        (f"code:in={HERE}/endless", "inside one another"),
        (f"code:in={HERE}/odd", "cannot evaluate (code regex"),
        (f"code:in={HERE}/unknown", "no complete CodeSystem"),
        (f"code:in={HERE}/fragment", "no complete CodeSystem"),
        (f"code:in={HERE}/bare", "neither a compose nor an expansion"),
        (f"code:in={HERE}/cut", "1 of 5 codes"),
        (f"code:in={HERE}/too-large", "at most 10000"),
        (f"code:in={OFFICIAL}%7C3.0.2", "version 3.0.2 of the ValueSet"),
        (f"code:in={OFFICIAL}%7C3.0.2", "only 4.0.1"),
        (f"code:in={HERE}/of-official-version", "version 5.0.0 of the ValueSet"),
        (f"code:in={HERE}/of-other-version", "version 1 of the CodeSystem"),
        (f"code:in={HERE}/filtered-version", "version 1 of the CodeSystem"),
        (f"code:in={HERE}/active", "inactive codes"),
        ("&".join(f"{name}:in={HERE}/large" for name in SIX), "more than 50000 codes"),
        ("code:below=http://example.org/nowhere|a", "there is no CodeSystem"),
        (f"code:below={SYSTEM}|unicorn", "has no code 'unicorn'"),
        ("code:below=dog", "must name a system and a code"),
        ("subject:in=x", "cannot be used with subject"),
    ],
)
def test_refused(api: httpx.Client, query: str, text: str) -> None:
    """What cannot be told in full is refused with the reason."""
    answer = api.get(f"Observation?{query}")
    assert answer.status_code == 400
    assert text in problem(answer)


def test_each_set_is_looked_up_once(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search of several types expands a value set once; too many different ones are refused."""
    looked_up = []
    composing = ValueSets._composed

    async def counting(sets: ValueSets, url: str, *rest: Any) -> Any:
        looked_up.append(url)
        return await composing(sets, url, *rest)

    monkeypatch.setattr(ValueSets, "_composed", counting)
    answer = api.get(f"../fhir?_type=Patient,Observation,Condition&_tag:in={HERE}/listed&_security:in={HERE}/listed")
    assert answer.status_code == 200, answer.text
    assert looked_up == [f"{HERE}/listed"]
    monkeypatch.setattr("fhir_server.searching.value_sets.MOST_SETS", 1)
    answer = api.get(f"Observation?code:in={HERE}/listed,{HERE}/whole")
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "too-costly")
