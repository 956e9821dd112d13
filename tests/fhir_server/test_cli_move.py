"""`fhir-server move`: everything arrives as it is, in any kind of store, and what differs is told."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
from contracts.store_harness import EVENT, KINDS, change, removal, setting
from robustness.running import Server, clean_environment, interruptible

from resources.store import RecordChange, ResourceStore
from resources.stores.sqlite import SqliteStore

COMMAND = [sys.executable, "-m", "fhir_server", "move"]
TARGETS = ["sqlite", "mongo", "postgres"]


def move(source: str, target: str, folder: Path) -> tuple[int, Any, str]:
    """Exit code, the JSON that it printed (None: none), and standard error."""
    done = subprocess.run(
        [*COMMAND, "--from", source, "--to", target, "--json"],
        cwd=folder,
        capture_output=True,
        env=clean_environment(),
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr.decode()


async def fill(store: ResourceStore, count: int) -> None:
    await store.open()
    for start in range(0, count, 100):
        await store.commit([change(f"{n}", f"name{n}") for n in range(start, min(start + 100, count))], events=[EVENT])
    await store.commit([change("0", "changed")], events=[EVENT])
    await store.commit([removal("1")], events=[EVENT])
    await store.commit((), records=[RecordChange("client", f"c{n}", b"{}", tags=("app",)) for n in range(600)])
    await store.commit((), records=[RecordChange("user", "anna", b"\x00\xff", expires=9_000_000_000_000_000)])
    await store.close()


@pytest.fixture
def source(tmp_path: Path) -> str:
    """The URL of a SQLite store with 500 Patients, one of them changed, one deleted."""
    asyncio.run(fill(SqliteStore(tmp_path / "from.db", synchronous="NORMAL"), 500))
    return f"sqlite:///{tmp_path / 'from.db'}"


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store of each kind."""
    with setting(request.param, tmp_path) as place:
        assert request.param in KINDS
        yield place.database or f"sqlite:///{tmp_path / 'to.db'}"


def test_everything_arrives_and_a_second_run_finds_nothing_to_do(source: str, target: str, tmp_path: Path) -> None:
    """Versions, deletions and events are copied, counted by type and compared; the digest is the same whichever way one looks."""
    code, first, _ = move(source, target, tmp_path)
    assert (code, first["copied"], first["compared"], first["differences"]) == (0, 509, 509, [])
    assert first["records"] == 601
    assert first["types"] == {"AuditEvent": 7, "Patient": 502}
    code, second, _ = move(source, target, tmp_path)
    assert (code, second["copied"], second["digest"]) == (0, 0, first["digest"])


def test_records_are_made_the_same(source: str, tmp_path: Path) -> None:
    """What was changed or forgotten since the first run is so after the second; values, tags and times are as they were."""
    assert move(source, f"sqlite:///{tmp_path / 'to.db'}", tmp_path)[0] == 0

    async def forget() -> None:
        store = SqliteStore(tmp_path / "from.db")
        await store.open()
        await store.commit((), records=[RecordChange("client", "c1", None), RecordChange("client", "c2", b"2")])
        await store.close()

    asyncio.run(forget())
    code, second, _ = move(source, f"sqlite:///{tmp_path / 'to.db'}", tmp_path)
    assert (code, second["records"], second["copied"]) == (0, 600, 0)

    async def look() -> None:
        store = SqliteStore(tmp_path / "to.db")
        await store.open()
        clients = await store.records("client", tag="app")
        assert len(clients) == 598 and await store.record("client", "c1") is None
        changed, user = await store.record("client", "c2"), await store.record("user", "anna")
        assert changed is not None and changed.value == b"2"
        assert user is not None and (user.value, user.expires) == (b"\x00\xff", 9_000_000_000_000_000)
        await store.close()

    asyncio.run(look())


def test_the_stores_may_be_given_by_variables(source: str, tmp_path: Path) -> None:
    """FHIR_MOVE_FROM and FHIR_MOVE_TO stand for --from and --to, so that no password need be on the command line."""
    variables = {"FHIR_MOVE_FROM": source, "FHIR_MOVE_TO": f"sqlite:///{tmp_path / 'to.db'}"}
    done = subprocess.run(
        [*COMMAND, "--json"], cwd=tmp_path, capture_output=True, env={**clean_environment(), **variables}, check=True
    )
    assert json.loads(done.stdout)["compared"] == 509


def test_the_way_back_is_the_same(source: str, target: str, tmp_path: Path) -> None:
    """From the new store into another SQLite file: nothing was lost on the way."""
    digest = move(source, target, tmp_path)[1]["digest"]
    code, back, _ = move(target, f"sqlite:///{tmp_path / 'back.db'}", tmp_path)
    assert (code, back["digest"]) == (0, digest)


def test_a_moved_store_is_searched_at_once(source: str, tmp_path: Path) -> None:
    """The search index of an embedded target is written along."""
    (tmp_path / "to").mkdir()
    assert move(source, f"sqlite:///{tmp_path / 'to' / 'fhir.db'}", tmp_path)[0] == 0
    with Server(tmp_path / "to") as server, httpx.Client(base_url=server.base, timeout=60) as client:
        assert client.get("/Patient?_summary=count").json()["total"] == 499
        assert client.get("/Patient?family=changed").json()["total"] == 1
        assert client.get("/Patient/1").status_code == 410
        assert client.get("/AuditEvent?_summary=count").json()["total"] >= 7


HELD = """
import asyncio, time
from fhir_server.cli import main
from resources.stores.sqlite import SqliteStore

adopt = SqliteStore.adopt

async def held(store, versions):
    await adopt(store, versions)
    if versions[-1].position >= 1_000:
        print("held", flush=True)
        while not asyncio.current_task().cancelling():
            time.sleep(0.01)

SqliteStore.adopt = held
main()
"""
"""The command, which does not get further than some 1,000 versions before it is interrupted."""


def test_an_interrupted_move_goes_on(tmp_path: Path) -> None:
    """Stopped with Ctrl-C it says how to go on; what was copied is not copied again."""
    asyncio.run(fill(SqliteStore(tmp_path / "from.db", synchronous="NORMAL"), 10_000))
    source, target = f"sqlite:///{tmp_path / 'from.db'}", f"sqlite:///{tmp_path / 'to.db'}"
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, "move", "--from", source, "--to", target],
        cwd=tmp_path,
        env=clean_environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=interruptible,
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    os.kill(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=60)[1].decode()
    assert (process.returncode, errors.strip()) == (130, "fhir-server: stopped; the same command goes on where this one was")
    code, rest, _ = move(source, target, tmp_path)
    assert code == 0 and 0 < rest["copied"] < rest["compared"] and rest["differences"] == []


def test_another_store_is_not_added_to(source: str, tmp_path: Path) -> None:
    """A target that holds something else stays as it is."""
    asyncio.run(fill(SqliteStore(tmp_path / "other.db", synchronous="NORMAL"), 3))
    code, _, errors = move(source, f"sqlite:///{tmp_path / 'other.db'}", tmp_path)
    assert code == 2 and "holds something else already" in errors


def test_a_difference_is_found(source: str, tmp_path: Path) -> None:
    """A document that was changed behind the store's back is named, and the exit code is 1."""
    target = tmp_path / "to.db"
    move(source, f"sqlite:///{target}", tmp_path)
    connection = apsw.Connection(str(target))
    connection.execute("UPDATE doc SET body = (SELECT body FROM doc WHERE seq = 10) WHERE seq = 11")
    connection.close()
    code, result, _ = move(source, f"sqlite:///{target}", tmp_path)
    assert (code, result["differences"]) == (1, ["Patient/10 version 1"])


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ("sqlite:///nowhere.db", "sqlite:///b.db", "does not exist"),
        ("memory://", "sqlite:///b.db", "forgets everything"),
        ("sqlite:///a.db", "sqlite:///a.db", "the same store"),
        ("sqlite:///a.db", "oracle://x", "FHIR_STORE_URL"),
    ],
)
def test_what_cannot_be_moved_is_said_in_one_line(source: str, target: str, told: str, tmp_path: Path) -> None:
    """Nothing is made or changed."""
    code, _, errors = move(source, target, tmp_path)
    assert code == 2 and told in errors and errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
