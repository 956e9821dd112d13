"""AuditEvents that could not be read when a checkpoint was to be made: what passes by itself is not signed over; what is spoilt is passed
over by name, and may be put back."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
import zstandard
from audit.conftest import SECRET, command, examined, group, lived, put, tamper, verified
from contracts.store_harness import EVENT, KINDS, Setting, setting

from fhir_server.auditing.archive import Archiver, events_of
from fhir_server.auditing.checkpoints import Checkpoints
from fhir_server.auditing.findings import Report
from fhir_server.auditing.keys import public_keys, signing_key
from fhir_server.auditing.statements import Statement, checkpoints, newest_record, unverified
from fhir_server.auditing.verify import Verifier
from resources.instants import now
from resources.store import Record, ResourceStore, StoreUnavailable, Version
from resources.stores import bodies
from resources.stores.bodies import LATER
from resources.stores.memory import MemoryStore
from resources.stores.mongo import MongoStore
from resources.stores.postgres import PostgresStore
from resources.stores.sqlite import SqliteStore
from smart_auth.sealing import Sealer

LAST = 44
"""The group of two events that is spoilt in these tests: the last that one opening wrote, event-44 and event-45."""


def body_of(folder: Path, position: int) -> bytes:
    connection = apsw.Connection(str(folder / "fhir.db"))
    [[body]] = connection.execute("SELECT body FROM log WHERE seq = ?", (position,)).fetchall()
    connection.close()
    assert isinstance(body, bytes)
    return body


def keep(folder: Path, position: int, body: bytes) -> None:
    tamper(folder, lambda connection: connection.execute("UPDATE log SET body = ? WHERE seq = ?", (body, position)))


@pytest.fixture
def signed_over(history: Path) -> tuple[Path, bytes]:
    """The history, and a fourth opening whose last events were spoilt when the fifth signed them; and what they were."""
    asyncio.run(lived(history, 3, signed=False))
    kept = body_of(history, LAST)
    keep(history, LAST, b"x" * 9)
    asyncio.run(lived(history, 1))
    return history, kept


def told(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(each["kind"], each["where"]) for each in report["findings"]}


def test_what_is_put_back_is_as_it_was_written(signed_over: tuple[Path, bytes], tmp_path: Path) -> None:
    """While it is spoilt it is named and nothing is archived; put back it is named as such, nothing is wrong, and it is archived."""
    folder, kept = signed_over
    files = tmp_path / "files"
    report = examined(folder)
    assert told(report) == {("unreadable", "AuditEvent/event-44"), ("unreadable", "AuditEvent/event-45")}
    refused = command(folder, "archive", "--before", "2099-01-01", "--to", str(files))
    assert refused.returncode == 2 and "event-44 cannot be read" in " ".join(refused.stderr.split())
    keep(folder, LAST, kept)
    code, report = verified(folder)
    assert (code, report["findings"]) == (0, [])
    assert (report["late"], report["returned"]) == (2, ["AuditEvent/event-44", "AuditEvent/event-45"])
    done = command(folder, "archive", "--before", "2099-01-01", "--to", str(files), "--json")
    assert done.returncode == 0, done.stderr
    [made] = json.loads(done.stdout)["archives"]
    assert made["late"] == [[44, 45]]
    assert {"event-44", "event-45"} <= {json.loads(line)["id"] for file in files.glob("*.zst") for line, _ in events_of(file)}
    code, report = verified(folder, "--archive", str(files))
    assert (code, report["findings"]) == (0, [])


@pytest.mark.parametrize(
    ("what", "expected"),
    [("changed", ("changed", "AuditEvent/event-44")), ("removed", ("removed", "AuditEvent/event-44"))],
)
def test_what_was_passed_over_can_neither_be_changed_nor_removed(
    signed_over: tuple[Path, bytes], what: str, expected: tuple[str, str]
) -> None:
    """The event after it names its hash; and that it was there is signed."""
    folder, kept = signed_over
    keep(folder, LAST, kept)

    def work(connection: apsw.Connection) -> None:
        first, lines = group(connection, LAST)
        put(connection, first, [lines[0].replace(b'"R"', b'"D"'), *lines[1:]])
        if what == "removed":
            connection.execute("DELETE FROM log WHERE seq = ?", (LAST,))

    tamper(folder, work)
    assert expected in told(examined(folder))


def spoil_on_mongo(store: MongoStore) -> Any:
    return lambda position, body: store._database["events"].update_one({"_id": position}, {"$set": {"body": body}})


def spoil_on_postgres(store: PostgresStore) -> Any:
    sql = f"UPDATE {store._schema}.log SET body = $2 WHERE position = $1"
    return lambda position, body: store._connections.fetch(sql, position, body)


@pytest.mark.parametrize("kind", ["sqlite", "mongo", "postgres"])
def test_on_every_store_what_is_spoilt_is_passed_over_and_may_come_back(tmp_path: Path, kind: str) -> None:
    """The checkpoint says which positions these are, and no other: neither what stands between events nor behind them."""

    async def test(place: Setting) -> None:
        store = KINDS[kind].make(place)
        await store.open()
        for _ in range(4):
            await store.commit((), events=[EVENT] * 2)
            await store.adopt([patient(await store.position() + 1)])
        write, kept = spoiling(store), await packed(store, 4)
        await write(4, b"spoilt")
        made = Checkpoints(store, await signing_key(store, Sealer(SECRET), None), now, 60)
        assert await made.make() and not await made.make()
        [statement] = [unverified(token) async for _, token in checkpoints(store)]
        assert (statement.passed, statement.count) == (((4, 5),), 6)
        unreadable = [each.where for each in (await report_of(store)).findings if each.kind == "unreadable"]
        assert unreadable == ["AuditEvent/event-4", "AuditEvent/event-5"]
        await write(4, kept)
        report = await report_of(store)
        assert (report.findings, report.late, report.linked) == ([], 2, 8)
        keys, _ = await public_keys(store, Sealer(SECRET))
        archiver = Archiver(store, tmp_path / "files", await signing_key(store, Sealer(SECRET), None), keys, now)
        [manifest] = await archiver.run(9_000_000_000_000_000, lambda at, end: None)
        assert (manifest.late, manifest.count) == (((4, 5),), 8)
        await write(4, b"spoilt")
        assert await archiver.remove(9_000_000_000_000_000, lambda at, end: None) == 6
        await store.close()

    with setting(kind, tmp_path) as place:
        asyncio.run(test(place))


def patient(position: int) -> Version:
    body = b'{"resourceType":"Patient","id":"p%d"}' % position
    return Version("Patient", f"p{position}", 1, 1_700_000_000_000_000, "PUT", body, position)


def spoiling(store: ResourceStore) -> Any:
    """What puts other bytes in place of a group's."""
    if isinstance(store, MongoStore):
        return spoil_on_mongo(store)
    if isinstance(store, PostgresStore):
        return spoil_on_postgres(store)
    assert isinstance(store, SqliteStore)

    async def write(position: int, body: bytes) -> None:
        await store.alongside(lambda connection: connection.execute("UPDATE log SET body = ? WHERE seq = ?", (body, position)))

    return write


async def packed(store: ResourceStore, position: int) -> bytes:
    """The two events from this position on as a store packs them."""
    lines = [
        version.body or b"" for n in (0, 1) if (version := await store.read("AuditEvent", f"event-{position + n}")) is not None
    ]
    return bodies.Bodies().pack_events(b"\n".join(lines))


async def report_of(store: ResourceStore) -> Report:
    keys, _ = await public_keys(store, Sealer(SECRET))
    return await Verifier(store, keys, {}, Report()).run(lambda at, end: None)


def test_what_a_newer_program_packed_is_not_signed_over(history: Path) -> None:
    """A program that lacks the dictionary says that it is too old, and signs nothing; so do verification and archives."""
    asyncio.run(lived(history, 3, signed=False))
    before = examined(history)["checkpoints"]
    dictionary = Path(bodies.__file__).with_name("events.zstd").read_bytes()
    newer = zstandard.ZstdCompressionDict(dictionary[:4] + LATER[1].to_bytes(4, "little") + dictionary[8:])
    kept = body_of(history, LAST)
    lines = bodies.Bodies().unpack(kept)
    keep(history, LAST, zstandard.ZstdCompressor(dict_data=newer).compress(lines))
    with pytest.raises(StoreUnavailable, match="update this server"):
        asyncio.run(one_checkpoint(history))
    for words in (("verify",), ("archive", "--before", "2099-01-01", "--to", str(history / "files"))):
        done = command(history, *words)
        assert done.returncode == 2 and "update this server" in " ".join(done.stderr.split()), done.stderr
    keep(history, LAST, kept)
    report = examined(history)
    assert (report["wrong"], report["late"], report["checkpoints"]) == (0, 0, before)


async def one_checkpoint(folder: Path) -> None:
    store = SqliteStore(folder / "fhir.db")
    await store.open()
    try:
        await Checkpoints(store, await signing_key(store, Sealer(SECRET), None), now, 60).make()
    finally:
        await store.close()


class Forgetful(MemoryStore):
    """A store that runs out of memory while it reads many, or shows an old newest checkpoint."""

    failing = False
    old: Record | None = None

    async def scan(
        self, types: Any, *, until: int, after: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> AsyncIterator[list[Version]]:
        if self.failing:
            raise MemoryError
        async for part in super().scan(types, until=until, after=after, shard=shard):
            yield part

    async def record(self, kind: str, key: str) -> Record | None:
        if self.old is not None and kind == self.old.kind:
            return self.old
        return await super().record(kind, key)


def test_what_fails_for_want_of_memory_is_not_signed_over() -> None:
    """It is signed when there is some again, whole."""

    async def test() -> None:
        store = Forgetful()
        await store.open()
        await store.commit((), events=[EVENT] * 3)
        made = Checkpoints(store, await signing_key(store, Sealer(SECRET), None), now, 60)
        store.failing = True
        with pytest.raises(MemoryError):
            await made.make()
        assert await newest_record(store) is None
        store.failing = False
        assert await made.make()
        [statement] = [unverified(token) async for _, token in checkpoints(store)]
        assert (statement.count, statement.passed) == (3, ())

    asyncio.run(test())


def test_who_is_shown_an_old_checkpoint_waits_for_the_next_round(caplog: pytest.LogCaptureFixture) -> None:
    """One line of the log a round, no matter how often it is tried when it stops; and nothing is signed twice."""

    async def test() -> None:
        store = Forgetful()
        await store.open()
        made = Checkpoints(store, await signing_key(store, Sealer(SECRET), None), now, 3_600)
        for _ in range(2):
            await store.commit((), events=[EVENT])
            await made.make()
            store.old = store.old or await newest_record(store)
        with caplog.at_level(logging.CRITICAL):
            made.start()
            for _ in range(300):
                await asyncio.sleep(0)
        assert len(caplog.records) == 1
        store.old = None
        await made.stop()
        assert [number async for number, _ in checkpoints(store)] == [1, 2]

    asyncio.run(test())


def test_what_was_signed_before_checkpoints_named_what_they_passed_over_is_read_as_before() -> None:
    """Nothing was passed over there; and where nothing is, nothing is said of it."""
    old = b'{"number":1,"previous":"","after":0,"until":5,"count":2,"digest":"","heads":{},"made":1}'
    statement = msgspec.json.decode(old, type=Statement)
    assert not any(statement.passes(position) for position in range(7))
    assert b"passed" not in msgspec.json.encode(statement)
    spans = msgspec.structs.replace(statement, passed=((1, 1), (3, 4)))
    assert [position for position in range(7) if spans.passes(position)] == [1, 3, 4]
