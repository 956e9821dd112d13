"""Search parameters of one's own: http://hl7.org/fhir/R4/search.html#extensions and http://hl7.org/fhir/R4/searchparameter.html"""

import asyncio
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
from contracts.index_harness import TINY
from indexing.feed_harness import sweep
from indexing.serving import Process, processes
from services.running import service

from search.indexes.sqlite.index import SqliteIndex
from tests.api.conftest import Running, problem

Json = dict[str, Any]
URL = "http://example.org/fhir/StructureDefinition"


class Tiny(SqliteIndex):
    """An index with limits at which a few documents are many."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more, limits=TINY)


def definition(code: str, type: str, expression: str, *base: str, **more: Any) -> Json:
    return {
        "resourceType": "SearchParameter",
        "id": code,
        "url": f"http://example.org/fhir/SearchParameter/{code}",
        "name": code.replace("-", ""),
        "status": "active",
        "description": "A test's own",
        "code": code,
        "base": list(base or ("Patient",)),
        "type": type,
        "expression": expression,
        **more,
    }


def person(id: str, **more: Any) -> Json:
    return {"resourceType": "Patient", "id": id, **more}


def eye(color: str) -> Json:
    return {"extension": [{"url": f"{URL}/eye", "valueCode": color}]}


EYE = f"Patient.extension.where(url = '{URL}/eye').value"


ENGINES = ("sqlite", "memory", "elasticsearch")


@contextmanager
def serving(engine: str, folder: Path) -> Iterator[httpx.Client]:
    """A server of a test's own: added parameters concern all who use a server."""
    prefix = f"test{secrets.token_hex(4)}"
    settings = {
        "sqlite": {},
        "memory": {"store_url": "memory://"},
        "elasticsearch": {"search_url": service("elasticsearch"), "search_prefix": prefix, "search_wait": 60}
        if engine == "elasticsearch"
        else {},
    }[engine]
    one = Running(folder, **settings)
    one.start()
    try:
        with httpx.Client(base_url=f"{one.root}/fhir/", timeout=90) as client:
            yield client
    finally:
        one.stop()
        if engine == "elasticsearch":
            asyncio.run(sweep(settings["search_url"], prefix))


@pytest.fixture(params=ENGINES)
def own(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A server of the test's own with each engine."""
    with serving(request.param, tmp_path) as client:
        yield client


def put(client: httpx.Client, resource: Json) -> httpx.Response:
    answer = client.put(f"{resource['resourceType']}/{resource['id']}", json=resource)
    assert answer.status_code in (200, 201), answer.text
    return answer


def got(client: httpx.Client, query: str) -> httpx.Response:
    """The answer, once what the search needs is there."""
    deadline = time.monotonic() + 60
    while (answer := client.get(query)).status_code == 503 and time.monotonic() < deadline:
        assert int(answer.headers["Retry-After"]) > 0
        time.sleep(0.05)
    return answer


def found(client: httpx.Client, query: str) -> list[str]:
    answer = got(client, query)
    assert answer.status_code == 200, answer.text
    ids = sorted(entry["resource"]["id"] for entry in answer.json().get("entry", []))
    assert answer.json()["total"] == len(ids)
    return ids


KINDS = [
    ("token", EYE, "x=brown", "1 2"),
    ("token", EYE, "x=blue,green", "3"),
    ("token", EYE, "x:not=brown", "3 4"),
    ("token", EYE, "x:missing=true", "4"),
    ("token", EYE, "x:missing=false&gender=male", "1 3"),
    ("token", EYE, "x=brown&gender=male", "1"),
    ("token", EYE, "x=brown&_id=2,3", "2"),
    ("string", "Patient.maritalStatus.text", "x=wid", "2"),
    ("string", "Patient.maritalStatus.text", "x:exact=Widowed", "2"),
    ("string", "Patient.maritalStatus.text", "x:contains=IDO", "2"),
    ("date", "Patient.identifier.period", "x=ge2020", "3"),
    ("date", "Patient.identifier.period", "x=lt2020", "1"),
    ("number", "Patient.multipleBirth as integer", "x=2", "1"),
    ("number", "Patient.multipleBirth as integer", "x=gt2", "2"),
    ("reference", "Patient.contact.organization", "x=Organization/9", "4"),
    ("uri", "Patient.extension.url", f"x={URL}/eye", "1 2 3"),
]


@pytest.fixture(scope="module", params=ENGINES)
def people(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A server with four patients."""
    with serving(request.param, tmp_path_factory.mktemp("custom")) as client:
        put(client, person("1", gender="male", multipleBirthInteger=2, identifier=[{"period": {"end": "2019"}}], **eye("brown")))
        put(client, person("2", maritalStatus={"text": "Widowed"}, multipleBirthInteger=3, **eye("brown")))
        put(client, person("3", gender="male", identifier=[{"period": {"start": "2021-05-01", "end": "2022"}}], **eye("blue")))
        put(client, person("4", contact=[{"organization": {"reference": "Organization/9"}}]))
        yield client


@pytest.mark.parametrize(("type", "expression", "query", "ids"), KINDS)
def test_kinds(people: httpx.Client, type: str, expression: str, query: str, ids: str) -> None:
    """A parameter of any kind finds what was stored before it was added, alone and with others."""
    put(people, definition("x", type, expression))
    assert found(people, f"Patient?{query}") == ids.split()


def test_life(own: httpx.Client) -> None:
    """From the first definition to its deletion, each search sees every write before it, and the CapabilityStatement tells the truth."""

    def offered() -> list[str]:
        resources = {r["type"]: r for r in own.get("metadata").json()["rest"][0]["resource"]}
        return [p["name"] for p in resources["Patient"]["searchParam"] if p["definition"].startswith("http://example.org/")]

    put(own, person("a", **eye("brown")))
    assert own.get("Patient?eye=brown").status_code == 400
    put(own, definition("eye", "token", EYE))
    assert offered() == ["eye"]
    assert found(own, "Patient?eye=brown") == ["a"]
    put(own, person("a", **eye("blue")))
    put(own, person("b", **eye("brown")))
    assert found(own, "Patient?eye=brown") == ["b"]
    assert found(own, "Patient?eye=blue") == ["a"]
    own.delete("Patient/a")
    assert found(own, "Patient?eye=blue") == []
    put(own, person("a", **eye("green")))
    assert found(own, "Patient?eye=green,brown") == ["a", "b"]
    put(own, definition("eye", "string", "Patient.name.text"))
    assert found(own, "Patient?eye=green") == []
    put(own, definition("eye", "token", EYE, status="retired"))
    assert offered() == []
    assert "no search parameter 'eye'" in problem(own.get("Patient?eye=green"))
    put(own, definition("eye", "token", EYE))
    assert found(own, "Patient?eye=green") == ["a"]
    assert own.post("$reindex").status_code == 202
    assert found(own, "Patient?eye=green") == ["a"]
    own.delete("SearchParameter/eye")
    assert (offered(), own.get("Patient?eye=green").status_code, own.post("$reindex").status_code) == ([], 400, 200)


@pytest.mark.parametrize("own", ["sqlite", "memory"], indirect=True)
def test_many_documents(own: httpx.Client) -> None:
    """Pages, totals and negation over more documents than one batch has."""
    entries = [
        {"resource": person(f"m{n}", **eye(f"c{n % 3}")), "request": {"method": "PUT", "url": f"Patient/m{n}"}} for n in range(330)
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    assert own.post("", json=bundle).status_code == 200
    put(own, definition("eye", "token", EYE))
    url: str | None = "Patient?eye=c1&_count=50"
    seen: list[str] = []
    while url:
        page = got(own, url).json()
        assert page["total"] == 110
        seen += [entry["resource"]["id"] for entry in page["entry"]]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    assert sorted(seen) == sorted(f"m{n}" for n in range(330) if n % 3 == 1)
    assert own.get("Patient?eye:not=c1&_summary=count").json()["total"] == 220


def test_other_processes(tmp_path: Path) -> None:
    """Another server on the same data knows a definition within moments, also after a restart."""
    servers = [Running(tmp_path), Running(tmp_path)]
    for one in servers:
        one.start()
    try:
        with httpx.Client(timeout=90) as client:
            first, second = (f"{one.root}/fhir" for one in servers)
            client.put(f"{first}/SearchParameter/eye", json=definition("eye", "token", EYE))
            client.put(f"{first}/Patient/a", json=person("a", **eye("brown")))
            deadline = time.monotonic() + 60
            while (answer := client.get(f"{second}/Patient?eye=brown")).status_code != 200:
                assert time.monotonic() < deadline, answer.text
                time.sleep(0.1)
            assert answer.json()["total"] == 1
            client.put(f"{second}/Patient/b", json=person("b", **eye("brown")))
            assert client.get(f"{first}/Patient?eye=brown").json()["total"] == 2
    finally:
        for one in servers:
            one.stop()
    again = Running(tmp_path)
    again.start()
    try:
        assert httpx.get(f"{again.root}/fhir/Patient?eye=brown").json()["total"] == 2
    finally:
        again.stop()


def test_a_reindex_counts_for_all_processes(tmp_path: Path) -> None:
    """After `$reindex` through one process no other goes on answering by what there was, though nothing has been committed since."""
    one, other = Process(tmp_path), Process(tmp_path)
    with processes(one, other):
        assert one.client.put("SearchParameter/eye", json=definition("eye", "token", EYE)).status_code == 201
        assert one.client.put("Patient/a", json=person("a", **eye("brown"))).status_code == 201
        for each in (one, other):
            deadline = time.monotonic() + 60
            while each.client.get("Patient?eye=brown").status_code != 200 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert found(each.client, "Patient?eye=brown") == ["a"]
        with closing(apsw.Connection(str(tmp_path / "data" / "fhir.db"))) as file:  # damage that a `$reindex` is there to mend
            file.set_busy_timeout(60_000)
            file.execute("DELETE FROM idx WHERE (pid, v, d, rid, w) IN (SELECT pid, v, d, rid, w FROM crow)")
        assert found(other.client, "Patient?eye=brown") == []
        assert one.client.post("$reindex").status_code == 202
        assert found(other.client, "Patient?eye=brown") == ["a"]


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"expression": "Patient.nme"}, "cannot be used"),
        ({"expression": "Patient.name.where("}, "cannot be used"),
        ({"expression": "Observation.code"}, "speak of other types"),
        ({"expression": "Patient.name"}, "HumanName, which a parameter of the type token cannot search"),
        ({"expression": None}, "Without an expression"),
        ({"code": "gender"}, "Patient has a search parameter gender already"),
        ({"code": "a:b"}, "cannot be used in a URL"),
        ({"code": "_x"}, "cannot be used in a URL"),
        ({"base": ["Resource"]}, "not abstract ones"),
        ({"base": ["AuditEvent"]}, "No parameter can be added to AuditEvent"),
        ({"type": "special"}, "cannot be added"),
    ],
)
def test_what_cannot_work(people: httpx.Client, changed: Json, text: str) -> None:
    """A definition that cannot work is refused with every reason; as a draft it may be stored."""
    made = {key: value for key, value in {**definition("bad", "token", EYE), **changed}.items() if value is not None}
    answer = people.put("SearchParameter/bad", json=made)
    assert answer.status_code == 422
    assert text in "; ".join(issue["details"]["text"] for issue in answer.json()["issue"])
    assert people.put("SearchParameter/bad", json={**made, "status": "draft"}).status_code in (200, 201)
    people.delete("SearchParameter/bad")


FRIEND = f"Patient.extension.where(url = '{URL}/friend').value as Reference"
MOOD = f"Observation.extension.where(url = '{URL}/mood').value"


def friend(id: str) -> Json:
    return {"url": f"{URL}/friend", "valueReference": {"reference": f"Patient/{id}"}}


@pytest.fixture(scope="module", params=[*ENGINES, "sqlite, every way"])
def friends(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A server with Patients that know each other, and Observations of them, with added parameters of several kinds."""
    with pytest.MonkeyPatch.context() as patched, ExitStack() as stack:
        if "every way" in request.param:  # limits at which a few documents are many
            patched.setattr("fhir_server.app.SqliteIndex", Tiny)
        client = stack.enter_context(serving(request.param.partition(",")[0], tmp_path_factory.mktemp("friends")))
        put(client, definition("friend", "reference", FRIEND, target=["Patient"]))
        put(client, definition("eye", "token", EYE))
        put(client, definition("twin", "number", "Patient.multipleBirth as integer"))
        put(client, definition("wed", "string", "Patient.maritalStatus.text"))
        put(client, definition("mood", "token", MOOD, "Observation"))
        put(client, person("1", birthDate="1990-01-01", multipleBirthInteger=3, **eye("brown")))
        put(
            client,
            person("2", birthDate="1980-01-01", maritalStatus={"text": "Wed"}, extension=[friend("1"), *eye("blue")["extension"]]),
        )
        put(client, person("3", multipleBirthInteger=20, maritalStatus={"text": "Divorced"}, extension=[friend("1"), friend("2")]))
        put(client, person("4", extension=[friend("gone")]))
        for id, subject, mood in (("a", "1", "good"), ("b", "2", "bad"), ("c", "3", "good")):
            more = {"subject": {"reference": f"Patient/{subject}"}, "extension": [{"url": f"{URL}/mood", "valueCode": mood}]}
            put(client, {"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"}, **more})
        yield client


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("Patient?_sort=eye", "2 1"),
        ("Patient?_sort=-eye", "1 2"),
        ("Patient?_sort=twin", "1 3"),
        ("Patient?_sort=-twin", "3 1"),
        ("Patient?_sort=wed,-twin", "3 2 1"),
        ("Patient?_sort=friend:Patient.birthdate", "3 2"),
        ("Patient?_sort=-friend.twin", ""),
        ("Observation?_sort=subject:Patient.eye", "b a"),
        ("Observation?_sort=-subject:Patient.twin", "c a"),
        ("Patient?friend=1", "2 3"),
        ("Patient?friend.eye=brown", "2 3"),
        ("Patient?friend:Patient.birthdate=lt1985", "3"),
        ("Patient?friend.friend.twin=3", "3"),
        ("Observation?subject:Patient.eye=brown,blue", "a b"),
        ("Observation?patient.friend.birthdate=1990-01-01", "b c"),
        ("Patient?_has:Observation:patient:mood=good", "1 3"),
        ("Patient?_has:Patient:friend:twin=gt10", "1 2"),
        ("Patient?_has:Patient:friend:_id=2", "1"),
        ('Patient?_filter=friend.eye eq brown and wed sw "w"', "2"),
        ("Patient?_id=3&_include=Patient:friend", "3 +1 +2"),
        ("Patient?_id=3&_include=Patient:friend:Patient", "3 +1 +2"),
        ("Patient?_id=3&_include:iterate=Patient:friend", "3 +1 +2"),
        ("Patient?_id=1&_revinclude=Patient:friend", "1 +2 +3"),
        ("Observation?_id=b&_include=Observation:subject&_include:iterate=Patient:friend", "b +1 +2"),
        ("Patient?_id=4&_include=Patient:friend", "4"),
    ],
)
def test_sorted_chained_included(friends: httpx.Client, query: str, ids: str) -> None:
    """Added parameters sort, lead through chains, and include, as the official ones do; what has no value comes last."""
    answer = got(friends, query)
    assert answer.status_code == 200, answer.text
    entries = [(entry["search"]["mode"], entry["resource"]["id"]) for entry in answer.json().get("entry", [])]
    matches = [id for mode, id in entries if mode == "match"]
    included = sorted(f"+{id}" for mode, id in entries if mode == "include")
    if "_sort" in query:
        assert matches[: len(ids.split())] == ids.split()
        assert len(matches) == answer.json()["total"]
    else:
        assert [*sorted(matches), *included] == ids.split()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("Patient?eye.name=x", "Patient.eye is no reference that can be followed"),
        ("Patient?_include=Patient:eye", "names no reference parameter of Patient"),
        ("Patient?friend:Group.name=x", "never refers to a Group"),
        ("Patient?friend:identifier=1", "what :identifier looks at is not indexed for parameters that were added"),
    ],
)
def test_what_leads_nowhere(friends: httpx.Client, query: str, text: str) -> None:
    """What is no reference, or none to that type, is refused as it is with official parameters."""
    answer = friends.get(query)
    assert answer.status_code == 400
    assert text in problem(answer)


def test_survives_an_index_made_anew(tmp_path: Path) -> None:
    """Where a release makes the index anew at its start, added parameters and words are found as before."""
    query = "Patient?eye=brown&_text=told"
    narrative = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">told</div>'}
    for round in range(2):
        one = Running(tmp_path)
        one.start()
        try:
            with httpx.Client(base_url=f"{one.root}/fhir/", timeout=90) as client:
                if round == 0:
                    put(client, definition("eye", "token", EYE))
                    put(client, person("a", text=narrative, **eye("brown")))
                assert found(client, query) == ["a"]
                put(client, person(f"b{round}", text=narrative, **eye("brown")))
                assert found(client, query) == ["a", f"b{round}"]
                client.delete(f"Patient/b{round}")
                assert found(client, query) == ["a"]
        finally:
            one.stop()
        connection = apsw.Connection(str(tmp_path / "fhir.db"))
        connection.execute("UPDATE idx_state SET value = 'of an older release'")
        connection.close()


def test_many_servers_write_and_search_at_once(tmp_path: Path) -> None:
    """Two servers on one file, each writing and searching by an added parameter and by words: no write is ever missed."""
    servers = [Running(tmp_path), Running(tmp_path)]
    for one in servers:
        one.start()
    missed: list[str] = []

    def work(number: int) -> None:
        with httpx.Client(timeout=90) as client:
            own, other = (f"{servers[n].root}/fhir" for n in (number, 1 - number))
            for turn in range(40):
                name = f"w{number}x{turn}"
                text = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{name}</div>'}
                client.put(f"{own}/Patient/{name}", json=person(name, text=text, **eye(name))).raise_for_status()
                for query in (f"eye={name}", f"_text={name}"):
                    answer = client.get(f"{other}/Patient?{query}")
                    if answer.status_code != 200 or answer.json()["total"] != 1:
                        missed.append(f"{query}: {answer.text[:200]}")
                client.put(f"{other}/Patient/{name}", json=person(name, **eye("none"))).raise_for_status()
                answer = client.get(f"{own}/Patient?eye={name}")
                if answer.json().get("total") != 0:
                    missed.append(f"stale {name}: {answer.text[:200]}")

    try:
        httpx.put(f"{servers[0].root}/fhir/SearchParameter/eye", json=definition("eye", "token", EYE))
        deadline = time.monotonic() + 60
        while httpx.get(f"{servers[1].root}/fhir/Patient?eye=x").status_code != 200:
            assert time.monotonic() < deadline, "the other server never knew"
            time.sleep(0.1)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, range(2)))
    finally:
        for one in servers:
            one.stop()
    assert missed == []
