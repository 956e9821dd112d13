"""`fhir-server sql`: views of the store and exports as tables, and nothing beyond them."""

import csv
import gzip
import io
import json
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from api.conftest import serving
from pyarrow import parquet
from typer.testing import CliRunner, Result

from fhir_server.cli.application import application
from fhir_server.loading import sources

Json = dict[str, Any]


def view(name: str, resource: str, **columns: str) -> Json:
    listed = [{"name": column, "path": path} for column, path in columns.items()]
    made = {"resourceType": "ViewDefinition", "status": "active", "resource": resource, "select": [{"column": listed}]}
    return made | ({"name": name} if name else {})


WEIGHTS = view(
    "Weights", "Observation", id="id", patient="subject.getReferenceKey(Patient)", kg="value.ofType(Quantity).value", taken="issued"
)
PEOPLE = view("people", "Patient", id="id", family="name.family.first()", born="birthDate")
STORED = [
    WEIGHTS | {"id": "w"},
    PEOPLE | {"id": "p"},
    view("twice", "Patient", id="id") | {"id": "t1"},
    view("twice", "Patient", id="id") | {"id": "t2"},
    view("", "Patient", id="id") | {"id": "unnamed"},
]
PATIENTS = [
    {"resourceType": "Patient", "id": "a", "name": [{"family": "Red[bold]"}], "birthDate": "1980"},
    {"resourceType": "Patient", "id": "b", "name": [{"family": '=1+1,"'}]},
]
OBSERVATIONS = [
    {
        "resourceType": "Observation", "id": f"o{i}", "status": "final", "code": {"text": "w"}, "issued": "2026-01-01T01:00:00+02:00",
        "subject": {"reference": f"Patient/{'ab'[i % 2]}"}, "valueQuantity": {"value": i + 0.5},
    }
    for i in range(5)
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, httpx.Client]]:
    """A data folder, with a server that is running on it."""
    folder = tmp_path_factory.mktemp("sql")
    with serving(folder, [*PATIENTS, *OBSERVATIONS, *STORED]) as client:
        yield folder, client


@pytest.fixture(scope="module")
def data(world: tuple[Path, httpx.Client]) -> Path:
    return world[0]


def run(data: Path, *arguments: str, text: str | None = None) -> Result:
    """The finished command."""
    settings = {"FHIR_DATA_DIR": str(data), "COLUMNS": "200"}
    with ThreadPoolExecutor(1) as thread:  # a loop of its own
        return thread.submit(CliRunner().invoke, application, ["sql", *arguments], env=settings, input=text).result()


def rows(data: Path, *arguments: str) -> list[Json]:
    done = run(data, *arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    found: list[Json] = json.loads(done.stdout)
    return found


def refused(data: Path, *arguments: str) -> str:
    done = run(data, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    return done.stderr


def test_views_are_tables(data: Path) -> None:
    """Stored views by their names, in whatever case, joined as SQL joins."""
    asked = "select family, sum(kg) as kg from people p join WEIGHTS w on p.id = w.patient group by family order by kg"
    assert rows(data, asked) == [{"family": '=1+1,"', "kg": 5.0}, {"family": "Red[bold]", "kg": 7.5}]
    assert rows(data, "with w as (from weights) select count(*) n from w join w as v using (id)") == [{"n": 5}]


def test_a_view_of_a_file(data: Path, tmp_path: Path) -> None:
    """A file with a view is a table as well, under its name or the file's; it hides a stored one of the same name."""
    (tmp_path / "plain.json").write_text(json.dumps(view("", "Patient", key="id")))
    (tmp_path / "x.json").write_text(json.dumps(view("people", "Patient", key="id")))
    options = ("--view", str(tmp_path / "plain.json"), "--view", str(tmp_path / "x.json"))
    assert rows(data, "select * from plain join people using (key) order by key", *options) == [{"key": "a"}, {"key": "b"}]


def test_formats(data: Path, tmp_path: Path) -> None:
    """CSV, NDJSON and Parquet tell the same; moments are in UTC, names of columns stand once; nobody else may read a file."""
    asked = "select id, id, taken, family from weights join people on people.id = patient where weights.id = 'o1'"
    expected = {"id": "o1", "id_2": "o1", "taken": "2025-12-31T23:00:00Z", "family": '=1+1,"'}
    asked = asked.replace("select id, id", "select weights.id, weights.id")
    assert rows(data, asked) == [expected]
    assert json.loads(run(data, asked, "--format", "ndjson").stdout) == expected
    assert list(csv.DictReader(io.StringIO(run(data, asked, "--format", "csv").stdout))) == [expected]
    for name in ("out.parquet", "out.csv"):
        assert run(data, asked, "--output", str(tmp_path / name)).exit_code == 0
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert parquet.read_table(tmp_path / "out.parquet").column_names == list(expected)


def test_a_file_is_whole_or_as_it_was(data: Path, tmp_path: Path) -> None:
    """Where a statement fails among its rows, nothing is left of them; what is no file is written to as it is."""
    asked = "select if(range = 500000, error('no more'), range) as n from range(1000000)"
    (tmp_path / "rows.csv").write_text("what was here")
    for name in ("rows.csv", "new.csv", "new.parquet"):
        assert "no more" in refused(data, asked, "--output", str(tmp_path / name))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"rows.csv": "what was here"}
    assert run(data, "select 1 as n", "--output", str(tmp_path / "rows.csv")).exit_code == 0
    assert (tmp_path / "rows.csv").read_bytes() == b"n\r\n1\r\n" and (tmp_path / "rows.csv").stat().st_mode & 0o777 == 0o600
    assert run(data, "select 1", "--format", "csv", "--output", "/dev/null").exit_code == 0 and not Path("/dev/null").is_file()


def test_values_as_json(data: Path) -> None:
    """Whatever DuckDB gives becomes JSON: decimals with their digits, lists and structs inside, dates as text."""
    asked = (
        "select 1.50::decimal(5,2) a, [date '2026-01-01'] b, {'c': null} d, sum(7) e, interval 1 day f, 'x'::blob g, 0.1::float8 h"
    )
    shown = run(data, asked, "--format", "ndjson").stdout
    assert shown.startswith('{"a":1.50,"b":["2026-01-01"],"d":{"c":null},"e":7,"f":"') and shown.endswith('"g":"78","h":0.1}\n')


def test_a_table_for_people(data: Path) -> None:
    """What documents hold is shown as it is: no control character reaches the terminal, brackets are no markup."""
    shown = run(data, "select chr(27) || '[31m' || family as family, 1 as n from people order by family desc limit 1").output
    assert "\N{REPLACEMENT CHARACTER}[31mRed[bold]" in shown and "\x1b[31m" not in shown and "1 row" in shown
    assert "The first 1,000 rows" in run(data, "select * from range(1001)").stderr


def test_tables_are_listed(data: Path) -> None:
    """Without a statement it tells what tables there are, and which views are none, and why."""
    done = run(data)
    assert "Weights (ViewDefinition/w): id, patient, kg, taken" in done.stdout
    assert "twice is the name of several views: ViewDefinition/t1, ViewDefinition/t2" in done.stderr
    assert "ViewDefinition/unnamed has no name" in done.stderr


def test_standard_input(data: Path) -> None:
    """A dash reads the statement from standard input."""
    assert run(data, "-", "--format", "csv", text="select 'hé' as x -- and no more\n").stdout_bytes == "x\r\nhé\r\n".encode()


REFUSED = [
    ("select * from nothing", "nothing does not exist. Tables there are: Weights, people"),
    ("select * from twice", "twice does not exist"),
    ("select nope from people", 'column "nope" not found'),
    ("selec", 'syntax error at or near "selec"'),
    ("", "these are 0"),
    ("select 1; select 2", "these are 2"),
    ("select 'x'::int", "Could not convert"),
    ("drop view people", "only statements that ask"),
    ("create table t as select 1", "only statements that ask"),
    ("insert into people values (1)", "only statements that ask"),
    ("copy people to '/tmp/stolen.csv'", "only statements that ask"),
    ("attach '/tmp/x.db'", "only statements that ask"),
    ("set enable_external_access = true", "only statements that ask"),
    ("install httpfs", "only statements that ask"),
    ("load httpfs", "only statements that ask"),
    ("call pragma_version()", "only statements that ask"),
    ("select * from read_text('/etc/passwd')", "disabled by configuration"),
    ("select * from '/etc/passwd'", "does not exist"),
    ("select * from read_csv('https://example.org/x.csv')", "disabled"),
    ("select * from glob('/*')", "disabled by configuration"),
    ("select * from sqlite_scan('x.db', 't')", "sqlite_scan"),
    ("select getenv('HOME')", "getenv"),
    ("select * from query('select * from people')", "people does not exist"),
    ("x" * 100_001, "longer than"),
]


@pytest.mark.parametrize(("statement", "words"), REFUSED, ids=[each[:40] for each, _ in REFUSED])
def test_what_is_refused(data: Path, statement: str, words: str) -> None:
    """Statements that are none, that would change something, or reach beyond the tables, end with one line that says why."""
    assert words in refused(data, statement)


def test_options_that_make_no_sense(data: Path, tmp_path: Path) -> None:
    """Files that are no view or no export, memory that is none, a table into a file."""
    (tmp_path / "bad.json").write_text(json.dumps(view("x", "Patient", a="nope")))
    (tmp_path / "none.json").write_text("{")
    assert "no element nope" in refused(data, "select 1", "--view", str(tmp_path / "bad.json"))
    assert "is no JSON" in refused(data, "select 1", "--view", str(tmp_path / "none.json"))
    assert "cannot be read" in refused(data, "select 1", "--view", str(tmp_path / "absent.json"))
    assert "has no files of an export" in refused(data, "select 1", "--export", str(tmp_path))
    assert "neither a folder nor the manifest" in refused(data, "select 1", "--export", str(tmp_path / "none.json"))
    assert "no amount of memory" in refused(data, "select 1", "--memory", "lots")
    large = "select count(*) from (select distinct md5(range::varchar) from range(1000000))"
    assert "needs more memory than 1MB" in refused(data, large, "--memory", "1MB")
    assert "--output needs" in refused(data, "select 1", "--output", str(tmp_path / "x"))
    assert "does not exist" in refused(tmp_path / "elsewhere", "select 1")


def test_a_question_is_recorded(world: tuple[Path, httpx.Client]) -> None:
    """AuditEvents have the statement, the views and their types; a statement without a view needs none."""
    data, client = world

    def statements() -> list[dict[str, list[str]]]:
        found = client.get("AuditEvent?_count=1000").json().get("entry", [])
        entities = [entity for entry in found for entity in entry["resource"].get("entity", ())]
        queries = [b64decode(entity["query"]).decode() for entity in entities if "query" in entity]
        return [parse_qs(text.partition("?")[2]) for text in queries if text.startswith("$sql?")]

    rows(data, "select count(*) from weights where kg > 4711")
    before = len(statements())
    rows(data, "select 1")
    assert len(statements()) == before
    told = [each for each in statements() if "4711" in each["statement"][0]]
    assert told and all((each["view"], each["resource-type"]) == (["ViewDefinition/w"], ["Observation"]) for each in told)
    events = client.get("AuditEvent?entity=ViewDefinition/w&_count=1000").json()["entry"]
    assert any("fhir-server sql" in json.dumps(entry["resource"]["agent"]) for entry in events)


def test_patients_see_who_asked(world: tuple[Path, httpx.Client]) -> None:
    """The patients whom rows tell of are on record; a long statement is there by its hash, and its beginning."""
    data, client = world

    def questions(patient: str) -> list[bytes]:
        found = client.get(f"Patient/{patient}/$access-log?_count=200").json().get("entry", [])
        entities = [entity for entry in found for entity in entry["resource"].get("entity", ())]
        return [text for entity in entities if (text := b64decode(entity.get("query", ""))).startswith(b"$sql?")]

    before = len(questions("a"))
    rows(data, f"select count(*) from people -- {'x' * 5_000}")
    assert len(questions("a")) == before + 1
    told = parse_qs(questions("a")[0].partition(b"?")[2].decode())
    assert "statement-sha256" in told and len(told["statement"][0]) == 4_096


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as exports have them, packed and not, and a manifest."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "Patient.000001.000.ndjson").write_text("".join(json.dumps(each) + "\n" for each in PATIENTS))
    with gzip.open(folder / "Observation.000002.000.ndjson.gz", "wt") as file:
        file.write("".join(json.dumps(each) + "\n" for each in OBSERVATIONS))
    names = ("Patient.000001.000.ndjson", "Observation.000002.000.ndjson")
    output = [{"type": name.partition(".")[0], "url": f"http://example.org/$job/1/{name}"} for name in names]
    (folder / "manifest.json").write_text(json.dumps({"transactionTime": "2026-01-01T00:00:00Z", "output": output}))
    return folder


def test_an_export_is_tables(data: Path, export: Path, tmp_path: Path) -> None:
    """A folder or a manifest: types with the columns of Parquet, in NDJSON packed or not, and views of files over them."""
    joined = "Patient p join Observation o on o.subject->>'reference' = 'Patient/' || p.id"
    asked = f"select p.id, count(*) n from {joined} group by p.id order by n"
    found = [{"id": "b", "n": 2}, {"id": "a", "n": 3}]
    assert rows(data, asked, "--export", str(export)) == found
    assert rows(data, asked, "--export", str(export / "manifest.json")) == found
    (tmp_path / "v.json").write_text(json.dumps(WEIGHTS))
    assert rows(data, "select sum(kg) kg from weights", "--view", str(tmp_path / "v.json"), "--export", str(export)) == [
        {"kg": 12.5}
    ]
    listed = run(data, "--export", str(export)).stdout
    assert "Patient (Patient.000001.000.ndjson): resourceType, id, _id, meta" in listed


def test_an_export_that_is_cut_off(data: Path, export: Path, tmp_path: Path) -> None:
    """A file that is cut off, one that lies not beside its manifest, and a line that is no document are told of by name."""
    packed = (export / "Observation.000002.000.ndjson.gz").read_bytes()
    (tmp_path / "Observation.ndjson.gz").write_bytes(packed[:-20])
    assert "Observation.ndjson.gz cannot be read" in refused(data, "select * from Observation", "--export", str(tmp_path))
    (tmp_path / "manifest.json").write_text((export / "manifest.json").read_text())
    assert "does not lie beside it" in refused(data, "select 1", "--export", str(tmp_path / "manifest.json"))
    (tmp_path / "Patient.ndjson").write_text('{"resourceType":"Patient"}\nnonsense\n')
    assert "a line of Patient.ndjson is no Patient" in refused(data, "select * from Patient", "--export", str(tmp_path))
    (tmp_path / "v.json").write_text(json.dumps(PEOPLE))
    options = ("--export", str(tmp_path), "--view", str(tmp_path / "v.json"))
    assert "a line of Patient.ndjson is no Patient" in refused(data, "select * from people", *options)


def test_a_line_without_end(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small packed file may unpack to a line of gigabytes: it is told of, and never held."""
    monkeypatch.setattr(sources, "LONGEST", 1_000_000)
    with gzip.open(tmp_path / "Patient.ndjson.gz", "wt") as file:
        file.write('{"resourceType":"Patient"}\n{"resourceType":"Patient","id":"' + 2_000_000 * "a")
    told = refused(data, "select * from Patient", "--export", str(tmp_path))
    assert "Patient.ndjson.gz cannot be read" in told and "the document in line 2 has more than" in told
