"""What only the SQLite store promises: several processes, sudden death, a full disk, files of others."""

import asyncio
import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resources.documents import draft
from resources.store import ABSENT, Change, Conflict, Receipt, StoreUnavailable
from resources.stores.participant import Applied
from resources.stores.sqlite import SqliteStore
from resources.stores.sqlite import maintenance as sqlite_maintenance
from search.extract import Extractor
from search.indexes.sqlite.index import SqliteIndex
from search.parameters import registry
from search.parse import parse

ROOT = Path(__file__).parents[2]
EVENT = b'{"resourceType":"AuditEvent","action":"R"}'


def change(id: str, note: str = "a", **options: Any) -> Change:
    return Change("Basic", id, draft(msgspec.json.encode({"resourceType": "Basic", "note": note}), id), **options)


WRITER = """
import asyncio, sys
sys.path.insert(0, {root!r})
from resources.documents import draft
from resources.store import ABSENT, ANY, Change, Conflict
from resources.stores.sqlite import maintenance as sqlite_maintenance
from resources.stores.sqlite import SqliteStore
from search.extract import Extractor
from search.indexes.sqlite.index import SqliteIndex
from search.parameters import registry
from search.parse import parse

EVENT = b'{{"resourceType":"AuditEvent","action":"C"}}'

async def main(path, name, count):
    store = SqliteStore(path)
    await store.open()
    async def one(number):
        for step in range(count):
            id = f"{{name}}-{{number}}-{{step}}"
            made = draft(b'{{"resourceType":"Basic"}}', id)
            shared = Change("Basic", "shared", draft(b'{{"resourceType":"Basic"}}', "shared"), ANY)
            await store.commit([Change("Basic", id, made, ABSENT), shared], events=[EVENT])
            print(id, flush=True)
    await asyncio.gather(*(one(n) for n in range(4)))
    await store.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    code = WRITER.format(root=str(ROOT))
    return subprocess.Popen([sys.executable, "-c", code, str(path), name, str(count)], stdout=subprocess.PIPE, text=True)


async def contents(path: Path) -> tuple[set[str], int, int]:
    """Ids of the live Basic resources, the shared one's version, and the number of events."""
    store = SqliteStore(path)
    await store.open()
    try:
        versions = [v async for part in store.scan([], until=await store.position()) for v in part]
        shared = await store.read("Basic", "shared")
        ids = {v.id for v in versions if v.type == "Basic"} - {"shared"}
        return ids, shared.version if shared else 0, sum(v.type == "AuditEvent" for v in versions)
    finally:
        await store.close()


def test_what_it_makes_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The folder, the database and what lies beside it while it is open: nobody else on the machine reads records."""

    async def modes() -> set[int]:
        store = SqliteStore(tmp_path / "data" / "fhir.db")
        await store.open()
        await store.commit([change("1")])
        found = {path.stat().st_mode & 0o077 for path in (tmp_path / "data", *(tmp_path / "data").iterdir())}
        await store.close()
        return found

    before = os.umask(0o022)
    try:
        assert asyncio.run(modes()) == {0}
    finally:
        os.umask(before)


def test_processes_that_write_one_file_lose_and_double_nothing(tmp_path: Path) -> None:
    """Every commit of three processes is there, and the resource they all write has counted each of them."""
    path = tmp_path / "a.sqlite"
    writers = [writer(path, name, 50) for name in "abc"]
    answered = [line.strip() for process in writers for line in process.communicate(timeout=300)[0].splitlines()]
    assert [process.returncode for process in writers] == [0, 0, 0]
    ids, version, events = asyncio.run(contents(path))
    assert ids == set(answered)
    assert (len(ids), version, events) == (600, 600, 600)


def test_what_was_answered_survives_the_death_of_the_process(tmp_path: Path) -> None:
    """Killed at any moment: each answered commit is whole, with its event, and at most those under way are there beside it."""
    path = tmp_path / "a.sqlite"
    answered: set[str] = set()
    for round_ in range(6):
        process = writer(path, f"r{round_}", 100_000)
        assert process.stdout is not None
        first = process.stdout.readline()  # it is up and has had an answer
        time.sleep(0.05 * round_)
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read()
        process.wait(timeout=60)
        process.stdout.close()
        answered |= {line for line in (first + rest).split("\n")[:-1] if line}  # what follows the last line end was cut off
        ids, version, events = asyncio.run(contents(path))
        assert answered <= ids
        assert len(ids) == version == events
        assert len(ids) <= len(answered) + 4 * (round_ + 1)
    assert answered


def test_who_follows_another_process_s_commits_misses_none(tmp_path: Path) -> None:
    """Documents and events come in one unbroken row of positions, whenever another process commits between two looks."""
    path = tmp_path / "a.sqlite"

    async def test() -> None:
        process = writer(path, "w", 100_000)
        assert process.stdout is not None
        process.stdout.readline()
        store = SqliteStore(path)
        await store.open()
        try:
            seen: list[int] = []
            end = time.monotonic() + 2
            while len(seen) <= 1_000 or time.monotonic() < end:
                async for part in store.outbox(after=seen[-1] if seen else 0):
                    seen += [version.position for version in part]
                assert time.monotonic() < end + 120, "it writes no more"
            assert seen == list(range(1, len(seen) + 1))
        finally:
            await store.close()
            process.kill()
            process.communicate()

    asyncio.run(test())


def test_a_full_database_refuses_writes_clearly_and_takes_them_again_once_there_is_room(tmp_path: Path) -> None:
    """Nothing of a refused commit is there; reading goes on all the while."""

    async def test() -> None:
        store = SqliteStore(tmp_path / "a.sqlite")
        await store.open()
        await store.commit([change("1")])
        pages = store._writing.pragma("page_count")
        store._writing.pragma("max_page_count", int(pages))
        with pytest.raises(StoreUnavailable, match="full") as caught:
            for number in range(200):
                await store.commit([change(f"n{number}", os.urandom(3000).hex())], events=[EVENT])
        assert caught.value.full
        found = await store.read("Basic", "1")
        assert found is not None
        assert await store.read("Basic", f"n{number}") is None
        store._writing.pragma("max_page_count", 1_000_000)
        [written] = await store.commit([change("2")])
        assert await store.read("Basic", "2") == written.version
        await store.close()

    asyncio.run(test())


def test_a_disk_that_fails_in_a_sync_leaves_it_open_whether_the_change_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All commits of the group are told so; later ones are written only once the doubtful log is safe in the database."""
    healthy, failures = os.fdatasync, [OSError(errno.EIO, "Input/output error")]

    def fdatasync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        healthy(descriptor)

    async def test() -> None:
        path = tmp_path / "a.sqlite"
        store = SqliteStore(path)
        await store.open()
        monkeypatch.setattr(os, "fdatasync", fdatasync)
        receipt = Receipt(b"k" * 32, b"d" * 32, b"answer", 1 << 60)
        refused = await asyncio.gather(
            store.commit([change("1")], receipt=receipt), store.commit([change("2")]), return_exceptions=True
        )
        assert [isinstance(one, StoreUnavailable) and one.uncertain and not one.full for one in refused] == [True, True]
        assert "certain" in str(refused[0])
        kept = await store.receipt(receipt.key)  # here it was kept: who sends it again with its key is told so
        assert kept is not None
        log_before = path.with_name("a.sqlite-wal").stat().st_size
        [written] = await store.commit([change("3")])
        assert await store.read("Basic", "3") == written.version
        assert path.with_name("a.sqlite-wal").stat().st_size < log_before
        with sqlite3.connect(f"file:{path}?immutable=1", uri=True) as alone:  # the database without its log
            assert [id for (id,) in alone.execute("SELECT id FROM res ORDER BY row")] == ["1", "2"]
        alone.close()
        failures.append(OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(StoreUnavailable) as full:
            await store.commit([change("4")])
        assert (full.value.full, full.value.uncertain) == (True, True)
        await store.close()

    asyncio.run(test())


class Fussy:
    """A participant that fails at one id."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def install(self, connection: Any) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT)")

    def stale(self, connection: Any) -> bool:
        return False

    def rebuild(self, connection: Any, documents: Iterable[tuple[int, str, str, int, bytes]]) -> int:
        return 0

    def write(self, connection: Any, applied: Sequence[Applied]) -> None:
        for one in applied:
            if one.id == "bad":
                raise ValueError("this entry cannot be indexed")
            connection.execute("INSERT INTO seen VALUES (?)", (one.id,))

    def prepare(self, type: str, body: bytes) -> Any:
        return None


def test_a_commit_that_fails_does_not_take_its_neighbours_with_it(tmp_path: Path) -> None:
    """Commits share a transaction, not their fate."""

    async def test() -> None:
        store = SqliteStore(tmp_path / "a.sqlite", participant=Fussy())
        await store.open()
        tasks = [store.commit([change(id)]) for id in ("a", "bad", "b", "c")]
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(answer, ValueError) for answer in answers] == [False, True, False, False]
        assert await store.read("Basic", "bad") is None
        for id in "abc":
            assert await store.read("Basic", id) is not None
        seen = [row[0] for row in store._reading.execute("SELECT id FROM seen")]
        assert sorted(seen) == ["a", "b", "c"]
        await store.close()

    asyncio.run(test())


def test_the_write_ahead_log_stays_small_under_steady_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is copied into the database beside the writers and starts over, also while there is no end of events to index."""
    monkeypatch.setattr(sqlite_maintenance, "COPY", 200)
    monkeypatch.setattr(sqlite_maintenance, "BATCH", 1)

    async def test() -> None:
        path, parameters = tmp_path / "a.sqlite", registry()
        index = SqliteIndex(path, parameters, Extractor(parameters, "http://localhost/fhir"))
        store = SqliteStore(path, participant=index, synchronous="NORMAL")
        await store.open()
        pages = restarts = 0
        until = time.monotonic() + 120
        while restarts < 3 and time.monotonic() < until:
            await store.commit([change(os.urandom(8).hex(), os.urandom(1500).hex())], events=[EVENT] * 20)
            restarts += 0 < store.log_pages < pages
            pages = store.log_pages
        assert restarts == 3
        await store.close()

    asyncio.run(test())


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """A SQLite file that is not ours is refused with a sentence that says what to do."""
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (a)")
    other.close()
    with pytest.raises(StoreUnavailable, match="another program"):
        asyncio.run(SqliteStore(path).open())


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """An older program never writes into a layout that it does not know."""

    async def make() -> None:
        store = SqliteStore(tmp_path / "a.sqlite")
        await store.open()
        store._writing.execute("PRAGMA user_version = 99")
        await store.close()

    asyncio.run(make())
    with pytest.raises(StoreUnavailable, match="newer version"):
        asyncio.run(SqliteStore(tmp_path / "a.sqlite").open())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The sentence names the folder."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        asyncio.run(SqliteStore(tmp_path / "file" / "a.sqlite").open())


def test_a_refused_racer_of_another_process_is_told_of_the_conflict(tmp_path: Path) -> None:
    """Two stores on one file see each other's commits at once."""

    async def test() -> None:
        first, second = SqliteStore(tmp_path / "a.sqlite"), SqliteStore(tmp_path / "a.sqlite")
        await first.open()
        await second.open()
        await first.commit([change("1", expect=ABSENT)])
        with pytest.raises(Conflict):
            await second.commit([change("1", expect=ABSENT)])
        answers = await asyncio.gather(
            *((first, second)[n % 2].commit([change("1", str(n), expect=1)]) for n in range(20)), return_exceptions=True
        )
        assert sum(isinstance(a, Conflict) for a in answers) == 19
        await first.close()
        await second.close()

    asyncio.run(test())


def test_an_index_of_another_layout_is_built_anew_when_the_store_opens(tmp_path: Path) -> None:
    """After an upgrade that changed the index, everything that was stored before is found again, AuditEvents too."""
    parameters = registry()
    extractor = Extractor(parameters, "http://localhost/fhir")
    path = tmp_path / "a.sqlite"
    asked = [
        parse("Basic", "code=x", parameters=parameters, base_url="http://localhost/fhir").query,
        parse("AuditEvent", "action=R", parameters=parameters, base_url="http://localhost/fhir").query,
    ]

    async def totals(spoil: bool) -> list[int | None]:
        index = SqliteIndex(path, parameters, extractor)
        store = SqliteStore(path, participant=index)
        await store.open()
        await index.open()
        if await store.position() == 0:
            body = b'{"resourceType":"Basic","code":{"coding":[{"code":"x"}]}}'
            entry = extractor.extract("Basic", msgspec.json.decode(body) | {"id": "1"})
            await store.commit([Change("Basic", "1", draft(body, "1"), entry=entry)], events=[EVENT])
        await store.settle()
        found = [(await index.search(query)).total for query in asked]
        if spoil:
            store._writing.execute("UPDATE idx_state SET value = 'an older one'")
        await index.close()
        await store.close()
        return found

    assert asyncio.run(totals(spoil=True)) == [1, 1]
    assert asyncio.run(totals(spoil=False)) == [1, 1]


def test_what_was_written_without_the_index_is_found_once_the_index_is_there_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever goes back from another engine to the embedded one has all documents found, as they are now; an index that missed nothing
    is not built anew, and an index that another process built meanwhile does not pass for complete."""
    path = tmp_path / "a.sqlite"
    caplog.set_level("INFO", "resources.stores.sqlite")

    async def write(store: SqliteStore, id: str, code: str) -> None:
        body = msgspec.json.encode({"resourceType": "Basic", "code": {"coding": [{"code": code}]}})
        await store.commit([Change("Basic", id, draft(body, id))], events=[EVENT])

    async def without(id: str = "", code: str = "") -> SqliteStore:
        store = SqliteStore(path)
        await store.open()
        if id:
            await write(store, id, code)
        return store

    async def found(*written: str) -> tuple[list[str], bool]:
        """The ids found by the code x once the index is open and these are written, and whether the index was built anew."""
        caplog.clear()
        index = SqliteIndex(path, registry(), Extractor(registry(), "http://localhost/fhir"))
        store = SqliteStore(path, participant=index)
        await store.open()
        await index.open()
        for id in written:
            await write(store, id, "x")
        query = parse("Basic", "code=x", parameters=registry(), base_url="http://localhost/fhir").query
        ids = sorted(key.id for key in (await index.search(query)).keys)
        await index.close()
        await store.close()
        return ids, "built anew" in caplog.text

    async def test() -> None:
        assert await found("1", "2") == (["1", "2"], False)
        await (await without()).close()
        assert await found() == (["1", "2"], False)
        other = await without("3", "x")
        assert await found() == (["1", "2", "3"], True)
        await write(other, "1", "y")
        await write(other, "4", "x")
        await other.close()
        assert await found() == (["2", "3", "4"], True)
        assert await found() == (["2", "3", "4"], False)

    asyncio.run(test())
