"""Documents of a first load may come without their index rows: searches wait until all rows are there."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import apsw
import pytest

from resources.documents import draft
from resources.instants import now
from resources.store import Change
from resources.stores.sqlite import SqliteStore
from search.extract import Extractor
from search.index import Deferring, Preparing
from search.indexes.sqlite.deferred import building, deferral, state
from search.indexes.sqlite.index import SqliteIndex
from search.parameters import registry
from search.parse import parse

BASE = "http://h/fhir"
PARAMETERS = registry()
EXTRACTOR = Extractor(PARAMETERS, BASE)
LONG = 3_600_000_000


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The test, run on a loop of its own."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        async def whole() -> None:
            await test(**fixtures)

        asyncio.run(whole())

    return run


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[tuple[SqliteStore, SqliteIndex]]:
    """A store and its index, as a process has them."""
    index = SqliteIndex(path, PARAMETERS, EXTRACTOR)
    store = SqliteStore(path, participant=index)
    index.follow(store)
    await store.open()
    await index.open()
    try:
        yield store, index
    finally:
        await index.close()
        await store.close()


def observation(number: int, code: str = "a") -> dict[str, Any]:
    """An Observation of one of three patients."""
    subject = {"reference": f"Patient/p{number % 3}"}
    return {
        "resourceType": "Observation",
        "id": f"o{number}",
        "status": "final",
        "code": {"coding": [{"code": code}]},
        "subject": subject,
    }


def change(index: SqliteIndex | None, document: dict[str, Any]) -> Change:
    """A document as an import writes it; without index as others do."""
    body, type, id = json.dumps(document).encode(), document["resourceType"], document["id"]
    entry = EXTRACTOR.extract(type, document)
    return Change(type, id, draft(body, id), entry=index.later(entry) if index is not None else entry)


async def count(index: SqliteIndex, type: str, text: str = "") -> int:
    """How many documents a search finds."""
    parsed = parse(type, f"{text}&_summary=count", parameters=PARAMETERS, base_url=BASE, default_count=1)
    found = (await index.search(parsed.query)).total
    assert found is not None
    return found


async def done(index: SqliteIndex, types: Sequence[str]) -> None:
    """Wait until all is indexed."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await index.indexed(types)
            except Preparing:
                await asyncio.sleep(0.02)


def rows(path: Path) -> list[Any]:
    """All rows of the index but for instants."""
    found: list[Any] = (
        apsw.Connection(str(path)).execute("SELECT i.id, x.pid, x.v, x.d, x.w FROM idx x JOIN item i USING (rid)").fetchall()
    )
    return sorted((row for row in found if row[1] >= 0 or row[1] % 3 != 1), key=repr)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes look often, and sort few documents at a time."""
    monkeypatch.setattr(deferral, "LOOK", 0.02)
    monkeypatch.setattr(deferral, "SLICE", 7)
    monkeypatch.setattr(building, "CHUNK", 10)


@on_a_loop
async def test_what_is_deferred_is_not_searched(tmp_path: Path) -> None:
    """Neither by itself nor by a chain, `_has` or an include; all else is."""
    async with opened(tmp_path / "a") as (store, index):
        assert isinstance(index, Deferring)
        await store.commit([change(None, {"resourceType": "Patient", "id": f"p{number}", "gender": "male"}) for number in range(3)])
        assert await index.defer(["Observation", "Patient"], now() + LONG) == {"Observation"}, "there are Patients already"
        await store.commit([change(index, observation(number)) for number in range(30)])
        assert await count(index, "Patient", "gender=male") == 3
        for type, text in (("Observation", ""), ("Observation", "_id=o1"), ("Patient", "_has:Observation:subject:code=a")):
            with pytest.raises(Preparing, match="Observation are being loaded"):
                await count(index, type, text)
        parsed = parse("Patient", "_revinclude=Observation:subject", parameters=PARAMETERS, base_url=BASE, default_count=9)
        with pytest.raises(Preparing):
            await index.include((await index.search(parsed.query)).keys, parsed.includes, limit=10)
        await done(index, ["Observation"])
        assert await count(index, "Observation", "code=a") == 30 and await count(index, "Observation", "subject=Patient/p1") == 10
        assert await count(index, "Patient", "_has:Observation:subject:code=a") == 3
        assert await index.defer(["Observation"], now() + LONG) == set()


@on_a_loop
async def test_rows_are_as_if_nothing_had_been_deferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also of documents that others change and delete meanwhile, before and while rows are written."""
    real, loop = building.chunk, asyncio.get_running_loop()

    async def meddle(store: SqliteStore, loaded: SqliteIndex | None) -> None:
        await store.commit([change(loaded, observation(number, "c")) for number in range(1, 60, 4)])
        await store.commit([Change("Observation", "o2", None, method="DELETE"), change(loaded, observation(100))])

    for name in ("deferred", "plain"):
        async with opened(tmp_path / name) as (store, index):
            loaded = index if name == "deferred" else None
            if loaded is not None:
                await index.defer(["Observation"], now() + LONG)
            await store.commit([change(loaded, observation(number)) for number in range(60)])
            await store.commit([change(None, observation(number, "b")) for number in range(0, 60, 5)])
            await store.commit([Change("Observation", "o7", None, method="DELETE")])
            left = [meddle(store, loaded)]

            def read(*args: Any, left: list[Any] = left) -> building.Chunk:
                made = real(*args)
                if left:  # what was read is written after others have written
                    asyncio.run_coroutine_threadsafe(left.pop(), loop).result(60)
                return made

            monkeypatch.setattr(building, "chunk", read)
            if loaded is None:
                await left.pop()
            await done(index, ["Observation"])
            assert not left
    assert rows(tmp_path / "deferred") == rows(tmp_path / "plain") and "made anew" not in caplog.text


@on_a_loop
async def test_who_is_killed_is_followed(tmp_path: Path) -> None:
    """Whoever opens the file writes the rows once nobody says any more that more documents come; what one has begun another ends."""
    path = tmp_path / "a"
    async with opened(path) as (store, index):
        await index.defer(["Observation"], now() + LONG)
        await store.commit([change(index, observation(number)) for number in range(40)])
        first = building.chunk(str(path), index._codes, ["Observation"], 0)
        await store.alongside(lambda connection: building.add(connection, first.rows[:20]))
        await store.alongside(lambda connection: state.keep(connection, state.Deferred({}, ("Observation",), "dead", 0, 0, 0)))
    async with opened(path) as (_, index):
        await done(index, ["Observation"])
        assert await count(index, "Observation", "code=a") == 40
    async with opened(tmp_path / "b") as (store, index):
        await index.defer(["Observation"], now() + 50_000)
        await store.commit([change(index, observation(number)) for number in range(40)])
        async with asyncio.timeout(60):
            while True:
                try:
                    assert await count(index, "Observation", "code=a") == 40
                    break
                except Preparing:
                    await asyncio.sleep(0.05)


@on_a_loop
async def test_rows_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Where a row is missing in the end, all are made anew before anybody can search."""
    real, left = building.add, [1]

    def forgetful(connection: apsw.Connection, rows: Sequence[Any]) -> None:
        real(connection, rows[left.pop() :] if left else rows)

    monkeypatch.setattr(building, "add", forgetful)
    async with opened(tmp_path / "a") as (store, index):
        await index.defer(["Observation"], now() + LONG)
        await store.commit([change(index, observation(number)) for number in range(25)])
        await done(index, ["Observation"])
        assert "made anew: Observation" in caplog.text and not left
        assert await count(index, "Observation", "code=a") == 25 and await count(index, "Observation", "subject=Patient/p0") == 9


@on_a_loop
async def test_what_is_not_deferred_is_indexed_at_once(tmp_path: Path) -> None:
    """A document that was meant to come later, of a type that is searched already."""
    async with opened(tmp_path / "a") as (store, index):
        await store.commit([change(index, observation(1))])
        assert await count(index, "Observation", "code=a") == 1


@on_a_loop
async def test_who_is_at_it_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: another process waits, and takes over only from one that says nothing any more."""
    real, compared, silent, clock = building.disagreeing, list[str](), 300_000, [now()]

    def slow(path: str, *args: Any) -> list[str]:
        compared.append("once")
        for _ in range(6):  # three times as long as it may be silent
            clock[0] += silent // 2
            deadline, connection = time.monotonic() + 60, apsw.Connection(path)
            while (known := state.read(connection)) is None or known.until < clock[0] + silent:
                assert time.monotonic() < deadline, "it does not say that it is at it"
                time.sleep(0.01)
            connection.close()
        return real(path, *args)

    monkeypatch.setattr(building, "disagreeing", slow)
    monkeypatch.setattr(deferral, "ALIVE", silent)
    monkeypatch.setattr(deferral, "now", lambda: clock[0])
    async with opened(tmp_path / "a") as (store, index), opened(tmp_path / "a") as (_, other):
        await index.defer(["Observation"], now() + LONG)
        await store.commit([change(index, observation(number)) for number in range(25)])
        await done(other, ["Observation"])
        assert compared == ["once"] and await count(other, "Observation", "code=a") == 25
