"""A store with some audited history, its checkpoints, and the means to tamper with it as somebody would who has the database file."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from contracts.store_harness import EVENT, change
from robustness.running import ROOT, clean_environment

from fhir_server.auditing.checkpoints import Checkpoints
from fhir_server.auditing.findings import Finding, Report
from fhir_server.auditing.keys import public_keys, signing_key
from fhir_server.auditing.verify import Verifier
from resources.instants import now
from resources.stores.bodies import Bodies
from resources.stores.sqlite import SqliteStore
from smart_auth.sealing import Sealer

SECRET = b"0123456789abcdef"


def command(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """`fhir-server audit …` on a data folder."""
    return subprocess.run(
        [sys.executable, "-m", "fhir_server", "audit", *arguments, "--data-dir", str(folder)],
        cwd=ROOT,
        env=clean_environment(**{"FHIR_SECRET": SECRET.decode(), **more}),
        capture_output=True,
        text=True,
        check=False,
    )


def verified(folder: Path, *options: str, **more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report of `fhir-server audit verify`."""
    done = command(folder, "verify", "--json", *options, **more)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def examined(folder: Path, secret: bytes = SECRET) -> dict[str, Any]:
    """What the command would find, without starting it."""

    async def run() -> Report:
        report = Report()
        store = SqliteStore(folder / "fhir.db")
        await store.open()
        try:
            keys, doubtful = await public_keys(store, Sealer(secret))
            for name in doubtful:
                report.add(Finding("key", f"key {name}", "not believed"))
            return await Verifier(store, keys, {}, report).run(lambda at, end: None)
        finally:
            await store.close()

    found: dict[str, Any] = msgspec.to_builtins(asyncio.run(run()))
    return found


async def lived(folder: Path, commits: int, *, signed: bool = True) -> None:
    """One opening of the store: so many commits of two events each, a checkpoint in the middle, and one at its end if `signed`."""
    store = SqliteStore(folder / "fhir.db", synchronous="NORMAL")
    await store.open()
    checkpoints = Checkpoints(store, await signing_key(store, Sealer(SECRET), None), now, 3_600)
    for number in range(commits):
        await store.commit([change(f"{number}")], events=[EVENT, EVENT])
        if number == commits // 2:
            await checkpoints.make()
    if signed:
        await checkpoints.stop()
    await store.close()


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A data folder: three openings, 24 events (event-2, event-3, event-5, …, event-36), six checkpoints."""

    async def all_of_it() -> None:
        for _ in range(3):
            await lived(tmp_path, 4)

    asyncio.run(all_of_it())
    return tmp_path


Tamper = Callable[[apsw.Connection], object]


def tamper(folder: Path, *works: Tamper) -> None:
    """What somebody does who has the database file."""
    connection = apsw.Connection(str(folder / "fhir.db"))
    for work in works:
        work(connection)
    connection.close()


def group(connection: apsw.Connection, position: int) -> tuple[int, list[bytes]]:
    """Position and events of the packed group that an event is in."""
    first, body = next(iter(connection.execute("SELECT seq, body FROM log WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (position,))))
    return first, Bodies().unpack(body).split(b"\n")


def put(connection: apsw.Connection, first: int, lines: Sequence[bytes]) -> None:
    """Other events in place of a group's."""
    packed = Bodies().pack_events(b"\n".join(lines))
    connection.execute("UPDATE log SET body = ?, count = ? WHERE seq = ?", (packed, len(lines), first))
