"""A row of the SQLite store that cannot be read fails by itself alone: neither the index nor what is read afterwards suffers from it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import apsw
import pytest
from contracts.store_harness import EVENT, change

from resources.stores.bodies import Spoilt
from resources.stores.memory import MemoryStore
from resources.stores.participant import Applied
from resources.stores.sqlite import SqliteStore


async def scanned(store: SqliteStore) -> None:
    async for _ in store.scan([], until=await store.position()):
        pass


async def told(store: SqliteStore) -> None:
    async for _ in store.outbox(after=0):
        pass


async def listed(store: SqliteStore) -> None:
    await store.history("AuditEvent", None)


class Index:
    """An index in the store that remembers the ids of the events it was told of; one document it cannot read."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def install(self, connection: object) -> None:
        """Nothing is kept in the file."""

    def stale(self, connection: object) -> bool:
        return False

    def rebuild(self, connection: object, documents: object) -> int:
        return 0

    def write(self, connection: object, applied: Sequence[Applied]) -> None:
        self.ids += [each.id if each.live else f"-{each.id}" for each in applied]

    def prepare(self, type: str, body: bytes) -> str:
        if b'"action":"X"' in body:
            raise ValueError("it cannot be read")
        return "kept"


def spoil(path: Path, position: int) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE log SET body = x'28b52ffd00' WHERE seq = ?", (position,))
    connection.close()


@pytest.mark.parametrize("read", [scanned, told, listed])
def test_what_failed_keeps_nobody_from_seeing_what_was_written_since(
    tmp_path: Path, read: Callable[[SqliteStore], Awaitable[None]]
) -> None:
    """However long the error is kept: no statement stays open, so the next read sees what was committed after it."""

    async def test() -> None:
        store = SqliteStore(tmp_path / "a.sqlite")
        await store.open()
        await store.commit([change("1")], events=[EVENT])
        await store.commit([change("2")], events=[EVENT])
        await store.commit([change("3")])
        spoil(tmp_path / "a.sqlite", 2)
        with pytest.raises(Spoilt) as failed:
            await read(store)
        [written] = await store.commit([change("4")])
        seen = await store.read("Patient", "4")
        assert seen is not None and await store.position() == written.version.position == seen.position
        assert failed.value is not None
        await store.close()

    asyncio.run(test())


def test_events_are_indexed_past_one_that_is_spoilt(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of the group that does not unpack all, of another one the event that makes no sense; each is told once. All can be removed."""
    path, index = tmp_path / "a.sqlite", Index()

    async def test() -> None:
        store = SqliteStore(path)
        await store.open()
        for events in ([EVENT, EVENT], [EVENT], [EVENT, EVENT.replace(b'"R"', b'"X"'), EVENT], [EVENT]):
            await store.commit((), events=events)
        await store.close()
        spoil(path, 3)
        store = SqliteStore(path, participant=index)
        await store.open()
        await store.settle()
        await store.commit((), events=[EVENT])
        await store.settle()
        assert index.ids == ["event-1", "event-2", "event-4", "event-6", "event-7", "event-8"]
        lines = [line.__dict__["event"] for line in caplog.records if line.levelname == "CRITICAL"]
        assert lines == ["event-3", "event-5"]
        assert await store.forget_events(7) == 7 and {"-event-3", "-event-7"} <= set(index.ids)
        await store.close()

    asyncio.run(test())


def test_positions_that_are_forgotten_are_those_of_the_store_in_memory(tmp_path: Path) -> None:
    """What an index is told of events that are removed does not depend on their bytes."""
    told = []
    for make in (lambda index: SqliteStore(tmp_path / "a.sqlite", participant=index), lambda index: MemoryStore(participant=index)):
        index = Index()

        async def test(store: SqliteStore | MemoryStore) -> None:
            await store.open()
            await store.commit((), events=[EVENT, EVENT])
            await store.commit((), events=[EVENT])
            if isinstance(store, SqliteStore):
                await store.settle()
            assert await store.forget_events(2) == 2
            await store.close()

        asyncio.run(test(make(index)))
        told.append(index.ids)
    assert told[0] == told[1] == ["event-1", "event-2", "event-3", "-event-1", "-event-2"]
