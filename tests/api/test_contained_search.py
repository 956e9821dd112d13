"""Searching for contained resources, on each engine: https://hl7.org/fhir/R4/search.html#contained"""

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from indexing.feed_harness import sweep
from services.running import service

from fhir_server.searching import inside, into
from tests.api.conftest import problem, serving

SYSTEM = "urn:contained-test"
ABC = f"code={SYSTEM}|abc"


def refer(target: str) -> dict[str, str]:
    return {"reference": target}


def concept(code: str) -> dict[str, Any]:
    return {"coding": [{"system": SYSTEM, "code": code}]}


def medication(id: str, code: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Medication", "id": id, "code": concept(code), **more}


def request(id: str, *contained: dict[str, Any], on: str = "2026-01-01", **more: Any) -> dict[str, Any]:
    """A MedicationRequest of the first thing in it."""
    return {
        "resourceType": "MedicationRequest",
        "id": id,
        "contained": contained,
        "status": "active",
        "intent": "order",
        "medicationReference": refer("#m1"),
        "subject": refer("Patient/ci-p"),
        "authoredOn": on,
        **more,
    }


def item(target: str) -> list[dict[str, Any]]:
    return [{"itemReference": refer(target), "strength": {"numerator": {"value": 72.50}, "denominator": {"value": 1}}}]


def observation(id: str, code: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": id, "status": "final", "code": concept(code), **more}


INNER_MAKER = {"resourceType": "Organization", "id": "o1", "name": "Inner", "partOf": refer("Organization/ci-outer")}
DOCUMENTS: list[dict[str, Any]] = [
    {"resourceType": "Patient", "id": "ci-p", "name": [{"family": "Container"}]},
    {"resourceType": "Organization", "id": "ci-outer", "name": "Outer"},
    {"resourceType": "Substance", "id": "ci-s", "code": concept("sugar")},
    medication("ci-own", "abc"),
    medication("ci-other", "xyz"),
    request("ci-1", medication("m1", "abc", manufacturer=refer("#o1"), ingredient=item("Substance/ci-s")), INNER_MAKER),
    request("ci-2", medication("m1", "xyz", manufacturer=refer("Organization/ci-outer")), on="2026-01-02", status="stopped"),
    request("ci-3", medication("m1", "abc", ingredient=item("#m2")), medication("m2", "abc"), on="2026-01-03"),
    {
        "resourceType": "MedicationDispense",
        "id": "ci-1",
        "contained": [medication("m1", "abc", status="inactive")],
        "status": "completed",
        "medicationReference": refer("#m1"),
    },
    observation("ci-1", "o", hasMember=[refer("#o2")], contained=[observation("o2", "o", focus=[refer("#")])]),
    observation("ci-2", "p", hasMember=[refer("#o2")], contained=[observation("o2", "o", valueString="Quiet nights")]),
]


@pytest.fixture(scope="module", params=["sqlite", "memory"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server on each embedded engine with DOCUMENTS."""
    settings = {"store_url": "memory://"} if request.param == "memory" else {}
    with serving(tmp_path_factory.mktemp("data"), DOCUMENTS, **settings) as client:
        yield client


def short(entry: dict[str, Any]) -> str:
    """An address in short: `R1#m1` for MedicationRequest/ci-1#m1."""
    address: str = entry["fullUrl"].partition("/fhir/")[2]
    for type, letter in (("MedicationRequest", "R"), ("MedicationDispense", "D"), ("Medication", "M"), ("Observation", "O")):
        address = address.replace(f"{type}/ci-", letter)
    return address


def names(client: httpx.Client, text: str) -> list[str]:
    """The matches, in their order; the total must be their number."""
    bundle = client.get(text).json()
    assert bundle["resourceType"] == "Bundle", bundle
    matches = [entry for entry in bundle.get("entry", []) if entry["search"]["mode"] == "match"]
    assert bundle["total"] == len(matches)
    return [short(entry) for entry in matches]


def paged(client: httpx.Client, text: str, count: int) -> list[str]:
    """The matches of all pages, each of which has as many as it may but the last, and the same total."""
    found: list[str] = []
    totals = set()
    following: str | None = f"{text}&_count={count}"
    while following:
        bundle = client.get(following).json()
        following = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        assert len(bundle["entry"]) == count or not following
        found += [short(entry) for entry in bundle["entry"]]
        totals.add(bundle["total"])
    assert totals == {len(found)}
    return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"Medication?{ABC}", "Mown"),
        (f"Medication?{ABC}&_contained=false", "Mown"),
        (f"Medication?{ABC}&_contained=true", "D1 R1 R3"),
        (f"Medication?{ABC}&_contained=true&_containedType=container", "D1 R1 R3"),
        (
            f"Medication?{ABC}&_contained=true&_containedType=contained",
            "D1#m1 R1#m1 R3#m1 R3#m2",
        ),
        (f"Medication?{ABC}&_contained=both", "D1 Mown R1 R3"),
        (
            f"Medication?{ABC}&_contained=both&_containedType=contained&status=inactive",
            "D1#m1",
        ),
        (f"Medication?code={SYSTEM}|none&_contained=both", ""),
        (f"Medication?code:not={SYSTEM}|abc&_contained=true", "R2"),
        (f"Medication?{ABC}&status:missing=true&_contained=true", "R1 R3"),
        ("Medication?_id=m2&_contained=true&_containedType=contained", "R3#m2"),
        ("Medication?_id=ci-own&_contained=true", ""),
        ("Medication?ingredient=Substance/ci-s&_contained=true", "R1"),
        (f"Medication?ingredient:Substance.code={SYSTEM}|sugar&_contained=true", "R1"),
        (f"Medication?ingredient:Medication.code={SYSTEM}|abc&_contained=true&_containedType=contained", "R3#m1"),
        ("Medication?manufacturer.name=Inner&_contained=true", "R1"),
        ("Medication?manufacturer.name=Outer&_contained=true", "R2"),
        ("Medication?manufacturer.name=Inner,Outer&_contained=both", "R1 R2"),
        ("Medication?manufacturer.partof.name=Outer&_contained=true", "R1"),
        ("Organization?name=Inner&_contained=both", "R1"),
        ("Organization?partof:below=Organization/ci-outer&_contained=true", "R1"),
        ("Medication?_has:MedicationRequest:medication:status=stopped&_contained=true", "R2"),
        (
            "Medication?_has:MedicationRequest:medication:subject:Patient.name=container&_contained=true",
            "R1 R2 R3",
        ),
        ("Medication?_filter=status eq inactive or manufacturer.name eq outer&_contained=true", "D1 R2"),
        ("Observation?_content=quiet&_contained=true", "O2"),
        ("Observation?focus=Observation/ci-1&_contained=true&_containedType=contained", "O1#o2"),
        (f"Observation?code={SYSTEM}|o&_contained=both", "O1 O2"),
        (f"Observation?code={SYSTEM}|o&_contained=both&_containedType=contained", "O1 O1#o2 O2#o2"),
        ("Medication?_lastUpdated=lt2020-01-01&_contained=both", ""),
        ("Bundle?_contained=true", ""),
    ],
)  # fmt: skip
def test_what_is_found(served: httpx.Client, text: str, found: str) -> None:
    """Criteria hold for the contained resource; what is shown is the one around it, or the contained one at an address of its own."""
    assert " ".join(sorted(names(served, text))) == found


def test_on_elasticsearch(tmp_path: Path) -> None:
    """The same is found with search in Elasticsearch: what is contained, chains to either side, pages."""
    prefix, url = f"test{secrets.token_hex(4)}", service("elasticsearch")
    documents = [document for document in DOCUMENTS if document["resourceType"] in ("Organization", "MedicationRequest")]
    with serving(tmp_path, documents, search_url=url, search_prefix=prefix, search_wait=60) as client:
        assert names(client, f"Medication?{ABC}&_contained=both") == ["R3", "R1"]
        assert names(client, "Medication?manufacturer.name=Inner,Outer&_contained=true&_containedType=contained") == [
            "R2#m1",
            "R1#m1",
        ]
        assert names(client, "Medication?_has:MedicationRequest:medication:status=stopped&_contained=true") == ["R2"]
        assert paged(client, f"Medication?{ABC}&_contained=true&_containedType=contained", 2) == ["R3#m1", "R3#m2", "R1#m1"]
        assert paged(client, "Medication?_contained=both&_sort=code,_id", 1) == ["R1", "R3", "R2"]
        assert names(client, f"MedicationRequest?medication.{ABC}&status=active") == ["R3", "R1"]
    asyncio.run(sweep(url, prefix))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"MedicationRequest?medication.{ABC}", "R1 R3"),
        (f"MedicationRequest?medication:Medication.code:not={SYSTEM}|abc", "R2"),
        ("MedicationRequest?medication.manufacturer.name=Inner", "R1"),
        ("MedicationRequest?medication.manufacturer.name=Inner,Outer&status=active", "R1"),
        ("MedicationRequest?medication.manufacturer.partof.name=Outer", "R1"),
        (f"MedicationRequest?medication.ingredient:Medication.{ABC}", "R3"),
        (f"MedicationRequest?medication.ingredient:Substance.code={SYSTEM}|sugar", "R1"),
        (f"MedicationDispense?medication.{ABC}&medication.status=inactive", "D1"),
        ("MedicationDispense?medication.status=active", ""),
        (f"Observation?has-member:Observation.code={SYSTEM}|o", "O1 O2"),
        ("Observation?has-member:Observation._content=quiet", "O2"),
        ("Observation?has-member:Observation.focus:Observation._id=ci-1", "O1"),
        (f"Patient?_has:MedicationRequest:subject:medication.{ABC}", "Patient/ci-p"),
        (f"Patient?_has:MedicationRequest:subject:medication.code={SYSTEM}|none", ""),
        (f"MedicationRequest?_filter=not (medication.code eq {SYSTEM}|abc)", "R2"),
        ("Medication?manufacturer.name=Outer", ""),
    ],
)
def test_chains_lead_into_contained_resources(served: httpx.Client, text: str, found: str) -> None:
    """A chained condition holds for a contained resource as for any other that is referred to."""
    assert " ".join(sorted(names(served, text))) == found


def test_chains_look_into_a_bounded_number(served: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a chain would have to look into too many, it is refused; other criteria narrow it."""
    monkeypatch.setattr(into, "MOST_READ", 1)
    monkeypatch.setattr(into, "_BATCH", 1)
    answer = served.get(f"MedicationRequest?medication.{ABC}")
    assert answer.status_code == 400 and "leads into contained resources" in problem(answer)
    assert names(served, f"MedicationRequest?medication.{ABC}&_id=ci-3") == ["R3"]


def test_conditional_writes_see_what_chains_lead_to(served: httpx.Client) -> None:
    """Criteria with a chain find a resource by what it contains."""
    made = request("ci-3", medication("m1", "abc", ingredient=item("#m2")), medication("m2", "abc"), on="2026-01-03")
    answer = served.put(f"MedicationRequest?medication.ingredient:Medication.{ABC}", json=made)
    assert answer.status_code == 200 and answer.headers["location"].partition("/fhir/")[2].startswith("MedicationRequest/ci-3/")


def test_the_latest_containers_of_a_type_come_first(served: httpx.Client) -> None:
    """Resources that stand for themselves, then containers by type, the latest of each first."""
    expected = ["Mown", "D1", "R3", "R1"]
    assert names(served, f"Medication?{ABC}&_contained=both") == expected


def test_contained_resources_come_as_they_are(served: httpx.Client) -> None:
    """The entry is the contained resource alone, to the byte; _elements cuts it and says so."""
    text = "Medication?_has:MedicationRequest:medication:_id=ci-1&_contained=true&_containedType=contained"
    answer = served.get(text)
    [entry] = answer.json()["entry"]
    assert entry["search"] == {"mode": "match"} and entry["resource"] == DOCUMENTS[5]["contained"][0]
    assert answer.text.partition('"resource":')[2].partition(',"search"')[0] in served.get("MedicationRequest/ci-1").text
    [cut] = served.get(f"{text}&_elements=code").json()["entry"]
    assert set(cut["resource"]) == {"resourceType", "id", "meta", "code"} and cut["resource"]["meta"]["tag"]


def test_containers_come_whole(served: httpx.Client) -> None:
    """The container is answered as a read would; _elements may name its own elements."""
    [entry] = served.get("Medication?_id=m2&_contained=true").json()["entry"]
    assert entry["resource"] == served.get("MedicationRequest/ci-3").json()
    bundle = served.get("Medication?_id=m2&_contained=true&_elements=intent").json()
    assert [
        set(entry["resource"]) >= {"intent", "meta"} and "authoredOn" not in entry["resource"] for entry in bundle["entry"]
    ] == [True]


@pytest.mark.parametrize("shown", ["container", "contained"])
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_pages(served: httpx.Client, both: bool, shown: str, count: int) -> None:
    """Pages give each match once, in one order, each with the same total; the last has no next link."""
    text = f"Medication?code={SYSTEM}|abc,{SYSTEM}|xyz&_contained={'both' if both else 'true'}&_containedType={shown}"
    expected = names(served, text)
    found = paged(served, text, count)
    assert found == expected and len(set(found)) == len(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Medication?code={}|abc,{}|xyz&_sort=-code,_id&_contained=true&_containedType=contained", "R2#m1 D1#m1 R1#m1 R3#m1 R3#m2"),
        ("Medication?code={}|abc,{}|xyz&_sort=-code&_contained=true", "R2 D1 R1 R3"),
        ("Medication?code={}|abc,{}|xyz&_sort=code,-_id&_contained=both", "R3 D1 R1 Mown R2 Mother"),
        ("Medication?code={}|abc,{}|xyz&_sort=status,-code&_contained=both", "D1 Mother R2 Mown R1 R3"),
        ("Observation?code={}|o&_sort=_id&_contained=both&_containedType=contained", "O1 O1#o2 O2#o2"),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 10])
def test_sorted(served: httpx.Client, text: str, expected: str, count: int) -> None:
    """By values of the contained resource, those that stand for themselves among them; what has none comes last, by its address."""
    assert paged(served, text.replace("{}", SYSTEM), count) == expected.split()


def test_too_many_to_sort(served: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all can be looked at, they cannot be sorted, and the answer is 400 with the reason."""
    monkeypatch.setattr(inside, "MOST_LOOKED_AT", 1)
    monkeypatch.setattr(inside, "_BATCH", 1)
    for contained in ("true", "both"):
        answer = served.get(f"Medication?_sort=code&_contained={contained}")
        assert answer.status_code == 400 and "too many to be sorted" in problem(answer)


def test_the_answer_tells_what_was_applied(served: httpx.Client) -> None:
    """`self` has both parameters; what has no effect is ignored, and said to be."""
    bundle = served.get(f"Medication?{ABC}&_contained=true&_containedType=contained").json()
    applied = dict(parse_qsl(urlsplit(bundle["link"][0]["url"]).query))
    assert applied == {"code": f"{SYSTEM}|abc", "_contained": "true", "_containedType": "contained"}
    bundle = served.get(f"Medication?{ABC}&_containedType=contained").json()
    assert dict(parse_qsl(urlsplit(bundle["link"][0]["url"]).query)) == {"code": f"{SYSTEM}|abc"}
    assert "_containedType was ignored" in bundle["entry"][-1]["resource"]["issue"][0]["details"]["text"]


def test_totals(served: httpx.Client) -> None:
    """`_summary=count` and `_count=0` count only; `_total=none` counts nothing."""
    text = f"Medication?{ABC}&_contained=both"
    for alone in ("_summary=count", "_count=0", "_count=0&_total=none"):
        bundle = served.get(f"{text}&{alone}").json()
        assert bundle["total"] == 4 and "entry" not in bundle
    bundle = served.get(f"{text}&_total=none&_count=2").json()
    assert "total" not in bundle and len(bundle["entry"]) == 2


def test_no_page_looks_at_too_many(served: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that has looked at as many containers as it may ends, says so and leads on; the total is then not known, which it says too."""
    monkeypatch.setattr(inside, "MOST_LOOKED_AT", 1)
    monkeypatch.setattr(inside, "_BATCH", 1)
    following: str | None = f"Medication?{ABC}&_contained=true"
    found: list[str] = []
    told = ""
    while following:
        bundle = served.get(following).json()
        assert "total" not in bundle
        entries = bundle.get("entry", [])
        found += [short(entry) for entry in entries if entry["search"]["mode"] == "match"]
        told += "".join(
            issue["details"]["text"] for e in entries if e["search"]["mode"] == "outcome" for issue in e["resource"]["issue"]
        )
        following = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
    assert found == ["D1", "R3", "R1"]
    assert "This page ends early" in told and "The total is not known" in told
    counted = served.get(f"Medication?{ABC}&_contained=true&_summary=count").json()
    assert "total" not in counted and "not known" in counted["entry"][0]["resource"]["issue"][0]["details"]["text"]


def test_changes_are_seen_at_once(served: httpx.Client) -> None:
    """What is contained from now on is found, and what is no more contained is not."""
    text = f"Medication?code={SYSTEM}|later&_contained=true"
    assert names(served, text) == []
    assert served.put("MedicationRequest/ci-9", json=request("ci-9", medication("m1", "later"))).status_code == 201
    assert names(served, text) == ["R9"]
    assert served.put("MedicationRequest/ci-9", json=request("ci-9", medication("m1", "never"))).status_code == 200
    assert names(served, text) == []
    assert served.delete("MedicationRequest/ci-9").status_code == 204
    assert names(served, f"Medication?code={SYSTEM}|never&_contained=true") == []


def test_in_a_form_and_in_a_batch(served: httpx.Client) -> None:
    """POST _search and batch entries search so too."""
    form = served.post("Medication/_search", data={"_id": "m2", "_contained": "true"}).json()
    entry = {"request": {"method": "GET", "url": "Medication?_id=m2&_contained=true"}}
    batch = served.post("", json={"resourceType": "Bundle", "type": "batch", "entry": [entry]}).json()
    for bundle in (form, batch["entry"][0]["resource"]):
        assert [one["resource"]["id"] for one in bundle["entry"]] == ["ci-3"]


def test_the_search_is_explained(served: httpx.Client) -> None:
    """`_explain` tells how many containers were looked at."""
    bundle = served.get("Medication?manufacturer.name=Outer&_contained=true&_explain=true").json()
    told = " ".join(issue["details"]["text"] for issue in bundle["entry"][-1]["resource"]["issue"])
    assert "4 resources that contain others of type Medication were read" in told and "lead to: 1" in told


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Medication?_contained=all", "_contained is one of"),
        ("Medication?_contained=true&_containedType=all", "_containedType is one of"),
        ("Medication?_contained=true&_sort=manufacturer.name", "_sort"),
        ("Medication?_contained=true&_content=x&_sort=_score", "_sort"),
        ("Medication?_contained=true&_include=Medication:manufacturer", "_include"),
        ("Medication?_contained=both&_revinclude=Provenance:target", "_revinclude"),
        ("Patient/ci-p/MedicationRequest?_contained=true", "only a search of one type"),
        ("?_type=Medication,Substance&_contained=true", "only a search of one type"),
        ("Observation/$lastn?patient=ci-p&_contained=true", "_contained"),
    ],
)
def test_what_is_refused(served: httpx.Client, text: str, why: str) -> None:
    """What cannot be told, or not together, is 400 with the reason."""
    answer = served.get(text)
    assert answer.status_code == 400 and why in problem(answer)


def test_conditional_writes_take_no_contained_resources(served: httpx.Client) -> None:
    """Criteria name resources that stand for themselves: a contained one can be neither updated nor deleted."""
    criteria = f"{ABC}&_contained=true"
    created = served.post("Medication", json=medication("x", "abc"), headers={"If-None-Exist": criteria})
    updated = served.put(f"Medication?{criteria}", json=medication("ci-own", "abc"))
    deleted = served.delete(f"Medication?{criteria}")
    for answer in (created, updated, deleted):
        assert answer.status_code == 400 and "only a search of one type" in problem(answer)


def test_page_links_belong_to_one_kind_of_search(served: httpx.Client) -> None:
    """The link of one `_contained` is refused with another."""
    bundle = served.get(f"Medication?{ABC}&_contained=true&_count=1").json()
    [following] = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
    for changed in (following.replace("_contained=true", "_contained=both"), following.replace("&_contained=true", "")):
        answer = served.get(changed)
        assert answer.status_code == 400 and "page link" in problem(answer)
