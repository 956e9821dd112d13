"""search over several types, and within compartments: http://hl7.org/fhir/R4/http.html#search"""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.api.conftest import problem
from tests.api.making import link, pages

TAG = "urn:across|here"
META = {"tag": [{"system": "urn:across", "code": "here"}]}


@pytest.fixture(scope="module", autouse=True)
def documents(api: httpx.Client) -> None:
    """Documents of four types with one tag, written one after the other, in an encounter and with a practitioner."""
    encounter, doctor = {"reference": "Encounter/ac-e"}, {"reference": "Practitioner/ac-dr"}
    subject = {"reference": "Patient/ac-p"}
    made: list[dict[str, Any]] = [
        {"resourceType": "Patient", "id": "ac-p", "birthDate": "1980-01-01"},
        {"resourceType": "Practitioner", "id": "ac-dr", "name": [{"family": "Across"}]},
        {"resourceType": "Encounter", "id": "ac-e", "status": "finished", "class": {"code": "AMB"}, "subject": subject,
         "participant": [{"individual": doctor}]},
        {"resourceType": "Device", "id": "ac-d"},
        {"resourceType": "RelatedPerson", "id": "ac-r", "patient": subject},
    ]  # fmt: skip
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": subject}
    made += [observation | {"id": f"ac-o{n}", "encounter": encounter, "performer": [doctor]} for n in range(3)]
    made += [observation | {"id": "ac-o9", "device": {"reference": "Device/ac-d"}}]
    made += [{"resourceType": "Patient", "id": f"ac-p{n}"} for n in range(3)]
    for document in made:
        assert api.put(f"{document['resourceType']}/{document['id']}", json=document | {"meta": META}).is_success


def found(bundle: dict[str, Any], mode: str = "match") -> list[str]:
    return [
        f"{e['resource']['resourceType']}/{e['resource']['id']}" for e in bundle.get("entry", []) if e["search"]["mode"] == mode
    ]


def test_named_types(api: httpx.Client, base: str) -> None:
    """_type names the types; the total counts them all, and self says what was asked."""
    bundle = api.get(f"{base}?_type=Encounter,Patient&_tag={TAG}").json()
    assert sorted(found(bundle)) == ["Encounter/ac-e", "Patient/ac-p", "Patient/ac-p0", "Patient/ac-p1", "Patient/ac-p2"]
    assert bundle["total"] == 5
    own = urlsplit(link(bundle, "self"))
    assert f"{own.scheme}://{own.netloc}{own.path}" == base
    assert parse_qsl(own.query) == [("_type", "Encounter,Patient"), ("_tag", TAG)]


@pytest.mark.parametrize("sort", ["", "&_sort=_lastUpdated", "&_sort=-_lastUpdated", "&_sort=_id", "&_sort=-_id,_lastUpdated"])
@pytest.mark.parametrize("count", [1, 3, 5, 100])
def test_pages_meet(api: httpx.Client, base: str, sort: str, count: int) -> None:
    """Every match comes once over the pages, in the order asked for across the types; each page has the total."""
    all_pages = list(pages(api, f"{base}?_type=Observation,Patient,Practitioner&_tag={TAG}&_count={count}{sort}"))
    entries = [entry["resource"] for page in all_pages for entry in page.get("entry", [])]
    assert len({(e["resourceType"], e["id"]) for e in entries}) == len(entries) == 9
    assert {page["total"] for page in all_pages} == {9}
    if sort:
        values = [e["id"] if "_id" in sort else e["meta"]["lastUpdated"] for e in entries]
        assert values == sorted(values, reverse="=-" in sort)


def test_all_types(api: httpx.Client, base: str) -> None:
    """Without _type every type is searched, by GET and by POST."""
    bundle = api.get(f"{base}?_tag={TAG}&_count=50").json()
    assert bundle["total"] == len(found(bundle)) == 12
    form = api.post(f"{base}/_search", data={"_tag": TAG, "_count": "50"}).json()
    assert found(form) == found(bundle)
    assert api.get(f"{base}?_tag={TAG}&_summary=count").json()["total"] == 12


def test_one_named_type_is_that_type(api: httpx.Client, base: str) -> None:
    """One type alone takes all of its parameters and can be sorted by them."""
    bundle = api.get(f"{base}?_type=Patient&birthdate=1980-01-01&_tag={TAG}&_sort=birthdate").json()
    assert found(bundle) == ["Patient/ac-p"]


def test_common_parameters(api: httpx.Client, base: str) -> None:
    """A parameter that all named types have is one of the search; includes start from any of the types."""
    bundle = api.get(
        f"{base}?_type=Observation,Encounter&patient=ac-p&_tag={TAG}&_include=Encounter:participant&_include=Observation:device"
    ).json()
    assert bundle["total"] == 5
    assert sorted(found(bundle, "include")) == ["Device/ac-d", "Practitioner/ac-dr"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "something to look for"),
        ("_count=5&_sort=_id", "something to look for"),
        ("_tag=", "something to look for"),
        ("_type=", "names no resource type"),
        ("_type:not=Patient", "_type takes no modifier, such as :not"),
        ("_type=Patient,Observaton", "did you mean Observation"),
        ("_type=Patient&_type=Observation", "more than once"),
        ("_type=Patient,Observation&birthdate=1980", "what all of them have"),
        ("_type=Patient,Observation&_id=1&_sort=birthdate", "_id or _lastUpdated only"),
        ("_id=1&_sort=_id", "At most 20 types"),
        ("_type=Patient,Observation&_include=Encounter:subject", "Patient:parameter or Observation:parameter"),
    ],
)
def test_refused(api: httpx.Client, base: str, query: str, says: str) -> None:
    """What cannot be asked of several types is 400 with the reason."""
    answer = api.get(f"{base}?{query}")
    assert answer.status_code == 400
    assert says in problem(answer)


def test_lenient(api: httpx.Client, base: str) -> None:
    """What one of the types lacks is ignored for all of them, and the Bundle says so once."""
    bundle = api.get(f"{base}?_type=Patient,Observation&_tag={TAG}&birthdate=1980", headers={"Prefer": "handling=lenient"}).json()
    assert bundle["total"] == 8
    assert "birthdate" not in link(bundle, "self")
    [outcome] = [e for e in bundle["entry"] if e["search"]["mode"] == "outcome"]
    [issue] = outcome["resource"]["issue"]
    assert "birthdate" in issue["details"]["text"]


def test_explained(api: httpx.Client, base: str) -> None:
    """_explain tells how each type was counted."""
    bundle = api.get(f"{base}?_type=Patient,Observation&_tag={TAG}&_explain=true").json()
    [outcome] = [e for e in bundle["entry"] if e["search"]["mode"] == "outcome"]
    texts = [issue["details"]["text"] for issue in outcome["resource"]["issue"]]
    assert any(text.startswith("Patient: ") for text in texts) and any(text.startswith("Observation: ") for text in texts)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Encounter/ac-e/Observation", ["Observation/ac-o0", "Observation/ac-o1", "Observation/ac-o2"]),
        ("Encounter/ac-e/Observation?_id=ac-o1", ["Observation/ac-o1"]),
        ("Encounter/ac-e/Encounter", ["Encounter/ac-e"]),
        ("Practitioner/ac-dr/Encounter", ["Encounter/ac-e"]),
        ("Practitioner/ac-dr/Observation", ["Observation/ac-o0", "Observation/ac-o1", "Observation/ac-o2"]),
        ("Device/ac-d/Observation", ["Observation/ac-o9"]),
        ("RelatedPerson/ac-r/RelatedPerson", ["RelatedPerson/ac-r"]),
        ("RelatedPerson/ac-r/Observation", []),
        ("Encounter/ac-e/*", ["Encounter/ac-e", "Observation/ac-o0", "Observation/ac-o1", "Observation/ac-o2"]),
        ("Device/ac-d/*", ["Device/ac-d", "Observation/ac-o9"]),
        ("Patient/ac-p/*?_type=Encounter,RelatedPerson", ["Encounter/ac-e", "RelatedPerson/ac-r"]),
        ("Patient/ac-p1/*?_type=Patient,Encounter", ["Patient/ac-p1"]),
        ("Encounter/ac-x/Observation", []),
    ],
)
def test_compartments(api: httpx.Client, path: str, expected: list[str]) -> None:
    """Each of the five compartments holds what refers to its owner, and the owner; * is all types of it."""
    bundle = api.get(f"{path}{'&' if '?' in path else '?'}_tag={TAG}").json()
    assert sorted(found(bundle)) == expected
    assert bundle["total"] == len(expected)


def test_compartment_pages(api: httpx.Client) -> None:
    """Links stay within the compartment; a page link of another one is 400. POST _search is the same search."""
    first = api.get("Encounter/ac-e/*?_count=1").json()
    following = link(first, "next")
    assert "/Encounter/ac-e/*?" in following and found(api.get(following).json())
    assert api.get(following.replace("ac-e", "ac-x")).status_code == 400
    assert api.post("Encounter/ac-e/*/_search", data={"_count": "1"}).json()["total"] == first["total"]


def test_within_a_batch(api: httpx.Client, base: str) -> None:
    """Entries of a batch search the same way."""
    urls = [f"?_type=Patient,Encounter&_tag={TAG}", "Encounter/ac-e/*", "Practitioner/ac-dr/Encounter"]
    body = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": url}} for url in urls]}
    answers = [entry["resource"] for entry in api.post(base, json=body).json()["entry"]]
    assert [answer.get("total") for answer in answers] == [5, 4, 1]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("Encounter/ac-e/Patien", "not a resource type"),
        ("Encounter/ac-e/Organization", "never lies in the Encounter compartment"),
        ("Encounter/ac-e/*?_type=Organization", "never lies"),
        ("Organization/1/Patient", "only for"),
    ],
)
def test_no_such_part(api: httpx.Client, path: str, says: str) -> None:
    """What is no part of a compartment is 404 with the reason."""
    answer = api.get(path)
    assert answer.status_code == 404
    assert says in problem(answer)


OF_FILTER = " or ".join(f"_id eq {n}" for n in range(140))


@pytest.mark.parametrize(
    "form",
    [
        {"_filter": OF_FILTER},
        {"_id": [",".join(str(turn + n) for n in range(10)) for turn in range(14)]},
        {"_has:Provenance:target:_id": [str(n) for n in range(140)]},
        {f"target.famly{n}": "a" for n in range(3)},
    ],
    ids=["a long filter", "lists of ids", "many reverse chains", "misspelt chains"],
)
def test_too_much_for_all_types(api: httpx.Client, base: str, form: dict[str, Any]) -> None:
    """What would have to be read for each of all types beyond any use is refused at once, and the answer says to name types."""
    answer = api.post(f"{base}/_search", data=form)
    assert answer.status_code == 400 and answer.json()["issue"][0]["code"] == "too-costly"
    assert "Name the types that you need with _type" in problem(answer)


def test_much_for_one_type(api: httpx.Client, base: str) -> None:
    """The same expression is answered where one type is named."""
    assert api.post(f"{base}/_search", data={"_filter": OF_FILTER, "_type": "Patient"}).status_code == 200
