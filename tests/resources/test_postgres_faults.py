"""The PostgreSQL store when things break: a killed server, a lost connection, a full disk, a lock that is not given, bad certificates."""

import asyncio
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec
import pytest
from contracts.chaining import heads
from services.postgres.database import database, execute
from services.running import own_server

from resources.documents import draft
from resources.store import ABSENT, Change, Key, StoreUnavailable
from resources.stores.postgres import PostgresStore

EVENT = b'{"resourceType":"AuditEvent","action":"R"}'


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database."""
    with database() as made:
        yield made


def patient(id: str) -> Change:
    return Change("Patient", id, draft(msgspec.json.encode({"resourceType": "Patient", "id": id}), id), expect=ABSENT)


class Wire:
    """A way to the server that can break: when the client sends one of the words in `lost`, the line is lost before or after that
    reaches the server, `breaks` times; while it is `dead`, it swallows everything."""

    def __init__(self, url: str) -> None:
        self._there = urlsplit(url)
        self.lost: dict[bytes, str] = {}
        self.breaks = 1_000_000
        self.dead = False

    async def __aenter__(self) -> "Wire":
        self._lines: set[asyncio.Task[None] | None] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = urlunsplit(self._there._replace(netloc=f"postgres@127.0.0.1:{port}", query="sslmode=disable"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()
        await asyncio.wait_for(asyncio.gather(*(line for line in self._lines if line is not None)), 60)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._lines.add(asyncio.current_task())
        back, forth = await asyncio.open_connection(self._there.hostname, self._there.port)
        answering = asyncio.create_task(self._answer(back, writer))
        with suppress(OSError):
            await self._ask(reader, back, forth, answering)
        answering.cancel()
        for end in (forth, writer):
            end.close()
            with suppress(OSError):
                await end.wait_closed()
        await asyncio.wait([answering])

    async def _ask(
        self, reader: asyncio.StreamReader, back: asyncio.StreamReader, forth: asyncio.StreamWriter, answering: asyncio.Task[None]
    ) -> None:
        while part := await reader.read(1 << 16):
            found = next((self.lost[word] for word in self.lost if word in part and self.breaks > 0), None)
            self.breaks -= found is not None
            if found == "before":
                return
            if found == "after":
                answering.cancel()
                await asyncio.wait([answering])
            if not self.dead:
                forth.write(part)
                await forth.drain()
            if found == "after":
                await back.read(1 << 16)  # the server has done what it was told
                return

    async def _answer(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while part := await back.read(1 << 16):
                if not self.dead:
                    writer.write(part)
                    await writer.drain()
        writer.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("events", [(), (EVENT, EVENT)])
def test_a_line_that_breaks_while_a_commit_is_confirmed_is_looked_into(url: str, when: str, events: tuple[bytes, ...]) -> None:
    """Once the server can be asked again, the commit is found, or written anew: it is answered, and there once."""

    async def test() -> None:
        async with Wire(url) as wire:
            store = PostgresStore(wire.url)
            await store.open()
            wire.lost = {b"COMMIT\0": when}
            wire.breaks = 1
            [written] = await store.commit([patient("1")], events=events)
            assert written.created
            assert await store.read("Patient", "1") == written.version
            assert await store.position() == 1 + len(events)
            await store.commit((), events=[EVENT])
            assert await heads(store) == {store.audit_head.writer: store.audit_head}
            await store.close()

    asyncio.run(test())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_whose_fate_cannot_be_found_out_is_uncertain(url: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is told so in time, and the next commit goes on."""
    monkeypatch.setattr("resources.stores.postgres.store.FATE", 0.5)

    async def test() -> None:
        async with Wire(url) as wire:
            store = PostgresStore(wire.url)
            await store.open()
            wire.lost = {b"COMMIT\0": when}
            with pytest.raises(StoreUnavailable, match="not certain") as caught:
                await store.commit([patient("1")], events=[EVENT])
            assert caught.value.uncertain
            wire.lost = {}
            assert (await store.read("Patient", "1") is not None) == (when == "after")
            await store.commit([patient("2")], events=[EVENT])
            assert (await heads(store))[store.audit_head.writer] == store.audit_head
            await store.close()

    asyncio.run(test())


@pytest.mark.parametrize("word", [b"BEGIN", b"unnest", b"INSERT"])
def test_a_line_that_breaks_before_that_costs_nothing(url: str, word: bytes) -> None:
    """The commit is sent again on a new connection, once; while the line stays broken, it is refused as not written."""

    async def test() -> None:
        async with Wire(url) as wire:
            store = PostgresStore(wire.url + "&prepared=off")
            await store.open()
            wire.lost = {word: "before"}
            with pytest.raises(StoreUnavailable, match="nothing was written") as caught:
                await store.commit([patient("1")])
            assert not caught.value.uncertain
            wire.breaks = 1
            [written] = await store.commit([patient("1")])
            assert (written.version.version, wire.breaks) == (1, 0)
            await store.close()

    asyncio.run(test())


def test_a_server_that_says_nothing_any_more_is_given_up_in_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that swallows everything is noticed by the clock, and the store works again once it is back."""
    monkeypatch.setattr("resources.stores.postgres.connection.STATEMENT", 5.0)

    async def test() -> None:
        async with Wire(url) as wire:
            store = PostgresStore(wire.url)
            await store.open()
            await store.commit([patient("1")])
            wire.dead = True
            with monkeypatch.context() as impatient:
                impatient.setattr("resources.stores.postgres.connection.CONNECT", 0.5)
                for attempt in (lambda: store.read("Patient", "1"), lambda: store.commit([patient("2")])):
                    with pytest.raises(StoreUnavailable, match="did not answer in time"):
                        await asyncio.wait_for(attempt(), 60)
            wire.dead = False
            assert await store.read("Patient", "1") is not None
            await store.commit([patient("3")])
            await store.close()

    asyncio.run(test())


def test_a_server_that_is_killed_loses_no_answered_write(tmp_path: Path) -> None:
    """SIGKILL in the midst of writes, KILLS times (3): clear errors within seconds meanwhile, then it goes on by itself, nothing lost."""
    with own_server("postgres", tmp_path) as server:

        async def test() -> None:
            store = PostgresStore(server.url)
            await store.open()
            answered: list[str] = []
            uncertain: list[str] = []
            stop = asyncio.Event()

            async def write(writer: int) -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    name = f"{writer}-{number}"
                    try:
                        async with asyncio.timeout(60):
                            await store.commit([patient(name)], events=[EVENT])
                        answered.append(name)
                    except StoreUnavailable as problem:
                        assert "PostgreSQL" in str(problem)
                        if problem.uncertain:
                            uncertain.append(name)
                        await asyncio.sleep(0.05)

            writers = [asyncio.create_task(write(n)) for n in range(8)]
            for _ in range(int(os.environ.get("KILLS", "3"))):
                before = len(answered)
                await asyncio.sleep(random.uniform(0.05, 0.5))
                await asyncio.to_thread(server.kill)
                with pytest.raises(StoreUnavailable):
                    await store.read("Patient", "0-1")
                await asyncio.to_thread(server.start)
                deadline = time.monotonic() + 60
                while len(answered) <= before + 50:
                    assert time.monotonic() < deadline, "it goes on by itself"
                    await asyncio.sleep(0.05)
            stop.set()
            await asyncio.gather(*writers)
            found = await store.read_many([Key("Patient", name) for name in answered])
            assert all(found)
            told = [v.position async for part in store.outbox(after=0) for v in part]
            assert told == list(range(1, len(told) + 1)), "no gap, nothing twice"
            assert len(answered) * 2 <= len(told) <= (len(answered) + len(uncertain)) * 2
            await store.close()

        asyncio.run(test())


def fail_with(url: str, state: str, times: int) -> None:
    """Have the next `times` insertions of documents fail with that SQLSTATE, as the server itself reports it."""
    execute(
        url,
        "CREATE SEQUENCE fhir.failures",
        "CREATE FUNCTION fhir.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('fhir.failures') <= {times} THEN RAISE EXCEPTION 'made to fail' USING ERRCODE = '{state}'; END IF;"
        " RETURN NEW; END $$",
        "CREATE TRIGGER fail BEFORE INSERT ON fhir.doc FOR EACH ROW EXECUTE FUNCTION fhir.fail()",
    )


async def _first(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.close()


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_serialization_failures_and_deadlocks_are_tried_again(url: str, state: str) -> None:
    """Twice, without the client noticing; if it goes on, the commit is refused as not written."""
    asyncio.run(_first(url))
    fail_with(url, state, 5)

    async def test() -> None:
        store = PostgresStore(url)
        await store.open()
        with pytest.raises(StoreUnavailable, match="busy with other writes"):
            await store.commit([patient("1")])
        [written] = await store.commit([patient("1")])
        assert (written.version.version, written.version.position) == (1, 1)
        await store.close()

    asyncio.run(test())


def test_a_full_disk_is_said_to_be_full(url: str) -> None:
    """HTTP then answers 507; nothing is kept of the commit, and there is no gap once there is room."""
    asyncio.run(_first(url))
    fail_with(url, "53100", 1)

    async def test() -> None:
        store = PostgresStore(url)
        await store.open()
        with pytest.raises(StoreUnavailable, match="disk of the PostgreSQL server is full") as caught:
            await store.commit([patient("1")])
        assert caught.value.full and not caught.value.uncertain
        [written] = await store.commit([patient("1")])
        assert written.version.position == 1
        await store.close()

    asyncio.run(test())


def test_a_lock_that_somebody_keeps_does_not_hold_commits_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works on the tables by hand blocks writes; they end with a sentence, reads go on."""
    monkeypatch.setattr("resources.stores.postgres.write.LOCK", 300)

    async def test() -> None:
        store = PostgresStore(url)
        await store.open()
        await store.commit([patient("1")])
        somebody = await asyncpg.connect(url)
        async with somebody.transaction():
            await somebody.execute("SELECT * FROM fhir.counter FOR UPDATE")
            with pytest.raises(StoreUnavailable, match="busy with other writes"):
                await store.commit([patient("2")])
            assert await store.read("Patient", "1") is not None
        await somebody.close()
        await store.commit([patient("2")])
        await store.close()

    asyncio.run(test())


def test_certificates_are_checked_as_the_url_says(tmp_path: Path) -> None:
    """sslmode=verify-full with the right CA connects over TLS; with another CA, or none, it is refused with a sentence."""
    if shutil.which("openssl") is None:  # it comes with Debian's PostgreSQL
        pytest.skip("openssl is not installed")
    for name in ("right", "wrong"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
             "subjectAltName=IP:127.0.0.1", "-keyout", f"{tmp_path}/{name}.key", "-out", f"{tmp_path}/{name}.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
    (tmp_path / "right.key").chmod(0o640)
    options = f"-c ssl=on -c ssl_cert_file={tmp_path}/right.pem -c ssl_key_file={tmp_path}/right.key"
    with own_server("postgres", tmp_path / "server", POSTGRES_OPTIONS=options) as server:

        async def test() -> None:
            store = PostgresStore(f"{server.url}?sslmode=verify-full&sslrootcert={tmp_path}/right.pem")
            await store.open()
            assert (await store._connections.fetch("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))[0][0]
            await store.close()
            with pytest.raises(StoreUnavailable, match="check sslmode= and sslrootcert="):
                await PostgresStore(f"{server.url}?sslmode=verify-full&sslrootcert={tmp_path}/wrong.pem").open()

        asyncio.run(test())
