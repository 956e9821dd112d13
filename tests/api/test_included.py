"""Included resources over pages: https://hl7.org/fhir/R4/search.html#revinclude"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.conftest import problem, serving
from tests.api.making import link, pages, patient

LIMIT = 3


def observation(id: str, subject: str, **more: Any) -> dict[str, Any]:
    refers = {"subject": {"reference": subject}, "performer": [{"reference": "Practitioner/in-dr"}]}
    return {"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"}, **refers, **more}


DOCUMENTS = [
    {"resourceType": "Practitioner", "id": "in-dr"},
    *(patient(id=f"in-{n}") for n in range(4)),
    *(observation(f"in-a{n}", "Patient/in-0", effectiveDateTime=f"2026-01-0{n + 1}") for n in range(8)),
    *(observation(f"in-b{n}", "Patient/in-1") for n in range(2)),
    *(observation(f"in-c{n}", "Patient/in-2") for n in range(2)),
]


@pytest.fixture(scope="module", params=["sqlite", "memory"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server on each embedded engine whose pages include three resources at most."""
    settings = {"store_url": "memory://"} if request.param == "memory" else {}
    with serving(tmp_path_factory.mktemp("data"), DOCUMENTS, include_limit=LIMIT, **settings) as client:
        yield client


def shown(bundle: dict[str, Any], mode: str) -> list[str]:
    return [entry["resource"]["id"] for entry in bundle.get("entry", []) if entry["search"]["mode"] == mode]


def told(bundle: dict[str, Any]) -> list[str]:
    """What the entry of mode outcome says."""
    outcomes = [entry["resource"] for entry in bundle.get("entry", []) if entry["search"]["mode"] == "outcome"]
    return [issue["details"]["text"] for outcome in outcomes for issue in outcome["issue"]]


ALL = {
    "in-0": [f"in-a{n}" for n in range(8)],
    "in-1": ["in-b0", "in-b1"],
    "in-2": ["in-c0", "in-c1"],
    "in-3": [],
}


@pytest.mark.parametrize("query", ["_sort=_id", "_sort=-_id", "_sort=_id&_count=1", "_sort=_id&_count=3"])
def test_pages_have_all_that_their_matches_lead_to(small: httpx.Client, query: str) -> None:
    """However small the bound, every match comes once, with all that refers to it: on its own page, or on those that go on after it."""
    seen: dict[str, list[str]] = {}
    current: list[str] = []
    for page in pages(small, f"Patient?_revinclude=Observation:subject&{query}"):
        matches, included = shown(page, "match"), shown(page, "include")
        assert len(included) <= LIMIT and page["total"] == 4
        assert not set(matches) & set(seen)
        current = matches or current
        seen.update({id: [] for id in matches})
        for id in included:
            [owner] = [match for match, expected in ALL.items() if id in expected]
            assert owner in current, "included beside a match that does not lead to it"
            seen[owner].append(id)
    assert {id: sorted(found) for id, found in seen.items()} == ALL
    assert list(seen) == sorted(ALL, reverse="-_id" in query)


def test_what_goes_on_is_said(small: httpx.Client) -> None:
    """Each page but the last of those that belong to one match tells that more follows."""
    first, second, last = pages(small, "Patient?_id=in-0&_revinclude=Observation:subject")
    for page in (first, second):
        [text] = told(page)
        assert "Patient/in-0 leads to more resources than one page may carry" in text
    assert told(last) == [] and link(last, "next") == ""
    assert [len(shown(page, "include")) for page in (first, second, last)] == [3, 3, 2]
    assert [shown(page, "match") for page in (first, second, last)] == [["in-0"], [], []]


@pytest.mark.parametrize("place", [0, 1, LIMIT - 1])
@pytest.mark.parametrize("deleted", [True, False], ids=["deleted", "dated anew"])
def test_writes_between_the_pages_shift_nothing(small: httpx.Client, place: int, deleted: bool) -> None:
    """Whichever of those that were given is deleted or changed meanwhile, and however many are added: the others come once each."""
    url = "Patient?_id=in-0&_revinclude=Observation:subject"
    first = small.get(url).json()
    for n in range(LIMIT + 1):
        small.put(f"Observation/in-0new{n}", json=observation(f"in-0new{n}", "Patient/in-0", effectiveDateTime="2026-02-01"))
    changed = shown(first, "include")[place]
    if deleted:
        small.delete(f"Observation/{changed}")
    else:
        small.put(f"Observation/{changed}", json=observation(changed, "Patient/in-0", effectiveDateTime="1999-01-01"))
    rest = [id for page in pages(small, link(first, "next")) for id in shown(page, "include")]
    for n in range(LIMIT + 1):
        small.delete(f"Observation/in-0new{n}")
    date = f"2026-01-0{int(changed[-1]) + 1}"
    small.put(f"Observation/{changed}", json=observation(changed, "Patient/in-0", effectiveDateTime=date))
    assert sorted([*shown(first, "include"), *(id for id in rest if not id.startswith("in-0new"))]) == ALL["in-0"]


def test_a_match_that_leads_to_very_many(small: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what a single match may lead to, the search is refused and says what to do."""
    monkeypatch.setattr("fhir_server.searching.included.MOST_OF_ONE", 7)
    refused = small.get("Patient?_id=in-0&_revinclude=Observation:subject")
    assert refused.status_code == 400
    assert "Patient/in-0 leads to more than 7 resources" in problem(refused) and "search for these directly" in problem(refused)
    assert small.get("Patient?_id=in-1&_revinclude=Observation:subject").status_code == 200


def test_a_match_that_is_deleted_between_its_pages(small: httpx.Client) -> None:
    """What went on with a deleted match ends, and the next one follows."""
    small.put("Patient/in-9", json=patient(id="in-9"))
    for n in range(5):
        small.put(f"Observation/in-z{n}", json=observation(f"in-z{n}", "Patient/in-9"))
    first = small.get("Patient?_id=in-9,in-0&_sort=-_id&_revinclude=Observation:subject").json()
    assert shown(first, "match") == ["in-9"]
    small.delete("Patient/in-9")
    rest = list(pages(small, link(first, "next")))
    for n in range(5):
        small.delete(f"Observation/in-z{n}")
    assert [id for page in rest for id in shown(page, "match")] == ["in-0"]
    assert sorted(id for page in rest for id in shown(page, "include")) == ALL["in-0"]


def test_several_types_at_once(small: httpx.Client) -> None:
    """Pages of a search across types have all that is included too."""
    bundles = list(pages(small, "?_type=Patient,Practitioner&_revinclude=Observation:subject&_revinclude=Observation:performer"))
    assert sorted(id for page in bundles for id in shown(page, "match")) == ["in-0", "in-1", "in-2", "in-3", "in-dr"]
    assert {id for page in bundles for id in shown(page, "include")} == {id for ids in ALL.values() for id in ids}


def test_everything_has_all_that_is_referred_to(small: httpx.Client) -> None:
    """$everything gives each of more practitioners than a page may carry."""
    doctors = [f"in-many{n}" for n in range(7)]
    for id in doctors:
        small.put(f"Practitioner/{id}", json={"resourceType": "Practitioner", "id": id})
    performers = [{"reference": f"Practitioner/{id}"} for id in doctors]
    small.put("Observation/in-many", json=observation("in-many", "Patient/in-3", performer=performers))
    bundles = list(pages(small, "Patient/in-3/$everything"))
    for place in ("Observation/in-many", *(f"Practitioner/{id}" for id in doctors)):
        small.delete(place)
    matches = [id for page in bundles for id in shown(page, "match")]
    assert sorted(matches) == ["in-3", "in-many"]
    assert sorted(id for page in bundles for id in shown(page, "include")) == doctors
