"""Whoever is killed in the middle is followed by the same command: everything is here once, and the counts are as if nothing had been."""

import json
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from migrating.running import beginning, holding, imported, totals, versions

ROWS = 1_500
MAPPING = """
files:
  people.csv:
    resources:
    - {type: Patient, id: n, elements: {name.family: name}}
    - {type: Basic, id: n, elements: {code.text: name, subject: {reference: Patient, column: n}}}
"""
COUNTS = {"Basic": ROWS, "Patient": ROWS}


@pytest.fixture(scope="module")
def mapping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows for 3,000 resources."""
    folder = Path(tmp_path_factory.mktemp("rows"))
    rows = "".join(f"r{number},Name {number}\n" for number in range(ROWS))
    (folder / "people.csv").write_text(f"n,name\n{rows}", "utf-8")
    (folder / "mapping.yaml").write_text(MAPPING, "utf-8")
    return folder / "mapping.yaml"


@pytest.fixture(scope="module")
def filled(mapping: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store into which the rows were imported, by a process that was killed, and one that was not."""
    folder = Path(tmp_path_factory.mktemp("filled")) / "data"
    _killed(folder, "written", 800, "csv", str(mapping))
    assert 800 < _written(folder) < 2 * ROWS
    done = imported(folder, "csv", str(mapping))
    assert done.code == 0, done.said
    assert done.of("received") == done.of("verified") == done.of("written") == COUNTS and done.of("unchanged") == {}
    return folder


@pytest.fixture(scope="module")
def source(filled: Path) -> Iterator[httpx.Client]:
    """A server of that store."""
    with holding(filled, jobs_at_once=100, rate_limit_polls="off") as client:
        yield client


def test_rows(source: httpx.Client) -> None:
    """Each is written once."""
    assert totals(source, list(COUNTS)) == COUNTS
    assert versions(source, "Patient") == versions(source, "Basic") == ROWS


def test_pages(source: httpx.Client, tmp_path: Path) -> None:
    """Killed while pages are fetched, and while they are written."""
    folder, command = tmp_path / "data", ("server", str(source.base_url), "--by", "pages", "--type", "Patient", "--count", "100")
    _killed(folder, "fetched", 20_000, *command)
    pages = _fetched(folder)
    assert pages > 20_000 and _written(folder) == 0
    _killed(folder, "written", 400, *command)
    assert 400 < _written(folder) < ROWS
    done = imported(folder, *command)
    assert done.code == 0, done.said
    assert done.of("source") == done.of("received") == done.of("written") == done.of("verified") == {"Patient": ROWS}
    with holding(folder) as here:
        assert totals(here, ["Patient"]) == {"Patient": ROWS} and versions(here, "Patient") == ROWS


def test_two_at_a_time(mapping: Path, tmp_path: Path) -> None:
    """The same import a second time beside the first one is refused."""
    process = beginning(tmp_path / "data", "written", 0, "csv", str(mapping))
    try:
        _wait(process, lambda: _written(tmp_path / "data") > 0)
        done = imported(tmp_path / "data", "csv", str(mapping))
        assert done.code == 2 and "the same import is under way in another process" in done.said
    finally:
        process.kill()
        process.wait()


def test_an_export(source: httpx.Client, tmp_path: Path) -> None:
    """Killed while it waits, and while files are written; the source is asked for one export only."""
    folder, command = tmp_path / "data", ("server", str(source.base_url), "--by", "export")
    _killed(folder, "export", 0, *command)
    first = _export(folder)
    _killed(folder, "written", 400, *command)
    assert 400 < _written(folder) < 2 * ROWS
    assert _export(folder) == first
    done = imported(folder, *command)
    assert done.code == 0, done.said
    assert done.of("source") == done.of("written") == done.of("verified") == COUNTS


def _killed(folder: Path, what: str, count: int, *command: str) -> None:
    """Begin the command, and kill it where it stands still, when more than that is done."""
    done: dict[str, Callable[[], bool]] = {
        "written": lambda: _written(folder) > count,
        "fetched": lambda: _fetched(folder) > count,
        "export": lambda: any(folder.glob("import/*/export.json")),
    }
    process = beginning(folder, what, count, *command)
    _wait(process, done[what])
    process.kill()
    assert process.wait() == -9


def _wait(process: "subprocess.Popen[bytes]", met: Callable[[], bool]) -> None:
    """Until that holds."""
    deadline = time.monotonic() + 60
    while not met():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


def _written(folder: Path) -> int:
    """How many resources the ledger knows by now."""
    for path in folder.glob("import/*/ledger.sqlite"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
            try:
                return int(ledger.execute("select count(*) from resource").fetchone()[0])
            except sqlite3.OperationalError:
                return 0
    return 0


def _export(folder: Path) -> str:
    """The address of the export."""
    [path] = folder.glob("import/*/export.json")
    address: str = json.loads(path.read_text("utf-8"))["status"]
    return address


def _fetched(folder: Path) -> int:
    """How many bytes of pages there are by now."""
    return sum(path.stat().st_size for path in folder.glob("import/*/pages.*.ndjson"))
