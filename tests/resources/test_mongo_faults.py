"""The MongoDB store when its server dies, hangs, refuses, or loses an answer."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from contracts.chaining import heads
from pymongo import MongoClient
from services.mongo.database import dropped_sockets
from services.running import Restartable, own_server

from resources.documents import draft
from resources.store import ABSENT, Change, Key, StoreUnavailable, Written
from resources.stores.mongo import MongoStore, reading

DURABLE = {"MONGO_OPTIONS": "--sync-on-commit"}
EVENT = b'{"resourceType":"AuditEvent","action":"R"}'


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Clients are closed here while they connect."""
    with dropped_sockets():
        yield


def change(id: str, family: str = "a", **options: Any) -> Change:
    body = msgspec.json.encode({"resourceType": "Patient", "name": [{"family": family}]})
    return Change("Patient", id, draft(body, id), **options)


@asynccontextmanager
async def opened(url: str, driver: Any = "pymongo") -> AsyncIterator[MongoStore]:
    store = MongoStore(url, driver=driver)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def hang(process: int) -> None:
    """Let a process stand still; it does so a moment after it is told to."""
    os.kill(process, signal.SIGSTOP)
    while "\nState:\tT" not in Path(f"/proc/{process}/status").read_text():
        time.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; fail if it does not within a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def outcome(store: MongoStore, id: str) -> Written | StoreUnavailable:
    try:
        return (await store.commit([change(id, expect=ABSENT)], events=[EVENT]))[0]
    except StoreUnavailable as problem:
        return problem


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_a_server_killed_and_started_again_has_lost_no_answered_write(
    driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is away reads and writes fail soon, with a sentence; once it is back they work again by themselves, and a walk goes on
    where it was."""
    monkeypatch.setattr(reading, "BATCH", 4)

    async def test(server: Restartable) -> None:
        answered: list[Written] = []
        async with opened(server.url, driver) as store:
            running = True

            async def write(name: str) -> None:
                number = 0
                while running:
                    number += 1
                    told = await outcome(store, f"{name}-{number}")
                    if isinstance(told, Written):
                        answered.append(told)
                    else:
                        assert "MongoDB at 127.0.0.1" in str(told)
                        await asyncio.sleep(0.1)

            writing = [asyncio.create_task(write(f"w{n}")) for n in range(8)]
            try:
                await until(lambda: len(answered) >= 20)
                walk = store.scan(["Patient"], until=await store.position())
                walked = await anext(walk)
                await asyncio.to_thread(server.kill)
                before = len(answered)
                assert before > len(walked)
                began = time.monotonic()
                with pytest.raises(StoreUnavailable, match="cannot be reached"):
                    await store.read("Patient", "w0-1")
                assert time.monotonic() - began < 20
                await asyncio.to_thread(server.start)
                await until(lambda: len(answered) >= before + 20)
            finally:
                running = False
                await asyncio.gather(*writing)
            found = await store.read_many([Key("Patient", w.version.id) for w in answered])
            assert found == [w.version for w in answered]
            walked += [version async for part in walk for version in part]
            told = [v async for part in store.outbox(after=0) for v in part]
            assert [v.position for v in told] == list(range(1, await store.position() + 1))
            assert walked == [v for v in told if v.type == "Patient"][: len(walked)] and len(walked) > 4
            assert {v.id for v in told if v.type == "Patient"} >= {w.version.id for w in answered}
            assert (await heads(store))[store.audit_head.writer] == store.audit_head

    with own_server("mongo", tmp_path, **DURABLE) as server:
        asyncio.run(test(server))


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_a_server_that_hangs_is_given_up_after_some_seconds(driver: Any, tmp_path: Path) -> None:
    """A read has its answer or an error soon, and so has a write, of which nobody can say then whether it was kept."""

    async def test(server: Restartable, process: int) -> None:
        async with opened(server.url, driver) as store:
            await store.commit([change("1")])
            hang(process)
            try:
                for attempt in (store.read("Patient", "1"), store.commit([change("2")])):
                    began = time.monotonic()
                    with pytest.raises(StoreUnavailable):
                        await attempt
                    assert time.monotonic() - began < 40
            finally:
                os.kill(process, signal.SIGCONT)
            number, deadline = 0, time.monotonic() + 60
            while not isinstance(await outcome(store, f"later-{number}"), Written):
                assert time.monotonic() < deadline, "it takes no writes again"
                number += 1
                await asyncio.sleep(0.1)
            assert await store.read("Patient", "1") is not None

    with own_server("mongo", tmp_path) as server:
        asyncio.run(test(server, int((tmp_path / "run" / "pid").read_text())))


def test_a_user_that_may_not_is_told_so_without_the_password(tmp_path: Path) -> None:
    """A wrong password, and no user at all where one is needed."""
    with own_server("mongo", tmp_path) as server, MongoClient[dict[str, Any]](server.url) as client:
        client.admin.command("createUser", "clerk", pwd="right", roles=[{"role": "readWriteAnyDatabase", "db": "admin"}])
    with own_server("mongo", tmp_path, MONGO_OPTIONS="--auth") as server:
        hosts = urlsplit(server.url).netloc
        for url in (f"mongodb://clerk:wrongsecret@{hosts}/fhir?authSource=admin", f"mongodb://{hosts}/fhir"):
            with pytest.raises(StoreUnavailable, match="refuses this server's user") as caught:
                asyncio.run(MongoStore(url).open())
            assert "wrongsecret" not in str(caught.value)

        async def test() -> None:
            async with opened(f"mongodb://clerk:right@{hosts}/fhir?authSource=admin") as store:
                await store.commit([change("1")])
                assert await store.position() == 1

        asyncio.run(test())


class Losing:
    """Between the store and its server: passes everything on until told to lose the answer of the next commit."""

    def __init__(self, url: str, meanwhile: Callable[[], object]) -> None:
        self._port, self._meanwhile = urlsplit(url).port, meanwhile
        self.armed = False

    async def listen(self) -> int:
        """Begin; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        lost = asyncio.Event()
        pumps = [asyncio.create_task(self._pump(reader, back, lost)), asyncio.create_task(self._answers(there, writer, lost))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for end in (writer, back):
            end.close()

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while data := await source.read(1 << 16):
            if self.armed and b"commitTransaction" in data:
                self.armed = False
                lost.set()
            target.write(data)
            await target.drain()

    async def _answers(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, lost: asyncio.Event) -> None:
        while data := await source.read(1 << 16):
            if lost.is_set():
                await asyncio.to_thread(self._meanwhile)
                return
            target.write(data)
            await target.drain()


@pytest.mark.parametrize("restarts", [False, True])
def test_a_commit_whose_answer_is_lost_is_written_once(restarts: bool, tmp_path: Path) -> None:
    """It is asked for again; where the server has forgotten the transaction over a restart, what was written is looked for."""

    async def test(server: Restartable) -> None:
        def restart() -> None:
            server.kill()
            server.start()

        between = Losing(server.url, restart if restarts else lambda: None)
        port = await between.listen()
        async with opened(f"mongodb://127.0.0.1:{port}/fhir?directConnection=true") as store:
            await store.commit([change("1")])
            between.armed = True
            written, _ = await store.commit([change("1", "b", expect=1), change("2")], events=[EVENT])
            assert not between.armed, "the answer was lost"
            assert (written.version.version, written.version.position) == (2, 2)
            assert await store.position() == 4
            assert await store.read("Patient", "1") == written.version
            await store.commit((), events=[EVENT])
            assert await heads(store) == {store.audit_head.writer: store.audit_head}
        await between.close()

    with own_server("mongo", tmp_path, **DURABLE) as server:
        asyncio.run(test(server))
