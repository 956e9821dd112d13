"""Archives of the audit: nothing is removed that is not in a durable, signed file, and files and store are verified together."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit.conftest import SECRET, command, lived, tamper
from contracts.store_harness import EVENT, KINDS, Setting, setting
from robustness.running import ROOT, clean_environment

from fhir_server.app import open_context
from fhir_server.auditing import archive as archiving
from fhir_server.auditing.archive import ArchiveProblem, Archiver, events_of
from fhir_server.auditing.checkpoints import Checkpoints
from fhir_server.auditing.findings import Report
from fhir_server.auditing.keys import public_keys, signing_key
from fhir_server.auditing.retention import DAY, Retention
from fhir_server.auditing.verify import Verifier
from fhir_server.auditing.verify_archive import manifests, verify_files
from fhir_server.config import SettingsError, load_settings
from resources.instants import now
from resources.store import ResourceStore
from resources.stores.sqlite import SqliteStore
from smart_auth.sealing import Sealer

LATER = 9_000_000_000_000_000


async def archiver_of(store: ResourceStore, folder: Path) -> Archiver:
    key = await signing_key(store, Sealer(SECRET), None)
    believed, _ = await public_keys(store, Sealer(SECRET))
    return Archiver(store, folder, key, believed, now)


async def report_of(store: ResourceStore, folder: Path | None) -> Report:
    """What `fhir-server audit verify --archive FOLDER` finds."""
    believed, _ = await public_keys(store, Sealer(SECRET))
    report = Report()
    known = await manifests(store, believed, report)
    if folder is not None:
        verify_files(folder, known, report)
    return await Verifier(store, believed, {}, report).run(lambda at, end: None, None, [manifest for _, manifest in known])


def on(data: Path, work: Any) -> Any:
    """Run a coroutine function on the store of a data folder."""

    async def run() -> Any:
        store = SqliteStore(data / "fhir.db", synchronous="NORMAL")
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def own_ids(store: ResourceStore) -> set[str]:
    return {v.id async for part in store.scan(["AuditEvent"], until=await store.position()) for v in part}


def archived_ids(folder: Path) -> list[str]:
    """The ids of the events in all files of a folder."""
    return [json.loads(body)["id"] for file in sorted(folder.glob("audit-*.zst")) for body, _ in events_of(file)]


def silent(at: int, end: int) -> None:
    return


def test_a_copy_leaves_the_store_as_it_is(history: Path, tmp_path: Path) -> None:
    """With --keep: a packed file and its manifest, and everything verifies, with the archive and without."""
    folder = tmp_path / "archive"
    done = command(history, "archive", "--before", "2100-01-01", "--to", str(folder), "--keep", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["removed"], [each["count"] for each in told["archives"]]) == (0, [24])
    assert sorted(path.suffix for path in folder.iterdir()) == [".jws", ".zst"]
    assert len(on(history, own_ids)) == 24
    report = on(history, lambda store: report_of(store, folder))
    assert (report.findings, report.linked, report.archived, report.elsewhere) == ([], 48, 24, 0)
    again = command(history, "archive", "--before", "2100-01-01", "--to", str(folder), "--keep", "--json")
    assert json.loads(again.stdout)["archives"] == []


def test_what_is_archived_is_removed_and_chains_go_on(history: Path, tmp_path: Path) -> None:
    """From the store and its index; what is written later follows what is in the archive, and verify reads both."""
    folder = tmp_path / "archive"
    before = json.loads(command(history, "verify", "--json").stdout)
    done = command(history, "archive", "--before", "2100-01-01", "--to", str(folder))
    assert json.loads(command(history, "verify", "--json").stdout)["until"] == before["until"] > 0
    assert done.returncode == 0 and "24 AuditEvents archived, 22 removed" in done.stdout, (done.stdout, done.stderr)
    asyncio.run(lived(history, 3))
    report = on(history, lambda store: report_of(store, None))
    assert (report.findings, report.linked, report.elsewhere, report.writers) == ([], 6, 24, 1)
    report = on(history, lambda store: report_of(store, folder))
    assert (report.findings, report.archived) == ([], 24)
    done = command(history, "verify", "--archive", str(folder))
    assert done.returncode == 0 and "24 were looked at there" in done.stdout
    more = command(history, "archive", "--before", "2100-01-01", "--to", str(folder), "--json")
    assert [each["count"] for each in json.loads(more.stdout)["archives"]] == [6]
    assert len(archived_ids(folder)) == len(set(archived_ids(folder))) == 30
    assert command(history, "verify", "--archive", str(folder)).returncode == 0


def test_why_something_stays(history: Path, tmp_path: Path) -> None:
    """What was signed too late, what nobody has signed yet, and what the store keeps: one line each time, as JSON a list."""
    folder = tmp_path / "archive"
    options = ("archive", "--before", "2020-01-01", "--to", str(folder))
    early = command(history, *options).stdout
    assert "0 AuditEvents archived, 0 removed" in early
    assert "What stays in the store: those from position 1 on: they were signed at 20" in early
    assert "not before 2020-01-01T00:00:00.000Z" in early
    asyncio.run(lived(history, 1, signed=False))
    told = json.loads(command(history, "archive", "--before", "2100-01-01", "--to", str(folder), "--json").stdout)
    assert len(told["stays"]) == 1 and "2 that are archived: the newest of all, or committed together" in told["stays"][0]
    asyncio.run(lived(history, 3, signed=False))
    late = command(history, "archive", "--before", "2100-01-01", "--to", str(folder)).stdout
    assert "no checkpoint has signed them yet" in late
    again = json.loads(command(history, *options, "--json").stdout)
    assert "those from position" in again["stays"][0]


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "what", ["a byte of the file", "the file", "the manifest", "the record", "events behind it", "more than was archived"]
)
def test_tampering_with_archives_is_found(history: Path, tmp_path: Path, what: str) -> None:
    """In the folder, in what the store knows of them, and in what is left in the store."""
    folder = tmp_path / "archive"

    async def archive(store: SqliteStore) -> None:
        made = await archiver_of(store, folder)
        await made.run(LATER, silent)
        await made.remove(LATER, silent)

    on(history, archive)
    asyncio.run(lived(history, 4))
    [file], [manifest] = folder.glob("*.zst"), folder.glob("*.jws")
    if what == "a byte of the file":
        spoil(file)
    elif what == "the file":
        file.unlink()
    elif what == "the manifest":
        manifest.write_text("x")
    elif what == "the record":
        tamper(history, lambda connection: connection.execute("DELETE FROM record WHERE kind = 'audit-archive'"))
    elif what == "events behind it":
        tamper(history, lambda connection: connection.execute("DELETE FROM log WHERE seq = 41"))
    else:
        tamper(history, lambda connection: connection.execute("DELETE FROM log WHERE seq <= 41"))
    report = on(history, lambda store: report_of(store, folder))
    assert report.wrong > 0
    expected = {"the record": {"removed"}, "events behind it": {"removed"}, "more than was archived": {"removed"}}
    assert {finding.kind for finding in report.findings} & expected.get(what, {"archive"})


def test_nothing_is_removed_whose_file_is_not_what_was_signed(history: Path, tmp_path: Path) -> None:
    """A file that was changed or is gone stops the removal, in words; events that are not as they were signed are not archived."""
    folder = tmp_path / "archive"
    on(history, lambda store: _then(store, folder, "run"))
    [file] = folder.glob("*.zst")
    spoil(file)
    with pytest.raises(ArchiveProblem, match="not the file that was signed"):
        on(history, lambda store: _then(store, folder, "remove"))
    file.unlink()
    with pytest.raises(ArchiveProblem, match="cannot be read"):
        on(history, lambda store: _then(store, folder, "remove"))
    assert len(on(history, own_ids)) == 24
    asyncio.run(lived(history, 4))
    tamper(history, lambda connection: connection.execute("DELETE FROM log WHERE seq = 41"))
    done = command(history, "archive", "--before", "2100-01-01", "--to", str(folder))
    assert done.returncode == 2 and "not as checkpoint" in done.stderr


async def _then(store: ResourceStore, folder: Path, what: str) -> Any:
    return await getattr(await archiver_of(store, folder), what)(LATER, silent)


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from audit.test_archive import archiver_of, silent, LATER
from fhir_server.auditing import archive
from resources.stores.sqlite import SqliteStore
archive.MOST = 4

async def main():
    store = SqliteStore(Path({data!r}) / "fhir.db")
    await store.open()
    made = await archiver_of(store, Path({folder!r}))
    print("ready", flush=True)
    await made.run(LATER, silent)
    await made.remove(LATER, silent)
    await store.close()

asyncio.run(main())
"""


def test_killed_at_any_moment_nothing_is_lost(tmp_path: Path) -> None:
    """After each SIGKILL every event is in the store or in a file that verifies; at the end all are in files, once."""
    data, folder, chance = tmp_path / "data", tmp_path / "archive", random.Random(7)
    data.mkdir()
    for _ in range(6):
        asyncio.run(lived(data, 6))
    everything = on(data, own_ids)
    script = KILLED.format(tests=str(ROOT / "tests"), data=str(data), folder=str(folder))
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 0.12))
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        process.stdout.close()
        report = on(data, lambda store: report_of(store, folder))
        assert [finding for finding in report.findings if ".manifest." not in finding.text] == []
        assert on(data, own_ids) | set(archived_ids(folder)) >= everything
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=clean_environment(), capture_output=True, check=True)
    assert done.stdout == b"ready\n"
    assert on(data, lambda store: report_of(store, folder)).findings == []
    assert set(archived_ids(folder)) >= everything


@pytest.mark.parametrize("kind", ["mongo", "postgres"])
def test_archives_of_other_stores(tmp_path: Path, kind: str) -> None:
    """Documents in MongoDB and PostgreSQL: the same files, removal and verification."""

    async def test(place: Setting) -> None:
        store = KINDS[kind].make(place)
        await store.open()
        for _ in range(5):
            await store.commit((), events=[EVENT] * 3)
        key = await signing_key(store, Sealer(SECRET), None)
        await Checkpoints(store, key, now, 60).make()
        made = await archiver_of(store, tmp_path / "archive")
        await made.run(LATER, silent)
        assert await made.remove(LATER, silent) == 12
        await store.commit((), events=[EVENT])
        report = await report_of(store, tmp_path / "archive")
        await store.close()
        assert (report.findings, report.archived, report.elsewhere, report.unsigned) == ([], 15, 15, 1)

    with setting(kind, tmp_path) as place:
        asyncio.run(test(place))


def test_a_server_archives_by_itself_what_is_old_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FHIR_AUDIT_ARCHIVE and FHIR_AUDIT_RETENTION_DAYS: before the time nothing happens, after it events move into files."""
    monkeypatch.setattr(archiving, "MOST", 8)
    asyncio.run(lived(tmp_path, 12))
    settings = load_settings(
        {"data_dir": tmp_path, "audit_archive": tmp_path / "archive", "audit_retention_days": 2, "secret": SECRET.decode()}
    )

    async def test() -> None:
        async with open_context(settings) as ctx:
            key = await signing_key(ctx.store, Sealer(SECRET), None)
            await Retention(ctx, key, {str(key.thumbprint()): key}).once()
            assert not any((tmp_path / "archive").iterdir())
            assert isinstance(ctx.store, SqliteStore)
            await ctx.store.settle()
            later = replace(ctx, clock=lambda: now() + 3 * DAY)
            await Retention(later, key, {str(key.thumbprint()): key}).once()
            assert len(archived_ids(tmp_path / "archive")) == 24
            assert len(await own_ids(ctx.store)) == 2

    asyncio.run(test())


def test_nothing_is_removed_without_an_archive() -> None:
    """The setting is refused."""
    with pytest.raises(SettingsError, match="FHIR_AUDIT_ARCHIVE"):
        load_settings({"audit_retention_days": 30})
