"""search: http://hl7.org/fhir/R4/http.html#search and http://hl7.org/fhir/R4/search.html"""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.api.conftest import Running, problem
from tests.api.making import link, pages

Put = Callable[[dict[str, Any]], httpx.Response]
SYSTEM = "urn:search-test"


@pytest.fixture(scope="module", autouse=True)
def people(api: httpx.Client) -> None:
    """Seven patients, five observations of the first, performed by one practitioner."""
    entries: list[dict[str, Any]] = [{"resourceType": "Practitioner", "id": "se-dr", "name": [{"family": "Searcher"}]}]
    for n in range(7):
        identifier = [{"system": SYSTEM, "value": str(n)}]
        entries.append(
            {"resourceType": "Patient", "id": f"se-{n}", "identifier": identifier, "name": [{"family": f"Quux{n}"}], "active": True}
        )
    refers = {"subject": {"reference": "Patient/se-0"}, "performer": [{"reference": "Practitioner/se-dr"}]}
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}} | refers
    entries += [observation | {"id": f"se-o{n}"} for n in range(5)]
    for entry in entries:
        assert api.put(f"{entry['resourceType']}/{entry['id']}", json=entry).is_success


def ids(bundle: dict[str, Any], mode: str = "match") -> list[str]:
    return [e["resource"]["id"] for e in bundle.get("entry", []) if e["search"]["mode"] == mode]


def test_answers_a_searchset(api: httpx.Client, base: str) -> None:
    """Matches come with fullUrl and mode, the total, and a self link of what was applied."""
    bundle = api.get(f"Patient?identifier={SYSTEM}|3").json()
    assert (bundle["resourceType"], bundle["type"], bundle["total"]) == ("Bundle", "searchset", 1)
    [entry] = bundle["entry"]
    assert entry["fullUrl"] == f"{base}/Patient/se-3"
    assert entry["search"] == {"mode": "match"}
    assert dict(parse_qsl(urlsplit(link(bundle, "self")).query)) == {"identifier": f"{SYSTEM}|3"}


def test_nothing_found(api: httpx.Client) -> None:
    """No match is 200 with total 0 and without entries."""
    bundle = api.get(f"Patient?identifier={SYSTEM}|none").json()
    assert bundle["total"] == 0
    assert "entry" not in bundle


def test_pages_give_each_match_once(api: httpx.Client) -> None:
    """Following next gives every match once, though one is added meanwhile; each page has the first one's total."""
    url = f"Patient?identifier={SYSTEM}|&_sort=_id&_count=3"
    found, totals = [], []
    for number, bundle in enumerate(pages(api, url)):
        found += ids(bundle)
        totals.append(bundle["total"])
        if number == 0:
            extra = {"resourceType": "Patient", "id": "se-00", "identifier": [{"system": SYSTEM, "value": "00"}]}
            api.put("Patient/se-00", json=extra)
    api.delete("Patient/se-00")
    assert found == [f"se-{n}" for n in range(7)]
    assert totals == [7, 7, 7]


def test_cursors_cannot_be_made_or_moved(api: httpx.Client) -> None:
    """A changed cursor, or one of another search, is 400."""
    following = link(api.get(f"Patient?identifier={SYSTEM}|&_count=2").json(), "next")
    cursor = following.partition("_cursor=")[2]
    assert cursor
    changed = ("B" if cursor[30] != "B" else "C").join((cursor[:30], cursor[31:]))
    for wrong in (f"Patient?identifier={SYSTEM}|&_cursor={changed}", f"Patient?active=true&_cursor={cursor}"):
        answer = api.get(wrong)
        assert answer.status_code == 400
        assert "page link" in problem(answer)


def test_post_is_the_same_search(api: httpx.Client) -> None:
    """POST _search takes the parameters from the form, the URL, or both: http://hl7.org/fhir/R4/http.html#search"""
    form = api.post("Patient/_search", data={"identifier": f"{SYSTEM}|1"})
    assert ids(form.json()) == ["se-1"]
    both = api.post(f"Patient/_search?identifier={SYSTEM}|", data={"family": "Quux2"})
    assert ids(both.json()) == ["se-2"]
    assert link(both.json(), "self") == link(api.get(f"Patient?identifier={SYSTEM}|&family=Quux2").json(), "self")
    empty = api.post("Patient/_search?family=Quux2", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert ids(empty.json()) == ["se-2"]


def test_unknown_parameters(api: httpx.Client) -> None:
    """They are refused with a suggestion; with lenient handling they are ignored, and the Bundle and the self link say so."""
    strict = api.get("Patient?famly=Quux2")
    assert strict.status_code == 400
    assert "family" in problem(strict)
    lenient = api.get("Patient?family=Quux2&famly=x", headers={"Prefer": "handling=lenient"}).json()
    assert ids(lenient) == ["se-2"]
    [outcome] = [e for e in lenient["entry"] if e["search"]["mode"] == "outcome"]
    assert "famly" in outcome["resource"]["issue"][0]["diagnostics"]
    assert "famly" not in link(lenient, "self")


def test_includes(api: httpx.Client) -> None:
    """_include and _revinclude add documents once, with mode include, outside of the total."""
    bundle = api.get("Observation?subject=Patient/se-0&_include=Observation:subject&_include=Observation:performer").json()
    assert bundle["total"] == 5
    assert sorted(ids(bundle, "include")) == ["se-0", "se-dr"]
    reverse = api.get("Patient?_id=se-0&_revinclude=Observation:subject").json()
    assert sorted(ids(reverse, "include")) == [f"se-o{n}" for n in range(5)]


def test_iterated_includes(api: httpx.Client) -> None:
    """:iterate goes on from what was included; self has the parameter as it was sent."""
    for entry in (
        {"resourceType": "Organization", "id": "se-org", "name": "Searchers"},
        {"resourceType": "PractitionerRole", "id": "se-role", "practitioner": {"reference": "Practitioner/se-dr"},
         "organization": {"reference": "Organization/se-org"}},
    ):  # fmt: skip
        api.put(f"{entry['resourceType']}/{entry['id']}", json=entry)
    query = "_include=Observation:performer&_revinclude:iterate=PractitionerRole:practitioner&_include:iterate=PractitionerRole:*"
    bundle = api.get(f"Observation?_id=se-o1&{query}").json()
    assert sorted(ids(bundle, "include")) == ["se-dr", "se-org", "se-role"]
    assert "_include%3Aiterate=PractitionerRole%3A%2A" in link(bundle, "self")


def test_compartment(api: httpx.Client, base: str) -> None:
    """Patient/[id]/[type] searches that patient's documents only; its links stay there."""
    bundle = api.get("Patient/se-0/Observation?status=final&_count=2").json()
    assert bundle["total"] == 5
    assert link(bundle, "next").startswith(f"{base}/Patient/se-0/Observation?")
    assert api.get("Patient/se-1/Observation").json()["total"] == 0
    assert api.get("Patient/se-0/Observatio").status_code == 404
    cursor = link(bundle, "next").partition("_cursor=")[2]
    assert api.get(f"Patient/se-1/Observation?status=final&_count=2&_cursor={cursor}").status_code == 400


@pytest.mark.parametrize("query", ["_summary=count", "_count=0"])
def test_only_the_total(api: httpx.Client, query: str) -> None:
    """_summary=count and _count=0 answer the total alone."""
    bundle = api.get(f"Patient?identifier={SYSTEM}|&{query}").json()
    assert bundle["total"] == 7
    assert "entry" not in bundle


def test_summary_of_matches(api: httpx.Client) -> None:
    """_elements cuts the matches and tags them."""
    [entry] = api.get("Patient?_id=se-1&_elements=active").json()["entry"]
    assert "name" not in entry["resource"]
    assert entry["resource"]["meta"]["tag"][0]["code"] == "SUBSETTED"


def test_explained(api: httpx.Client) -> None:
    """_explain tells how the search was done, without a value of any document, and does not move page links."""
    query = f"identifier={SYSTEM}|&active=true&_count=2"
    bundle = api.get(f"Patient?{query}&_explain=true").json()
    texts = " ".join(issue["details"]["text"] for issue in notes(bundle))
    for said in ("ms", "identifier: 7 rows", "Driven by", "Tested on each row", "2 matches"):
        assert said in texts
    assert "Quux" not in texts and SYSTEM not in texts
    assert notes(api.get(f"Patient?{query}&_explain=false").json()) == []
    assert "_explain=true" in link(bundle, "next")
    assert api.get(link(bundle, "next").replace("&_explain=true", "")).status_code == 200
    assert "true or false" in problem(api.get("Patient?_explain=yes"))


def test_sorted_by_what_is_referred_to(api: httpx.Client) -> None:
    """_sort may follow references; page links go on from there."""
    for n in (2, 0, 1):
        document = {"resourceType": "Condition", "id": f"se-c{n}", "subject": {"reference": f"Patient/se-{2 - n}"}}
        assert api.put(f"Condition/se-c{n}", json=document).status_code == 201
    url = "Condition?_id=se-c0,se-c1,se-c2&_count=2&_sort="
    assert [id for page in pages(api, f"{url}patient.family") for id in ids(page)] == ["se-c2", "se-c1", "se-c0"]
    assert [id for page in pages(api, f"{url}-subject:Patient.family") for id in ids(page)] == ["se-c0", "se-c1", "se-c2"]


def test_hints(api: httpx.Client) -> None:
    """What may not be meant is told in the Bundle, beside the answer."""
    bundle = api.get(f"Patient?identifier={SYSTEM}|1&gender:not=femal").json()
    assert ids(bundle) == ["se-1"]
    [hint] = notes(bundle)
    assert "did you mean female" in hint["details"]["text"]


def test_format_in_the_form(api: httpx.Client) -> None:
    """_format counts wherever the parameters of a search stand."""
    assert api.post("Patient/_search", data={"_format": "json"}).status_code == 200
    assert api.post("Patient/_search", data={"_format": "xml"}).status_code == 406


def test_sees_what_was_just_written(api: httpx.Client, put: Put) -> None:
    """A search that begins after a write was answered finds it."""
    for n in range(20):
        put({"resourceType": "Patient", "id": "se-fresh", "identifier": [{"system": "urn:fresh", "value": str(n)}]})
        assert api.get(f"Patient?identifier=urn:fresh|{n}").json()["total"] == 1
        assert api.get(f"Patient?identifier=urn:fresh|{n - 1}").json()["total"] == 0


def notes(bundle: dict[str, Any]) -> list[dict[str, Any]]:
    """The issues of the OperationOutcome entry, if there is one."""
    return [issue for e in bundle.get("entry", []) if e["search"]["mode"] == "outcome" for issue in e["resource"]["issue"]]


def test_an_estimated_total_is_marked(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above its bound `_total=estimate` says on every page that there are more; below it, and counted exactly, there is no such mark."""
    monkeypatch.setattr("search.indexes.sqlite.pages.ESTIMATE", 5)
    first = api.get("Patient?_total=estimate&_count=2").json()
    second = api.get(link(first, "next")).json()
    for bundle in (first, second):
        assert bundle["total"] == 5
        [note] = notes(bundle)
        assert note["severity"] == "information" and "at least 5" in note["details"]["text"]
    only = api.get("Patient?_total=estimate&_count=0").json()
    assert only["total"] == 5 and len(notes(only)) == 1
    assert notes(api.get("Patient?_total=accurate&_count=2").json()) == []
    few = api.get(f"Patient?identifier={SYSTEM}|1,{SYSTEM}|2&_total=estimate&_count=1").json()
    assert few["total"] == 2 and notes(few) == []


def test_a_late_index(api: httpx.Client, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the index lags behind, searches answer and say so; what would act on criteria is 503, since it could make a second one."""

    async def never(types: Sequence[str], position: int | None = None) -> bool:
        return False

    monkeypatch.setattr(running.app._ctx.index, "caught_up", never)
    for url in (f"Patient?identifier={SYSTEM}|1", "Patient/se-0/Observation", "Patient/se-0/$everything"):
        bundle = api.get(url).json()
        assert ids(bundle) and "caught up" in notes(bundle)[0]["details"]["text"]
    person = {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": "late"}]}
    criteria = f"identifier={SYSTEM}|late"
    reference = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "x"},
        "subject": {"reference": f"Patient?{criteria}"},
    }
    entry = {"resource": reference, "request": {"method": "POST", "url": "Observation"}}
    answers = [
        api.post("Patient", json=person, headers={"If-None-Exist": criteria}),
        api.put(f"Patient?{criteria}", json=person),
        api.delete(f"Patient?{criteria}"),
        api.post(str(api.base_url).rstrip("/"), json={"resourceType": "Bundle", "type": "transaction", "entry": [entry]}),
    ]
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert "caught up" in problem(answer)
    assert answers[0].headers["Retry-After"] == "1"
    monkeypatch.undo()
    assert api.get(f"Patient?{criteria}").json()["total"] == 0


def test_own_references_by_any_own_name(api: httpx.Client, running: Running) -> None:
    """A reference to this server is the same one relative and absolute, whichever of its names it was written and is asked with."""
    names = [f"127.0.0.1:{running.port}", f"localhost:{running.port}"]
    assert api.put("Patient/se-host", json={"resourceType": "Patient", "id": "se-host"}).status_code == 201
    targets = ["Patient/se-host", *(f"http://{name}/fhir/Patient/se-host" for name in names)]
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    for n, target in enumerate(targets):
        for name in names:
            id = f"se-h{n}-{name[:3]}"
            document = observation | {"id": id, "subject": {"reference": target}}
            assert api.put(f"Observation/{id}", json=document, headers={"Host": name}).status_code == 201
    for name in names:
        for target in targets:
            bundle = api.get("Observation", params={"subject": target}, headers={"Host": name}).json()
            assert bundle["total"] == 6, (name, target)
        within = api.get("Patient/se-host/Observation", headers={"Host": name}).json()
        assert within["total"] == 6 and within["entry"][0]["fullUrl"].startswith(f"http://{name}/fhir/")
        assert len(api.get("Patient/se-host/$everything", headers={"Host": name}).json()["entry"]) == 7
    assert api.get("Observation", params={"subject": f"http://elsewhere:{running.port}/fhir/Patient/se-host"}).json()["total"] == 0


def test_a_compartment_is_one_more_filter(api: httpx.Client) -> None:
    """The address's compartment and its criteria must hold together, also where they name different patients."""
    assert api.get("Patient/se-0/Observation?subject=Patient/se-0").json()["total"] == 5
    assert api.get("Patient/se-1/Observation?subject=Patient/se-0").json()["total"] == 0
