"""`fhir-server load`: what is right gets in, what is wrong is named, and nothing gets in twice."""

import asyncio
import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from robustness.running import ROOT, Server, clean_environment, interruptible

from fhir_server.app import open_context
from fhir_server.config import Settings
from search.parse import parse

SAMPLE = ROOT / "sample_data"
SAMPLE_RESOURCES = 3586
COMMAND = [sys.executable, "-m", "fhir_server", "load", "--json"]


def load(*arguments: str | Path, data_dir: Path, input: bytes | None = None) -> tuple[int, Any, str]:
    """Exit code, the JSON that it printed (None: none), and standard error."""
    command = [*COMMAND, "--data-dir", str(data_dir), *map(str, arguments)]
    done = subprocess.run(
        command, input=input, capture_output=True, cwd=data_dir.parent, env=clean_environment(), check=False, timeout=600
    )
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr.decode()


def stored(data_dir: Path, *types: str) -> list[Any]:
    """The live resources of these types (none: all but AuditEvents), decoded."""

    async def read() -> list[Any]:
        async with open_context(Settings(data_dir=data_dir, auth="off")) as ctx:
            versions = [v async for some in ctx.store.scan(types, until=await ctx.store.position()) for v in some]
        return [json.loads(v.body or b"") for v in versions if types or v.type != "AuditEvent"]

    return asyncio.run(read())


def patient(id: str, **more: Any) -> bytes:
    """A Patient as a line."""
    return json.dumps({"resourceType": "Patient", "id": id, **more}).encode()


def bundle(kind: str, *entries: tuple[str, Any]) -> bytes:
    """A Bundle that posts these resources (address, resource)."""
    made = [{"resource": resource, "request": {"method": "PUT" if "/" in url else "POST", "url": url}} for url, resource in entries]
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": made}).encode()


def test_single_resources_are_kept_under_their_id(tmp_path: Path) -> None:
    """NDJSON, packed NDJSON and a laid-out .json file are all understood; a resource without id gets one."""
    (tmp_path / "a.ndjson").write_bytes(patient("a") + b"\n\n" + patient("b") + b"\n")
    (tmp_path / "b.ndjson.gz").write_bytes(gzip.compress(b'{"resourceType":"Organization","name":"no id"}'))
    (tmp_path / "c.json").write_text(json.dumps(json.loads(patient("c")), indent=2))
    code, result, _ = load("a.ndjson", "b.ndjson.gz", "c.json", data_dir=tmp_path / "data")
    assert (code, result["resources"], result["failed"]) == (0, 4, [])
    assert {p["id"] for p in stored(tmp_path / "data", "Patient")} == {"a", "b", "c"}
    assert [o["name"] for o in stored(tmp_path / "data", "Organization")] == ["no id"]


def test_what_is_wrong_is_named_and_the_rest_gets_in(tmp_path: Path) -> None:
    """Each failure has file, line and reason; its neighbours in the same request are loaded; the exit code is 1."""
    lines = [
        patient("good"),
        patient("bad", gender="robot"),
        b"{no json",
        patient("fine"),
        b'{"name":"nothing"}',
        patient("un_der"),
    ]
    (tmp_path / "mixed.ndjson").write_bytes(b"\n".join(lines))
    code, result, _ = load("mixed.ndjson", data_dir=tmp_path / "data")
    assert code == 1
    assert {p["id"] for p in stored(tmp_path / "data", "Patient")} == {"good", "fine"}
    failed = {f["line"]: f["text"] for f in result["failed"]}
    assert set(failed) == {2, 3, 5, 6}
    assert "gender" in failed[2] and "JSON" in failed[3] and "resourceType" in failed[5]


def test_the_failing_entry_of_a_bundle_is_named(tmp_path: Path) -> None:
    """Of a transaction nothing is loaded and the entry at fault is told; of a batch all but the entry at fault."""
    good, bad = {"resourceType": "Patient"}, {"resourceType": "Patient", "gender": "robot"}
    (tmp_path / "t.json").write_bytes(bundle("transaction", ("Patient", good), ("Patient", bad)))
    (tmp_path / "b.json").write_bytes(bundle("batch", ("Patient", good), ("Patient", good), ("Patient", bad)))
    code, result, _ = load("t.json", "b.json", data_dir=tmp_path / "data")
    assert code == 1
    assert [(Path(f["source"]).name, f["line"], f["entry"]) for f in result["failed"]] == [("b.json", 1, 2), ("t.json", 1, 1)]
    assert all("robot" in f["text"] for f in result["failed"])
    assert len(stored(tmp_path / "data", "Patient")) == 2


def test_references_by_criteria_find_what_comes_later(tmp_path: Path) -> None:
    """A transaction whose hospital is in a later line, or a later file, is tried again once that is there."""
    identifier = {"system": "urn:example", "value": "7"}
    visit = {
        "resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"},
        "serviceProvider": {"reference": "Organization?identifier=urn:example|7"},
    }  # fmt: skip
    hospital = {"resourceType": "Organization", "identifier": [identifier], "name": "Late"}
    (tmp_path / "1.ndjson").write_bytes(bundle("transaction", ("Encounter", visit)))
    (tmp_path / "2.ndjson").write_bytes(
        bundle("transaction", ("Encounter", visit)) + b"\n" + bundle("transaction", ("Organization", hospital))
    )
    code, result, _ = load("1.ndjson", "2.ndjson", "--processes", "1", data_dir=tmp_path / "data")
    assert (code, result["failed"]) == (0, [])
    [organization] = stored(tmp_path / "data", "Organization")
    found = [e["serviceProvider"]["reference"] for e in stored(tmp_path / "data", "Encounter")]
    assert found == [f"Organization/{organization['id']}"] * 2


def test_a_file_is_loaded_once(tmp_path: Path) -> None:
    """The second time it is skipped; --again loads it; so does another database in the same folder."""
    (tmp_path / "t.json").write_bytes(bundle("transaction", ("Patient", {"resourceType": "Patient"})))
    data = tmp_path / "data"
    assert load("t.json", data_dir=data)[1]["resources"] == 1
    code, result, _ = load("t.json", data_dir=data)
    assert (code, result["resources"], result["skipped"]) == (0, 0, ["t.json"])
    assert load("t.json", "--again", data_dir=data)[1]["resources"] == 1
    assert len(stored(data, "Patient")) == 2
    for path in data.glob("fhir.db*"):
        path.unlink()
    assert load("t.json", data_dir=data)[1]["resources"] == 1
    assert len(stored(data, "Patient")) == 1


def test_a_load_that_was_killed_goes_on_and_nothing_is_there_twice(tmp_path: Path) -> None:
    """Killed at any moment, started again until it ends: every resource of the population is there once."""
    data = tmp_path / "data"
    rounds = 0
    for wait in (2, 5, 9):
        journal_lines = _kill_load_at(wait, data)
        rounds += journal_lines >= wait
    assert rounds, "no load was killed under way"
    code, result, errors = load(SAMPLE, data_dir=data)
    assert (code, result["failed"]) == (0, []), errors
    # The two batches are not one commit each, and a PractitionerRole of theirs has nothing to be recognised by.
    resources = [r for r in stored(data) if r["resourceType"] != "PractitionerRole"]
    assert len(resources) == SAMPLE_RESOURCES - 61
    assert len(stored(data, "PractitionerRole")) >= 61


def _kill_load_at(lines: int, data: Path) -> int:
    """Start loading the sample, kill it and its processes once so many journal lines are written; how many were."""
    command = [*COMMAND, "--data-dir", str(data), str(SAMPLE)]
    process = subprocess.Popen(
        command,
        cwd=data.parent,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    before = _journal_lines(data)
    while process.poll() is None and _journal_lines(data) < before + lines:
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    return _journal_lines(data) - before


def _journal_lines(data: Path) -> int:
    return sum(path.read_bytes().count(b'"lines"') for path in data.glob("load/*.jsonl"))


def test_stopped_with_ctrl_c_it_says_how_to_go_on(tmp_path: Path) -> None:
    """What is under way is finished, the exit code is 130, and the same command ends the work."""
    data, many = tmp_path / "data", tmp_path / "many.ndjson"
    many.write_bytes(b"\n".join(patient(f"p{n}") for n in range(5_000)))
    sources = (SAMPLE, many, "-")  # standard input stays open: it cannot be done before it is stopped
    command = [*COMMAND, "--data-dir", str(data), *map(str, sources)]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=interruptible,
    )
    while _journal_lines(data) < 3:
        assert process.poll() is None
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    _, errors = process.communicate()
    assert errors.decode().strip() == "fhir-server: stopped; the same command goes on where this one was"
    code, result, _ = load(*sources, data_dir=data, input=b"")
    assert (code, result["failed"]) == (0, [])
    assert len(stored(data)) == SAMPLE_RESOURCES + 5_000


def test_standard_input_is_a_source(tmp_path: Path) -> None:
    """`-` reads NDJSON, packed or not."""
    assert load("-", data_dir=tmp_path / "data", input=patient("a") + b"\n" + patient("b"))[1]["resources"] == 2
    assert load("-", data_dir=tmp_path / "data", input=gzip.compress(patient("c")))[1]["resources"] == 1
    assert len(stored(tmp_path / "data", "Patient")) == 3


def test_the_last_line_of_a_resource_wins(tmp_path: Path) -> None:
    """Several lines for one resource are versions in the order of the file, however many processes load."""
    (tmp_path / "a.ndjson").write_bytes(b"\n".join(patient("a", birthDate=f"20{n // 12:02}-{n % 12 + 1:02}") for n in range(500)))
    code, result, _ = load("a.ndjson", "--processes", "2", data_dir=tmp_path / "data")
    assert (code, result["resources"]) == (0, 500)
    [only] = stored(tmp_path / "data", "Patient")
    assert (only["birthDate"], only["meta"]["versionId"]) == ("2041-08", "500")


def test_files_that_are_cut_off_or_damaged(tmp_path: Path) -> None:
    """What stands before that is loaded, and so are the other files; where each breaks off is told, and a whole one brings the rest."""
    names = [f"p{number}" for number in range(900)]
    packed = gzip.compress(b"\n".join(patient(name, name=[{"family": os.urandom(40).hex()}]) for name in names))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "b.ndjson.gz").write_bytes(gzip.compress(patient("b"))[:12] + b"\xff" * 40)
    (folder / "c.ndjson").write_bytes(patient("c"))
    code, result, _ = load("folder", data_dir=tmp_path / "data")
    cut, damaged = result["failed"]
    assert code == 1 and result["resources"] == cut["line"] and 200 < cut["line"] < 700
    assert cut["source"].endswith("a.ndjson.gz") and cut["text"].startswith("the file cannot be read from here on: ")
    assert damaged["source"].endswith("b.ndjson.gz") and damaged["line"] == 1
    (folder / "a.ndjson.gz").write_bytes(packed)
    (folder / "b.ndjson.gz").unlink()
    code, result, _ = load("folder", data_dir=tmp_path / "data")
    assert code == 0 and len(result["skipped"]) == 1
    assert len(stored(tmp_path / "data", "Patient")) == 901


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.json.gz"])
def test_a_document_that_unpacks_into_gigabytes(tmp_path: Path, name: str) -> None:
    """A few packed bytes that come to a document without end take no memory without end: it is told with its line, as a failure."""
    with gzip.open(tmp_path / name, "wb") as file:
        lines = name.startswith("a.ndjson")
        file.write(patient("a") + b"\n" if lines else b"[")
        for _ in range(260):
            file.write(b" " * 1024 * 1024)
    code, result, _ = load(name, data_dir=tmp_path / "data")
    [failed] = result["failed"]
    line = 2 if lines else 1
    assert (code, result["resources"], failed["line"]) == (1, line - 1, line)
    assert failed["text"].startswith(f"the document in line {line} has more than 256 MB")


WRONG: list[tuple[Sequence[str], str]] = [
    (["nowhere.json"], "nowhere.json does not exist"),
    (["file.txt"], "file.txt is not something to load"),
    (["empty"], "empty holds nothing to load"),
    (["--url", "http://127.0.0.1:9", "a.json"], "http://127.0.0.1:9 does not answer"),
]


@pytest.mark.parametrize("arguments, told", WRONG, ids=lambda value: str(value)[:30])
def test_what_cannot_be_loaded_at_all_is_said_in_one_line(arguments: Sequence[str], told: str, tmp_path: Path) -> None:
    """Exit code 2, one line on standard error."""
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.json").write_bytes(patient("a"))
    code, result, errors = load(*arguments, data_dir=tmp_path / "data")
    assert (code, result) == (2, None)
    assert told in errors and len(errors.strip().splitlines()) == 1


def test_a_running_server_is_loaded_over_http(tmp_path: Path) -> None:
    """With --url the same files go to a server, and what it refuses is named."""
    with Server(tmp_path / "server") as server:
        code, result, errors = load("--url", server.base, SAMPLE, data_dir=tmp_path / "client")
        assert (code, result["resources"], result["failed"]) == (0, SAMPLE_RESOURCES, []), errors
        (tmp_path / "bad.ndjson").write_bytes(patient("good") + b"\n" + patient("bad", gender="robot"))
        code, result, _ = load("--url", server.base, "bad.ndjson", data_dir=tmp_path / "client")
        assert (code, result["resources"], [f["line"] for f in result["failed"]]) == (1, 1, [2])


def test_loading_beside_a_running_server_is_seen_by_it(tmp_path: Path) -> None:
    """The loader writes to the file that the server serves."""
    import httpx

    (tmp_path / "a.ndjson").write_bytes(patient("a"))
    with Server(tmp_path / "data") as server:
        assert load("a.ndjson", data_dir=tmp_path / "data")[0] == 0
        assert httpx.get(f"{server.base}/Patient/a", timeout=60).status_code == 200
        assert httpx.get(f"{server.base}/Patient?_id=a", timeout=60).json()["total"] == 1


def test_failures_are_written_as_outcomes(tmp_path: Path) -> None:
    """--errors has an OperationOutcome a line, with file, line and entry."""
    (tmp_path / "a.ndjson").write_bytes(b"\n".join((patient("a"), patient("b", gender="robot"), b"nothing", patient("c"))) + b"\n")
    (tmp_path / "t.json").write_bytes(bundle("transaction", ("Patient", {"resourceType": "Patient", "birthDate": "x"})))
    code, result, _ = load("a.ndjson", "t.json", "--errors", "wrong.ndjson", data_dir=tmp_path / "data")
    assert code == 1 and result["resources"] == 2
    told = [json.loads(line) for line in (tmp_path / "wrong.ndjson").read_bytes().splitlines()]
    assert {each["resourceType"] for each in told} == {"OperationOutcome"}
    places = sorted(each["issue"][0]["diagnostics"] for each in told)
    assert places == ["a.ndjson line 2", "a.ndjson line 3", "t.json, entry 0 line 1"]
    assert any(each["issue"][0].get("expression") == ["Patient.gender"] for each in told)


def test_what_is_there_as_it_is_stays(tmp_path: Path) -> None:
    """Loaded again, only what says something else gets a new version."""
    (tmp_path / "a.ndjson").write_bytes(b"\n".join((patient("a"), patient("b"))))
    assert load("a.ndjson", data_dir=tmp_path / "data")[1]["resources"] == 2
    (tmp_path / "a.ndjson").write_bytes(b"\n".join((patient("a"), patient("b", active=True), patient("c"))))
    assert load("a.ndjson", data_dir=tmp_path / "data")[1]["resources"] == 3
    versions = {each["id"]: each["meta"]["versionId"] for each in stored(tmp_path / "data", "Patient")}
    assert versions == {"a": "1", "b": "2", "c": "1"}


def test_a_first_load_is_indexed_in_the_end(tmp_path: Path) -> None:
    """With --first all can be searched when the command ends, and what was loaded before all the while."""
    data = tmp_path / "data"
    (tmp_path / "p.ndjson").write_bytes(patient("a"))
    assert load("p.ndjson", data_dir=data)[0] == 0
    observation = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/a"}}
    lines = [json.dumps({"id": f"o{number}", **observation}).encode() for number in range(500)]
    (tmp_path / "o.ndjson").write_bytes(b"\n".join((*lines, patient("b"))))
    code, result, _ = load("o.ndjson", "--first", data_dir=data)
    assert code == 0 and result["resources"] == 501

    async def found() -> list[int | None]:
        async with open_context(Settings(data_dir=data, auth="off")) as ctx:
            asked = (
                ("Observation", "subject=Patient/a"),
                ("Patient", "_has:Observation:subject:status=final"),
                ("Patient", "_id=b"),
            )
            parsed = [
                parse(type, f"{text}&_summary=count", parameters=ctx.parameters, base_url=ctx.settings.bases, default_count=1)
                for type, text in asked
            ]
            return [(await ctx.index.search(each.query)).total for each in parsed]

    assert asyncio.run(found()) == [500, 1, 1]
