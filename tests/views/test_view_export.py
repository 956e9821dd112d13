"""$viewdefinition-export (https://sql-on-fhir.org/ig/OperationDefinition-ViewDefinitionExport.html): kick-off, state, result, files."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from api.conftest import serving
from exporting.asking import KICK_OFF, finished, refused
from exporting.people import POPULATION
from pyarrow import parquet

Json = dict[str, Any]

OBSERVED: Json = {
    "resourceType": "ViewDefinition", "id": "observed", "url": "http://example.org/observed", "name": "observed", "status": "active",
    "resource": "Observation",
    "select": [{"column": [
        {"name": "id", "path": "getResourceKey()"},
        {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
        {"name": "value", "path": "value.ofType(Quantity).value"},
    ]}],
}  # fmt: skip
PEOPLE: Json = {
    "resourceType": "ViewDefinition", "status": "active", "resource": "Patient",
    "select": [{"column": [{"name": "id", "path": "id"}, {"name": "family", "path": "name.family"}]}],
}  # fmt: skip
NOBODY: Json = PEOPLE | {"name": "nobody", "where": [{"path": "id = 'x'"}]}


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that asks nobody who they are, with a small population and a view."""
    folder = tmp_path_factory.mktemp("views")
    with serving(Path(folder), [*POPULATION, OBSERVED], jobs_at_once=100, rate_limit_polls="off") as client:
        yield client


def view(what: Json | str, name: str = "") -> Json:
    """The parameter: a reference, or a ViewDefinition that is sent along."""
    part = {"name": "viewReference", "valueReference": {"reference": what}}
    if not isinstance(what, str):
        part = {"name": "viewResource", "resource": what}
    return {"name": "view", "part": [part, *([{"name": "name", "valueString": name}] if name else [])]}


def kick_off(client: httpx.Client, *given: Json, path: str = "$viewdefinition-export", **simple: Any) -> httpx.Response:
    texts = [
        {"name": name, "valueString": one}
        for name, value in simple.items()
        for one in ([value] if isinstance(value, str) else value)
    ]
    return client.post(path, json={"resourceType": "Parameters", "parameter": [*given, *texts]}, headers=KICK_OFF)


def exported(client: httpx.Client, *given: Json, path: str = "$viewdefinition-export", **simple: Any) -> Json:
    """The result, once it is there."""
    begun = kick_off(client, *given, path=path, **simple)
    assert begun.status_code == 202, begun.text
    ended = finished(client, begun.headers["content-location"])
    assert ended.status_code == 303, ended.text
    answer = client.get(ended.headers["location"])
    assert answer.status_code == 200, answer.text
    result: Json = answer.json()
    return result


def named(result: Json, name: str) -> list[Json]:
    return [each for each in result["parameter"] if each["name"] == name]


def outputs(result: Json) -> dict[str, list[str]]:
    """Name of an output -> the addresses of its files."""
    return {each["part"][0]["valueString"]: [part["valueUri"] for part in each["part"][1:]] for each in named(result, "output")}


def rows(client: httpx.Client, result: Json, name: str = "observed") -> list[Json]:
    """The rows of an NDJSON output."""
    return [json.loads(line) for url in outputs(result)[name] for line in client.get(url).text.splitlines()]


def ids(client: httpx.Client, result: Json, name: str = "observed") -> list[str]:
    return [row["id"] for row in rows(client, result, name)]


def test_from_kick_off_to_files(bulk: httpx.Client) -> None:
    """202 with Parameters, 303 to the result, which names several views and their files, and what the client called it."""
    begun = kick_off(bulk, view("ViewDefinition/observed"), view(PEOPLE, "persons"), view(NOBODY), clientTrackingId="mine")
    place = begun.headers["content-location"]
    told = {each["name"]: each for each in begun.json()["parameter"]}
    assert (told["status"]["valueCode"], told["location"]["valueUri"], told["clientTrackingId"]["valueString"]) == (
        "accepted",
        place,
        "mine",
    )
    assert told["exportId"]["valueString"] == place.rpartition("/")[2]
    ended = finished(bulk, place)
    assert (ended.status_code, ended.headers["location"]) == (303, f"{place}/result")
    answer = bulk.get(f"{place}/result")
    result = answer.json()
    assert answer.headers["content-type"].startswith("application/fhir+json") and "expires" in answer.headers
    assert named(result, "status")[0]["valueCode"] == "completed" and named(result, "clientTrackingId")[0]["valueString"] == "mine"
    assert named(result, "exportStartTime")[0]["valueInstant"] <= named(result, "exportEndTime")[0]["valueInstant"]
    assert list(outputs(result)) == ["observed", "persons", "nobody"]
    assert ids(bulk, result) == ["o1", "o2", "o3", "o4", "o-device"]
    assert rows(bulk, result, "persons")[0] == {"id": "p1", "family": "P1"}
    assert rows(bulk, result, "nobody") == []
    assert bulk.delete(place).status_code == 202
    assert [bulk.get(url).status_code for url in (place, f"{place}/result", outputs(result)["observed"][0])] == [404] * 3


@pytest.mark.parametrize("path", ["ViewDefinition/observed/$viewdefinition-export", "ViewDefinition/$viewdefinition-export"])
def test_levels(bulk: httpx.Client, path: str) -> None:
    """A view is named by the URL, by a reference relative or absolute, or by its canonical URL."""
    named = ["ViewDefinition/observed", f"{bulk.base_url}ViewDefinition/observed", "http://example.org/observed"]
    for reference in [None] if "observed" in path else named:
        given = [] if reference is None else [view(reference)]
        assert len(ids(bulk, exported(bulk, *given, path=path))) == 5


def test_formats(bulk: httpx.Client) -> None:
    """CSV with and without names, JSON, Parquet, Arrow: the same rows, and columns where there are none."""
    found = {}
    for format in ("csv", "json", "parquet", "arrow"):
        result = exported(bulk, view(OBSERVED), view(NOBODY), _format=format)
        assert named(result, "_format")[0]["valueCode"] == format
        found[format] = [bulk.get(outputs(result)[name][0]) for name in ("observed", "nobody")]
    assert found["csv"][0].text.splitlines()[:2] == ["id,patient,value", "o1,p1,72.5"]
    assert found["csv"][0].headers["content-type"] == "text/csv; charset=utf-8"
    assert found["csv"][1].text == "id,family\r\n"
    assert found["json"][0].json()[1] == {"id": "o2", "patient": "p2", "value": None} and found["json"][1].json() == []
    tables = [parquet.read_table(io.BytesIO(each.content)) for each in found["parquet"]]
    assert tables[0].to_pylist()[0] == {"id": "o1", "patient": "p1", "value": 72.5}
    assert (tables[1].num_rows, tables[1].column_names) == (0, ["id", "family"])
    assert [pa.ipc.open_stream(each.content).read_all() for each in found["arrow"]] == tables
    bare = exported(bulk, view(OBSERVED), _format="csv", header="false")
    assert bulk.get(outputs(bare)["observed"][0]).text.startswith("o1,p1")


@pytest.mark.parametrize("format", ["parquet", "application/vnd.apache.parquet"])
def test_the_format_of_files_may_stand_in_the_url(bulk: httpx.Client, format: str) -> None:
    """`_format` of a kick-off is that of the files, while what is said of the job is FHIR's JSON: whoever cannot read that gets 406."""
    path = f"ViewDefinition/observed/$viewdefinition-export?_format={format}"
    result = exported(bulk, path=path)
    (url,) = outputs(result)["observed"]
    assert parquet.read_table(io.BytesIO(bulk.get(url).content)).num_rows == 5
    assert bulk.post(path, headers=KICK_OFF | {"Accept": "text/csv"}).status_code == 406


@pytest.mark.parametrize(
    ("narrowed", "found"),
    [
        ({"patient": "Patient/p1"}, ["o1"]),
        ({"patient": ["p1", "Patient/p2"]}, ["o1", "o2"]),
        ({"group": "Group/g"}, ["o1", "o2"]),
        ({"group": ["g", "Group/nested"]}, ["o1", "o2", "o3"]),
        ({"group": "hemoglobin"}, ["o2"]),
        ({"group": "g", "patient": ["p2", "p3"]}, ["o2"]),
        ({"_since": "2020-01-01T00:00:00Z"}, ["o1", "o2", "o3", "o4", "o-device"]),
    ],
)
def test_narrowed(bulk: httpx.Client, narrowed: Json, found: list[str]) -> None:
    """To patients, to the members that an export of the Groups has, to what is new."""
    assert ids(bulk, exported(bulk, view("ViewDefinition/observed"), **narrowed)) == found


def test_since_is_later(bulk: httpx.Client) -> None:
    """What was written at that very instant does not come, in an export or a run."""
    at = {name: bulk.get(f"Observation/{name}").json()["meta"]["lastUpdated"] for name in ("o3", "o4", "o-device")}
    later = [name for name, instant in at.items() if instant > at["o3"]]
    assert ids(bulk, exported(bulk, view("ViewDefinition/observed"), _since=at["o3"])) == later
    run = bulk.get("ViewDefinition/observed/$run", params={"_since": at["o3"]})
    assert [row["id"] for row in run.json()] == later


REFUSED: list[tuple[list[Json], Json, int, str]] = [
    ([], {}, 400, "At least one view"),
    ([view("ViewDefinition/none")], {}, 404, "does not exist"),
    ([view("http://example.org/none")], {}, 404, "no ViewDefinition"),
    ([view("")], {}, 404, "with the url ''"),
    ([view(PEOPLE | {"select": []})], {}, 422, "must be a list of objects"),
    ([view(PEOPLE), view("ViewDefinition/none"), view(PEOPLE | {"resource": "X"})], {}, 400, "does not exist"),
    ([view(PEOPLE, "a"), view(NOBODY, "a")], {}, 400, "the name 'a'"),
    ([view(PEOPLE, "a" * 300)], {}, 400, "longer than"),
    ([view(PEOPLE)] * 101, {}, 400, "at most 100"),
    ([{"name": "view", "valueString": "x"}], {}, 400, "A view has parts"),
    ([{"name": "view", "part": []}], {}, 400, "either viewReference or viewResource"),
    ([view(PEOPLE)], {"source": "s3://x"}, 400, "no parameter 'source'"),
    ([view(PEOPLE)], {"_format": "xml"}, 400, "_format=xml"),
    ([view(PEOPLE)], {"header": "x"}, 400, "true or false"),
    ([view(PEOPLE)], {"_since": "soon"}, 400, "_since"),
    ([view(PEOPLE)], {"_since": "2999-01-01T00:00:00Z"}, 400, "future"),
    ([view(PEOPLE)], {"_since": ["2020-01-01", "2021-01-01"]}, 400, "more than once"),
    ([view(PEOPLE)], {"patient": "Patient/none"}, 404, "Patient/none does not exist"),
    ([view(PEOPLE)], {"patient": "Group/g"}, 400, "Patient/1"),
    ([view(PEOPLE)], {"group": "none"}, 404, "Group/none does not exist"),
    ([view(PEOPLE)], {"group": "characteristics"}, 400, "characteristics"),
    ([view(PEOPLE)], {"group": ["g"] * 101}, 400, "At most 100 Groups"),
    ([view(PEOPLE)], {"patient": ["p1"] * 10_001}, 400, "10000 parameters"),
    ([view(PEOPLE, "a" * 2_000_000)], {}, 413, "2000000 bytes"),
]


@pytest.mark.parametrize(("views", "simple", "status", "words"), REFUSED, ids=[words for *_, words in REFUSED])
def test_what_is_refused(bulk: httpx.Client, views: list[Json], simple: Json, status: int, words: str) -> None:
    """What is wrong is told before there is a job."""
    assert words in refused(kick_off(bulk, *views, **simple), status)


def test_all_that_is_wrong_is_told(bulk: httpx.Client) -> None:
    """Several wrong views give as many issues, each with its place in the Parameters; the pattern's header is needed."""
    wrong = PEOPLE | {"select": [{"column": [{"name": "a", "path": "nope"}]}]}
    answer = kick_off(bulk, view(PEOPLE), view(wrong), view("ViewDefinition/none"))
    places = [issue["expression"][0] for issue in answer.json()["issue"]]
    view_at = "Parameters.parameter.where(name = 'view')"
    assert places == [f"{view_at}[1].part.resource.select[0].column[0].path", f"{view_at}[2]"]
    body = {"resourceType": "Parameters", "parameter": [view(PEOPLE)]}
    assert "respond-async" in refused(bulk.post("$viewdefinition-export", json=body), 400)
    assert bulk.get("$viewdefinition-export", headers=KICK_OFF).status_code == 405


def test_a_document_that_does_not_fit(bulk: httpx.Client) -> None:
    """It fails with the document's name at the address of the result, and nothing of it is published."""
    several = PEOPLE | {"resource": "Observation", "select": [{"column": [{"name": "c", "path": "code.coding.code | status"}]}]}
    begun = kick_off(bulk, view(several, "bad"))
    ended = finished(bulk, begun.headers["content-location"])
    assert ended.status_code == 303
    assert "Observation/o1" in refused(bulk.get(ended.headers["location"]), 422)
