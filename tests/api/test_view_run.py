"""ViewDefinition/$run (https://sql-on-fhir.org/ig/OperationDefinition-ViewDefinitionRun.html)."""

import io
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import duckdb
import httpx
import pyarrow as pa
import pytest
from pyarrow import parquet

from fhir_server.views import running
from tests.api.conftest import serving
from tests.api.test_audit import event_of, events, query, references

VIEW: dict[str, Any] = {
    "resourceType": "ViewDefinition",
    "id": "weights",
    "url": "http://example.org/views/weights",
    "name": "weights",
    "status": "active",
    "resource": "Observation",
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()", "type": "id"},
                {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
                {"name": "issued", "path": "issued"},
                {"name": "value", "path": "value.ofType(Quantity).value"},
                {"name": "codes", "path": "code.coding.code", "collection": True},
                {"name": "text", "path": "code.text"},
            ]
        }
    ],
}
PATIENTS = [{"resourceType": "Patient", "id": id, "active": True} for id in ("p", "q")]
CODE = {"coding": [{"code": "a"}, {"code": "b"}], "text": 'x,"y"'}
OBSERVATIONS = [
    {"resourceType": "Observation", "id": f"o{i}", "status": "final", "code": CODE, "subject": {"reference": f"Patient/{patient}"},
     "issued": f"2026-01-0{i + 1}T03:04:05.678+01:00", "valueQuantity": {"value": i + 0.5}}
    for i, patient in enumerate(("p", "p", "q"))
]  # fmt: skip
MEMBERS = [{"entity": {"reference": "Patient/q"}}, {"entity": {"reference": "Patient/p"}, "inactive": True}]
GROUP = {"resourceType": "Group", "id": "g", "type": "person", "actual": True, "member": MEMBERS}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with two patients' Observations and a view of them."""
    folder: Path = tmp_path_factory.mktemp("views")
    with serving(folder, [*PATIENTS, *OBSERVATIONS, GROUP, VIEW]) as client:
        yield client


def parameters(**given: Any) -> dict[str, Any]:
    made: list[dict[str, Any]] = []
    for name, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            member = "valueCode"
            if isinstance(one, dict):
                member = "resource" if "resourceType" in one else "valueReference"
            made.append({"name": name, member: one})
    return {"resourceType": "Parameters", "parameter": made}


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()]


def test_formats(api: httpx.Client) -> None:
    """JSON, NDJSON, CSV, Parquet and Arrow tell the same rows; the media type says which it is."""
    rows = api.get("ViewDefinition/weights/$run").json()
    issued = "2026-01-01T03:04:05.678+01:00"
    assert rows[0] == {"id": "o0", "patient": "p", "issued": issued, "value": 0.5, "codes": ["a", "b"], "text": 'x,"y"'}
    lines = api.get("ViewDefinition/weights/$run?_format=ndjson")
    assert [json.loads(line) for line in lines.text.splitlines()] == rows
    assert lines.headers["content-type"] == "application/x-ndjson"
    table = parquet.read_table(io.BytesIO(api.get("ViewDefinition/weights/$run?_format=parquet").content))
    assert table.schema.field("issued").type == pa.timestamp("us", "UTC")
    assert table.column("id").to_pylist() == ["o0", "o1", "o2"]
    stream = api.get("ViewDefinition/weights/$run", headers={"Accept": "application/vnd.apache.arrow.stream"})
    assert pa.ipc.open_stream(stream.content).read_all().equals(table)
    assert duckdb.from_arrow(table).aggregate("sum(value), max(codes[2])").fetchall() == [(4.5, "b")]


def test_csv(api: httpx.Client) -> None:
    """RFC 4180, with or without the names; lists are JSON."""
    answer = api.get("ViewDefinition/weights/$run", headers={"Accept": "text/csv"})
    first = 'o0,p,2026-01-01T03:04:05.678+01:00,0.5,"[""a"",""b""]","x,""y"""'
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.split("\r\n")[:2] == ["id,patient,issued,value,codes,text", first]
    assert api.get("ViewDefinition/weights/$run?_format=csv&header=false").text.split("\r\n")[0] == first


@pytest.mark.parametrize("name", ["$run", "$viewdefinition-run"])
@pytest.mark.parametrize(
    "reference", ["ViewDefinition/weights", "http://example.org/views/weights", "{base}ViewDefinition/weights"]
)
def test_views_are_named(api: httpx.Client, name: str, reference: str) -> None:
    """By a relative URL, this server's own, or the canonical one; by both names of the operation."""
    reference = reference.replace("{base}", str(api.base_url))
    body = parameters(viewReference={"reference": reference}, _format="json")
    assert ids(api.post(f"ViewDefinition/{name}", json=body)) == ["o0", "o1", "o2"]


def test_views_are_sent_along(api: httpx.Client) -> None:
    """A ViewDefinition that is nowhere stored, over documents that are not either; offered for the system too."""
    body = parameters(viewResource=VIEW, resource=[*OBSERVATIONS[:1], *PATIENTS])
    assert ids(api.post("$viewdefinition-run", json=body)) == ["o0"]
    assert ids(api.post("ViewDefinition/$run", json=parameters(viewResource=VIEW))) == ["o0", "o1", "o2"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("patient=Patient/p", ["o0", "o1"]),
        ("patient=p&patient=q", ["o0", "o1", "o2"]),
        ("group=Group/g", ["o2"]),
        ("group=g&patient=p", []),
        ("_limit=1", ["o0"]),
        ("_limit=2&patient=p", ["o0", "o1"]),
        ("_since=2020-01-01T00:00:00Z", ["o0", "o1", "o2"]),
        ("_since=2999-01-01T00:00:00Z", []),
    ],
)
def test_narrowed(api: httpx.Client, query: str, found: list[str]) -> None:
    """To patients, to members of groups, to what is new, to so many rows."""
    assert ids(api.get(f"ViewDefinition/weights/$run?{query}")) == found


REFUSED = [
    ("ViewDefinition/none/$run", 404, "does not exist"),
    ("ViewDefinition/$run", 400, "viewReference"),
    ("ViewDefinition/$run?viewReference=http://example.org/none", 404, "no ViewDefinition"),
    ("ViewDefinition/$run?viewReference=http://example.org/views/weights,http://example.org/none", 404, "no ViewDefinition"),
    ("ViewDefinition/$run?viewReference=|", 404, "no ViewDefinition"),
    (f"ViewDefinition/$run?viewReference=ViewDefinition/{'x' * 5_000}", 404, "ViewDefinition at 'ViewDefinition/xxx"),
    ("ViewDefinition/weights/$run?viewReference=ViewDefinition/weights", 400, "named by the URL"),
    ("ViewDefinition/weights/$run?_format=xml", 400, "parquet"),
    ("ViewDefinition/weights/$run?header=maybe", 400, "header"),
    ("ViewDefinition/weights/$run?_limit=0", 400, "_limit"),
    ("ViewDefinition/weights/$run?_limit=1&_limit=2", 400, "more than once"),
    ("ViewDefinition/weights/$run?_since=soon", 400, "_since"),
    ("ViewDefinition/weights/$run?source=s3://bucket", 400, "no parameter"),
    ("ViewDefinition/weights/$run?patient=Patient/none", 400, "does not exist"),
    ("ViewDefinition/weights/$run?patient=Group/g", 400, "Patient/1"),
    ("ViewDefinition/$run?viewResource=x", 400, "in the body"),
    ("ViewDefinition/weights/$run?patient=Patient/p/_history/1", 400, "Patient/1"),
    ("ViewDefinition/weights/$run?group=Group/none", 404, "does not exist"),
]


@pytest.mark.parametrize(("path", "status", "words"), REFUSED)
def test_what_is_wrong_is_refused(api: httpx.Client, path: str, status: int, words: str) -> None:
    """Parameters that make no sense, and what is not there, before there is a row."""
    answer = api.get(path)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["issue"][0]["diagnostics"]


def test_limits(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """More patients than a run takes are refused, and so is a document that gives too many rows."""
    monkeypatch.setattr(running, "MOST_PATIENTS", 1)
    answer = api.get("ViewDefinition/weights/$run?patient=p&patient=q")
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (400, "too-costly")
    each = [{"forEach": "code.coding", "column": [{"name": f"c{number}", "path": "code"}]} for number in range(17)]
    answer = api.post("ViewDefinition/$run", json=parameters(viewResource={**VIEW, "select": each}))
    assert answer.status_code == 422 and "more than 100000 rows" in answer.json()["issue"][0]["diagnostics"]


def test_a_document_of_two_patients(api: httpx.Client) -> None:
    """With `patient` nothing comes that lies in somebody else's compartment too; by a Group it does."""
    both = [{"actor": {"reference": f"Patient/{id}"}, "status": "accepted"} for id in ("p", "q")]
    body = {"resourceType": "Appointment", "id": "both", "status": "proposed", "participant": both}
    assert api.put("Appointment/both", json=body).status_code == 201
    view = {**VIEW, "resource": "Appointment", "select": [{"column": [{"name": "id", "path": "id"}]}]}
    narrowed: list[tuple[dict[str, Any], list[str]]] = [
        ({"patient": "Patient/p"}, []),
        ({"patient": ["p", "q"]}, ["both"]),
        ({"group": "Group/g"}, ["both"]),
    ]
    for given, found in narrowed:
        assert ids(api.post("ViewDefinition/$run", json=parameters(viewResource=view, **given))) == found


def test_views_that_cannot_be_run(api: httpx.Client) -> None:
    """A wrong ViewDefinition is 422 with the place, and so is one that does not go with the documents; no body is 400."""
    wrong = {**VIEW, "select": [{"column": [{"name": "a", "path": "b"}]}]}
    answer = api.post("ViewDefinition/$run", json=parameters(viewResource=wrong))
    assert (answer.status_code, answer.json()["issue"][0]["expression"]) == (422, ["ViewDefinition.select[0].column[0].path"])
    many = {**VIEW, "select": [{"column": [{"name": "a", "path": "code.coding.code"}]}]}
    answer = api.post("ViewDefinition/$run", json=parameters(viewResource=many))
    assert answer.status_code == 422
    assert "Observation/o0" in answer.json()["issue"][0]["diagnostics"]
    assert api.post("ViewDefinition/$run", json={"resourceType": "Patient"}).status_code == 400
    assert api.post("ViewDefinition/$run", content="{", headers={"Content-Type": "application/json"}).status_code == 400
    assert api.get("ViewDefinition/weights/$run", headers={"Accept": "application/pdf"}).status_code == 406


COSTLY = {
    "a regular expression that backtracks": ("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'.matches('^(a+)+b$')", 200),
    "a list that doubles": ("code.coding" + ".select($this.combine($this))" * 25 + ".count()", 422),
    "loops in loops": ("%resource.code.text.toChars().select(" * 9 + "%resource.id" + ")" * 9 + ".count()", 422),
    "elements of all types": ("extension" + ".value.extension" * 12 + ".url.first()", 200),
}


@pytest.mark.parametrize(("path", "status"), COSTLY.values(), ids=COSTLY.keys())
def test_views_keep_nobody_waiting(api: httpx.Client, path: str, status: int) -> None:
    """A view that would keep the server busy without end is refused, or ends."""
    view = {**VIEW, "select": [{"column": [{"name": "a", "path": path}]}]}
    answer = api.post("ViewDefinition/$run", json=parameters(viewResource=view), timeout=60)
    assert answer.status_code == status, answer.text
    if status == 422:
        assert answer.json()["issue"][0]["code"] == "too-costly"


def test_views_of_all_types_within_each_other_are_stored_at_once(api: httpx.Client) -> None:
    """forEach over any type, fifteen levels deep, is compiled once for each type."""
    select: dict[str, Any] = {"column": [{"name": "x", "path": "1"}]}
    for _ in range(15):
        select = {"forEach": "extension.value", "select": [select]}
    stored = api.put(
        "ViewDefinition/deep", json={**VIEW, "id": "deep", "url": "http://example.org/deep", "select": [select]}, timeout=60
    )
    assert stored.status_code == 201, stored.text
    assert api.get("ViewDefinition/deep/$run").json() == []


FAMILIES = {**VIEW, "resource": "Patient", "select": [{"column": [{"name": "f", "path": "name.family", "collection": True}]}]}
UNSOUND: list[Any] = [
    "x",
    [1],
    None,
    {},
    {"resourceType": "None"},
    *({"resourceType": "Patient", "name": name} for name in (5, ["x"], [{"family": 5}], {"family": "x"})),
    {"resourceType": "Patient", "birthDate": 5},
    {"resourceType": "Patient", "extension": [5]},
]


@pytest.mark.parametrize("resource", UNSOUND, ids=str)
def test_resources_that_are_none_are_refused(api: httpx.Client, resource: Any) -> None:
    """What is sent along to make rows of is checked as what is stored is: 400, and what is wrong."""
    given = [{"name": "viewResource", "resource": FAMILIES}, {"name": "resource", "resource": resource}]
    answer = api.post("ViewDefinition/$run", json={"resourceType": "Parameters", "parameter": given})
    assert answer.status_code == 400, answer.text
    assert answer.json()["issue"][0]["diagnostics"].startswith("resource: ")


@pytest.mark.parametrize("number", ["1" * 5_000, "1e99999999999999999999"], ids=["digits", "exponent"])
def test_numbers_that_nobody_keeps_are_refused(api: httpx.Client, number: str) -> None:
    """A number that cannot be kept is refused in what is sent along too, also where the view looks at it."""
    view = {**VIEW, "resource": "Patient", "select": [{"column": [{"name": "n", "path": "multipleBirth.ofType(integer)"}]}]}
    given = [{"name": "viewResource", "resource": view}, {"name": "resource", "resource": {"resourceType": "Patient"}}]
    body = json.dumps({"resourceType": "Parameters", "parameter": given})
    body = body.replace('{"resourceType": "Patient"}', f'{{"resourceType": "Patient", "multipleBirthInteger": {number}}}')
    answer = api.post("ViewDefinition/$run", content=body, headers={"Content-Type": "application/fhir+json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["issue"][0]["diagnostics"].startswith("resource: ")


@pytest.mark.parametrize("view", ["x", [1], None, 5], ids=str)
def test_views_that_are_none_are_refused(api: httpx.Client, view: Any) -> None:
    """A viewResource that is no object is 400; in a URL it is refused."""
    given = [{"name": "viewResource", "resource": view}]
    answer = api.post("ViewDefinition/$run", json={"resourceType": "Parameters", "parameter": given})
    assert answer.status_code == 400, answer.text
    for name in ("viewResource", "resource"):
        assert api.get("ViewDefinition/$run", params={name: json.dumps(view)}).status_code == 400


def test_a_run_is_recorded_once(api: httpx.Client) -> None:
    """One AuditEvent names view, its version, type, what the run was narrowed to, and the patients whom rows tell of."""
    assert (
        api.get("ViewDefinition/weights/$run?patient=Patient/p&_format=csv", headers={"X-Request-Id": "run-1"}).status_code == 200
    )
    event = event_of(api, "run-1")
    narrowed = "view=ViewDefinition%2Fweights%2F_history%2F1&resource-type=Observation&patient=Patient%2Fp&_format=csv"
    assert query(event) == f"ViewDefinition/weights/$run?{narrowed}"
    assert references(event) == ["ViewDefinition/weights", "Patient/p"]
    assert api.get("ViewDefinition/weights/$run", headers={"X-Request-Id": "run-2"}).status_code == 200
    assert references(event_of(api, "run-2")) == ["ViewDefinition/weights", "Patient/p", "Patient/q"]
    assert api.get("ViewDefinition/none/$run", headers={"X-Request-Id": "run-3"}).status_code == 404
    assert event_of(api, "run-3")["outcome"] == "4"


def test_a_view_that_was_sent_along_is_recorded(api: httpx.Client) -> None:
    """What was asked can be read in the record, and who was found: it names whoever gave a row, also where only a condition meant them."""
    harmless = {
        "resourceType": "ViewDefinition",
        "name": "harmless",
        "resource": "Patient",
        "status": "active",
        "where": [{"path": "id = 'q'"}],
        "select": [{"column": [{"name": "x", "path": "active"}]}],
    }
    sent = api.post("ViewDefinition/$run", json=parameters(viewResource=harmless), headers={"X-Request-Id": "sent-1"})
    assert sent.json() == [{"x": True}]
    event = event_of(api, "sent-1")
    assert references(event) == ["Patient/q"]
    told = dict(parse_qsl(query(event).partition("?")[2]))
    assert (told["view"], told["resource-type"], json.loads(told["viewResource"])) == ("harmless", "Patient", harmless)
    assert sha256(told["viewResource"].encode()).hexdigest() == told["viewResource-sha256"]
    long = {**harmless, "description": "x" * 5_000, "where": [{"path": "id = 'nobody'"}]}
    empty = api.post("ViewDefinition/$run", json=parameters(viewResource=long), headers={"X-Request-Id": "sent-2"})
    assert empty.json() == []
    event = event_of(api, "sent-2")
    told = dict(parse_qsl(query(event).partition("?")[2]))
    assert (references(event), "viewResource" in told, len(told["viewResource-sha256"])) == ([], False, 64)
    mine = {"resourceType": "Patient", "id": "q", "active": True}
    own = parameters(viewResource=harmless, resource=[mine])
    assert api.post("ViewDefinition/$run", json=own, headers={"X-Request-Id": "sent-3"}).json() == [{"x": True}]
    assert references(event_of(api, "sent-3")) == []


def test_patients_are_named_before_their_rows_leave(tmp_path: Path) -> None:
    """A run over many patients leaves several events, each patient in one of them, and each in their own record of accesses."""
    patients = [{"resourceType": "Patient", "id": f"m{i}"} for i in range(2_600)]
    view = {**VIEW, "resource": "Patient", "select": [{"column": [{"name": "id", "path": "id"}]}]}
    with serving(tmp_path, [*patients, view]) as client:
        answer = client.get("ViewDefinition/weights/$run", headers={"X-Request-Id": "many"})
        assert len(answer.json()) == 2_600
        found = [
            event
            for event in events(client)
            if any(e.get("what", {}).get("identifier", {}).get("value") == "many" for e in event["entity"])
        ]
        named = [name for event in found for name in references(event) if name.startswith("Patient/")]
        assert sorted(named) == sorted(f"Patient/m{i}" for i in range(2_600))
        assert [name for event in found for name in references(event)].count("ViewDefinition/weights") == 1
        log = client.get("Patient/m2599/$access-log").json()
        assert "ViewDefinition/weights/$run" in json.dumps([query(entry["resource"]) for entry in log["entry"]])


def test_a_document_further_on_that_does_not_fit(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer breaks off behind its first rows; the log says, with the request's id, which column it was, and names no document."""
    monkeypatch.setattr(running, "_ROWS", 1)
    column = {"name": "c", "path": "iif(id = 'o2', code.coding.code, id)"}
    body = parameters(viewResource={**VIEW, "select": [{"column": [column]}]}, _format="ndjson")
    headers, lines = {"X-Request-Id": "broken-1", "Accept-Encoding": "identity"}, list[str]()
    with api.stream("POST", "ViewDefinition/$run", json=body, headers=headers) as answer:
        assert (answer.status_code, answer.headers["x-request-id"]) == (200, "broken-1")
        with pytest.raises(httpx.RemoteProtocolError):
            lines.extend(answer.iter_lines())
    [told] = [record for record in caplog.records if record.name == "fhir_server.requests"]
    assert vars(told) | {"request": "broken-1", "status": 422, "expression": "ViewDefinition.select[0].column[0]"} == vars(told)
    assert "o2" not in told.getMessage() and not any(record.exc_info for record in caplog.records)
    assert lines == ['{"c":"o0"}', '{"c":"o1"}']


def test_not_in_a_bundle(api: httpx.Client) -> None:
    """Rows are sent as they come: an entry of a batch that asks for them is refused, and says what to do."""
    entry = {"request": {"method": "GET", "url": "ViewDefinition/weights/$run"}}
    answer = api.post("", json={"resourceType": "Bundle", "type": "batch", "entry": [entry]})
    response = answer.json()["entry"][0]["response"]
    assert (response["status"][:3], "request of its own" in json.dumps(response)) == ("400", True)
