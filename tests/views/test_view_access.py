"""Whose rows a caller gets: of what their token may search, and nothing else, by a run or by an export; and who hangs up."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.conftest import serving
from exporting.asking import KICK_OFF, finished, refused
from exporting.people import POPULATION, observation
from oauth.world import USERS, OAuth, by_user

from fhir_server.exporting.snapshot import at_position
from fhir_server.operations import run_view
from fhir_server.views import finding, running
from smart_auth.access import OPERATOR, Access

Json = dict[str, Any]

VIEW: Json = {
    "resourceType": "ViewDefinition", "id": "observed", "url": "http://example.org/observed", "name": "observed", "status": "active",
    "resource": "Observation", "select": [{"column": [{"name": "id", "path": "id"}]}],
}  # fmt: skip
PEOPLE: Json = VIEW | {"id": "people", "resource": "Patient", "name": "people"}
OF_ANNA = observation("of-anna", "Patient/anna")
EVERY = ["o-device", "o1", "o2", "o3", "o4", "of-anna"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuth]:
    """A server with sign-in, a small population, and views."""
    server = OAuth(tmp_path_factory.mktemp("oauth"), jobs_at_once=100, rate_limit_polls="off")
    for document in (*POPULATION, OF_ANNA, VIEW, PEOPLE):
        name = f"/fhir/{document['resourceType']}/{document['id']}"
        server.http.put(name, json=document, headers=server.bearer("everything")).raise_for_status()
    yield server
    server.close()


def client(world: OAuth, access: Access | str) -> httpx.Client:
    """A caller with a token."""
    token = world.tokens[access] if isinstance(access, str) else world.issued(access)
    return httpx.Client(base_url=f"{world.root}/fhir/", timeout=30, headers={"Authorization": f"Bearer {token}"})


def service(scopes: str) -> Access:
    return Access(OPERATOR, OPERATOR, scopes, 0)


def parameters(view: Json | str, **simple: str) -> Json:
    """The Parameters of a run."""
    given: Json = {"name": "viewResource", "resource": view}
    if isinstance(view, str):
        given = {"name": "viewReference", "valueReference": {"reference": view}}
    texts = [{"name": name, "valueString": value} for name, value in simple.items()]
    return {"resourceType": "Parameters", "parameter": [given, *texts]}


def run(caller: httpx.Client, view: Json | str = VIEW, **simple: str) -> httpx.Response:
    return caller.post("ViewDefinition/$run", json=parameters(view, **simple))


def export(caller: httpx.Client, view: Json | str = VIEW, **simple: str) -> httpx.Response:
    """The answer to a kick-off."""
    given = parameters(view, **simple)["parameter"]
    body = {"resourceType": "Parameters", "parameter": [{"name": "view", "part": given[:1]}, *given[1:]]}
    return caller.post("$viewdefinition-export", json=body, headers=KICK_OFF)


def files(caller: httpx.Client, begun: httpx.Response) -> list[str]:
    """The addresses of the files of an export of one view."""
    assert begun.status_code == 202, begun.text
    result = caller.get(finished(caller, begun.headers["content-location"]).headers["location"])
    [output] = [each for each in result.json()["parameter"] if each["name"] == "output"]
    return [part["valueUri"] for part in output["part"][1:]]


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return sorted(row["id"] for row in answer.json())


def exported(caller: httpx.Client, view: Json | str = VIEW, **simple: str) -> list[str]:
    [url] = files(caller, export(caller, view, _format="json", **simple))
    return ids(caller.get(url))


ANNA = by_user(USERS[0], "patient/*.rs", patient="anna")
CALLERS = [
    ("everything", service("system/*.rs"), EVERY),
    ("a patient", ANNA, ["of-anna"]),
    ("a narrowed scope", service("system/Observation.rs?code=http://loinc.org|718-7"), ["o2", "o4"]),
]


@pytest.mark.parametrize(("access", "found"), [each[1:] for each in CALLERS], ids=[each[0] for each in CALLERS])
def test_rows_are_of_what_the_token_may_search(world: OAuth, access: Access | str, found: list[str]) -> None:
    """By a run and by an export alike."""
    with client(world, access) as caller:
        assert ids(run(caller)) == found
        assert exported(caller) == found


def test_patients_are_not_asked_about(world: OAuth) -> None:
    """A patient who names another one, or a Group, learns nothing of them."""
    with client(world, ANNA) as caller:
        assert ids(run(caller, patient="Patient/anna")) == ["of-anna"]
        assert "Patient/p1 does not exist" in refused(run(caller, patient="Patient/p1"), 400)
        assert "Patient/p1 does not exist" in refused(export(caller, patient="Patient/p1"), 404)
        assert refused(run(caller, group="Group/g"), 403, 404) and refused(export(caller, group="Group/g"), 403, 404)


@pytest.mark.parametrize("ask", [run, export])
def test_too_little_access(world: OAuth, ask: Any) -> None:
    """403 where the view is of a type that the token reaches nothing of, or it may not read ViewDefinitions; 401 without a token."""
    with client(world, service("system/Patient.rs")) as caller:
        assert "Observation" in refused(ask(caller, VIEW), 403)
        assert "ViewDefinition" in refused(ask(caller, "ViewDefinition/people"), 403)
        assert "ViewDefinition" in refused(ask(caller, "http://example.org/observed"), 403)
        assert ask(caller, PEOPLE).status_code in (200, 202)
    with httpx.Client(base_url=f"{world.root}/fhir/") as nobody:
        assert ask(nobody).status_code == 401


def test_a_job_is_its_owners(world: OAuth) -> None:
    """Somebody else's result and files are as those that never were; a token of less scopes does not get the files."""
    with client(world, service("system/*.rs")) as owner, client(world, "everything") as other:
        begun = export(owner)
        [url] = files(owner, begun)
        place = begun.headers["content-location"]
        assert [other.get(each).status_code for each in (place, f"{place}/result", url)] == [404] * 3
        assert other.delete(place).status_code == 404
        with client(world, service("system/Patient.rs")) as less:
            assert refused(less.get(url), 403)


def test_patients_see_that_rows_were_made_of_them(world: OAuth) -> None:
    """$access-log of those of whom rows were exported has it, and of nobody else."""

    def events(patient: str) -> int:
        answer = world.http.get(f"/fhir/Patient/{patient}/$access-log?_count=200", headers=world.bearer("everything"))
        return len(answer.json().get("entry", ()))

    before = {id: events(id) for id in ("p1", "p3")}
    with client(world, service("system/*.rs")) as caller:
        assert exported(caller, group="Group/g") == ["o1", "o2"]
    looked = 1  # that somebody looks at the log is in it too
    assert {id: events(id) - before[id] - looked for id in before} == {"p1": 1, "p3": 0}


ERRORS = {
    "a regular expression": "'x'.matches('(' & id)",
    "a substitute": "'x'.replaceMatches('x', '$9' & id)",
    "a text that is no base64": "(id & '!').decode('base64')",
    "a text that is no hex": "(id & '!').decode('hex')",
    "a unit": "@2020-01-01 + value.ofType(Quantity)",
    "a profile": "conformsTo(id)",
}


@pytest.mark.parametrize("path", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("exporting", [False, True], ids=["run", "export"])
def test_errors_tell_no_values_and_are_recorded(world: OAuth, path: str, exporting: bool) -> None:
    """An error about a document has nothing of it but its id, and $access-log of its patient has that there was one."""
    whole = {"resourceType": "Observation", "id": "secretive", "status": "final", "code": {"text": "x"}}
    quantity = {"value": 7, "unit": "secretive", "system": "http://unitsofmeasure.org", "code": "secretive"}
    document = {**whole, "subject": {"reference": "Patient/p2"}, "valueQuantity": quantity}
    everything = world.bearer("everything")
    world.http.put("/fhir/Observation/secretive", json=document, headers=everything).raise_for_status()
    log = "/fhir/Patient/p2/$access-log?_count=500"
    before = len(world.http.get(log, headers=everything).json()["entry"])
    view = {**VIEW, "where": [{"path": "id = 'secretive'"}], "select": [{"column": [{"name": "x", "path": path}]}]}
    with client(world, service("system/*.rs")) as caller:
        if exporting:
            answer = caller.get(finished(caller, export(caller, view).headers["content-location"]).headers["location"])
            assert answer.status_code == 422
        else:
            answer = run(caller, view)
            assert answer.status_code == 422
    text = answer.json()["issue"][0]["details"]["text"]
    assert text.startswith("The view cannot be made of Observation/secretive: ")
    assert text.count("secretive") == 1
    after = world.http.get(log, headers=everything).json()["entry"]
    assert len(after) - before == 2, "that somebody looked at the log before, and the error"
    world.http.delete("/fhir/Observation/secretive", headers=everything).raise_for_status()


def test_what_is_wrong_in_the_path_itself_is_told(world: OAuth) -> None:
    """A regular expression that stands in a view is repeated where it is wrong, before any document is looked at."""
    view = {**VIEW, "select": [{"column": [{"name": "x", "path": "(id & 'x').matches('(')"}]}]}
    with client(world, service("system/*.rs")) as caller:
        answer = run(caller, view)
    assert answer.status_code == 422
    assert "the regular expression '(' is wrong" in answer.json()["issue"][0]["details"]["text"]


@pytest.mark.parametrize("where", ["true", "false"], ids=["rows", "no rows"])
def test_who_hangs_up_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The rest is not read from the store when nobody listens any more, be it that no row was found yet, and the server goes on."""
    ended, gone, made = threading.Event(), threading.Event(), 0
    original = run_view.written

    async def watched(*given: Any) -> AsyncGenerator[bytes, None]:
        nonlocal made
        try:
            async for piece in original(*given):
                made += 1
                yield piece
                if made == 5:
                    await asyncio.to_thread(gone.wait, 20)
        finally:
            ended.set()

    monkeypatch.setattr(run_view, "FIRST", 0.0)
    monkeypatch.setattr(running, "_ROWS", 1)
    monkeypatch.setattr(running, "_AT_ONCE", 0.0)
    documents = [observation(f"w{number}", "Patient/p") for number in range(30)]
    with serving(tmp_path, documents) as caller:
        monkeypatch.setattr(run_view, "written", watched)
        body, plain = parameters(VIEW | {"where": [{"path": where}]}, _format="csv"), {"Accept-Encoding": "identity"}
        with caller.stream("POST", "ViewDefinition/$run", json=body, headers=plain) as answer:
            assert answer.status_code == 200
            next(answer.iter_raw(1))
        gone.set()
        assert ended.wait(20)
        assert made < 30, "all documents were read"
        monkeypatch.setattr(run_view, "written", original)
        assert ids(run(caller)) == sorted(each["id"] for each in documents)


MANY = [observation(f"many{i:03}", "Patient/anna") for i in range(250)]


def test_few_patients_are_looked_up(world: OAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run concerns few patients the store is not gone through, and rows come in the same order: by `patient`, by group, and where
    the caller sees one record only."""
    everything = client(world, "everything")
    entries = [{"resource": each, "request": {"method": "PUT", "url": f"Observation/{each['id']}"}} for each in MANY]
    everything.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries}).raise_for_status()
    of_patient = client(world, "anna")
    asked = [
        (everything, {"patient": "Patient/anna"}),
        (everything, {"patient": "Patient/anna", "_limit": "20"}),
        (of_patient, {}),
    ]

    def rows() -> list[list[str]]:
        return [ids(run(caller, **given)) for caller, given in asked]

    calls: list[int] = []

    async def counted(*given: Any) -> Any:
        calls.append(len(given[1]))
        return await at_position(*given)

    monkeypatch.setattr(finding, "at_position", counted)
    looked_up = rows()
    assert len(calls) >= 3
    assert "many249" in looked_up[0]
    assert len(looked_up[1]) == 20
    monkeypatch.setattr(finding, "FEW_PATIENTS", 0)
    calls.clear()
    assert rows() == looked_up
    assert calls == []
    for each in MANY:
        everything.delete(f"Observation/{each['id']}")
    monkeypatch.undo()
    assert not any(id.startswith("many") for id in rows()[0])
    everything.close()
    of_patient.close()


def test_runs_at_once(world: OAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that has too many runs under way is told to wait, with 429, another one is not; a run that has ended, also by an error or
    by who asked, counts no longer."""
    monkeypatch.setattr(run_view, "AT_ONCE", 2)
    caller = client(world, "everything")
    broken = VIEW | {"select": [{"column": [{"name": "x", "path": "none"}]}]}
    for _ in range(3):
        assert run(caller).status_code == 200
        assert run(caller, broken).status_code == 422
        assert caller.head("ViewDefinition/observed/$run").status_code in (200, 405)
    monkeypatch.setattr(run_view, "AT_ONCE", 0)
    refusal = run(caller)
    assert (refusal.status_code, refusal.json()["issue"][0]["code"], "retry-after" in refusal.headers) == (429, "throttled", True)
    caller.close()
