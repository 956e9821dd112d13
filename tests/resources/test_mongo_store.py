"""What only the MongoDB store promises: documents that people can query, refusals at the start, several servers writing at once."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bson.decimal128 import Decimal128
from pymongo import MongoClient
from services.mongo.database import database, dropped_sockets, with_database
from services.running import own_server

from resources.documents import draft
from resources.outcomes import FhirError
from resources.store import ABSENT, Change, Claim, Conflict, Receipt, ResourceStore, StoreUnavailable
from resources.stores.mongo import MongoStore, reading
from resources.stores.mongo.documents import LARGEST

ROOT = Path(__file__).parents[2]
EVENT = b'{"resourceType":"AuditEvent","action":"R"}'


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Clients are closed here while they connect."""
    with dropped_sockets():
        yield


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database on a running server."""
    with database() as made:
        yield made


def change(id: str, family: str = "a", **options: Any) -> Change:
    body = msgspec.json.encode({"resourceType": "Patient", "name": [{"family": family}]})
    return Change("Patient", id, draft(body, id), **options)


def within(url: str, test: Callable[[MongoStore], Awaitable[None]], **options: Any) -> None:
    """Run a test on an open store."""

    async def run() -> None:
        store = MongoStore(url, **options)
        await store.open()
        try:
            await test(store)
        finally:
            await store.close()

    asyncio.run(run())


@contextmanager
def collections(url: str) -> Iterator[Any]:
    """The database, as an analyst's own tools see it."""
    with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=5_000) as client:
        yield client.get_default_database()


def test_live_documents_can_be_queried_in_the_databases_own_language(url: str) -> None:
    """A collection a type, members as they are, decimals as Decimal128; superseded and deleted ones are gone from it."""
    body = b'{"resourceType":"Observation","status":"final","valueQuantity":{"value":72.50,"code":"kg"}}'

    async def test(store: MongoStore) -> None:
        await store.commit([change("1", "Chalmers"), change("2", "Windsor"), Change("Observation", "o", draft(body, "o"))])
        await store.commit([change("2", "Levin")])
        await store.commit([change("3", "Gone")])
        await store.commit([Change("Patient", "3", None, method="DELETE")])
        await store.commit([change("4", "Gone")])
        await store.commit([Change("Patient", "4", None, method="DELETE")])
        await store.commit([change("4", "Back")])
        found = await store.read("Observation", "o")
        assert found is not None and found.body is not None
        assert b'"value":72.50' in found.body

    within(url, test)
    with collections(url) as seen:
        assert [d["_id"] for d in seen["Patient"].find({"name.family": "Chalmers"})] == ["1"]
        assert {d["_id"]: d["name"][0]["family"] for d in seen["Patient"].find()} == {"1": "Chalmers", "2": "Levin", "4": "Back"}
        assert seen["Patient"].find_one({"_id": "2"})["meta"]["versionId"] == "2"
        [observation] = seen["Observation"].find({"valueQuantity.value": {"$gt": Decimal128("72.4")}})
        assert observation["valueQuantity"]["value"].bid == Decimal128("72.50").bid


def test_reading_gives_the_very_bytes_that_were_committed(url: str) -> None:
    """Order of keys, digits, escapes: nothing passes through BSON on its way back."""
    odd = b'{"resourceType":"Basic","z":1.500,"a":1e400,"$x.y":"\\u00e9\\u0000","n":123456789012345678901234567890123456789,"a\\u0062":[]}'

    async def test(store: MongoStore) -> None:
        made = draft(odd, "1")
        [written] = await store.commit([Change("Basic", "1", made)])
        found = await store.read("Basic", "1")
        assert found == written.version
        assert found is not None and found.body is not None
        assert found.body.startswith(made.head) and found.body.endswith(made.tail)

    within(url, test)


def test_a_document_beyond_mongodbs_limit_is_refused_and_leaves_nothing(url: str) -> None:
    """The others of the commit are not written either, and the store goes on."""
    huge = Change("Binary", "1", draft(msgspec.json.encode({"resourceType": "Binary", "data": "x" * LARGEST}), "1"))

    async def test(store: MongoStore) -> None:
        with pytest.raises(FhirError, match="kB"):
            await store.commit([change("1"), huge])
        assert await store.read("Patient", "1") is None
        assert await store.position() == 0
        await store.commit([change("1")])

    within(url, test)


def test_an_answer_that_is_too_large_to_be_kept_refuses_its_own_commit_only(url: str) -> None:
    """413 for who asked for it; whoever committed beside it is served."""
    receipt = Receipt(b"k" * 32, b"d" * 32, b"x" * (17 << 20), 1 << 60)

    async def test(store: MongoStore) -> None:
        answers = await asyncio.gather(
            store.commit([change("1")]), store.commit([change("2")], receipt=receipt), return_exceptions=True
        )
        assert [type(a) for a in answers] == [list, FhirError]
        assert await store.read("Patient", "2") is None

    within(url, test)


def test_pages_of_many_packed_events_are_whole(url: str) -> None:
    """Histories, the outbox and shards of a scan meet within groups of events, and nothing is lost or told twice."""

    async def test(store: MongoStore) -> None:
        for number in range(3):
            await store.commit([change(str(number))], events=[EVENT] * 150)
        seen: list[int] = []
        before = None
        while True:
            page = await store.history("AuditEvent", None, before=before, limit=70)
            seen += [v.position for v in page.versions]
            if page.next is None:
                break
            before = page.next
        assert len(seen) == 450
        assert seen == sorted(seen, reverse=True)
        told = [v.position for part in [p async for p in store.outbox(after=0, limit=64)] for v in part]
        assert told == list(range(1, 454))
        shards = [[v.position async for part in store.scan([], until=400, after=10, shard=(n, 3)) for v in part] for n in range(3)]
        assert sorted(p for shard in shards for p in shard) == list(range(11, 401))

    within(url, test)


def test_a_walk_is_whole_over_several_queries(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lists there are, and however large: nothing is lost or told twice, whatever is written meanwhile."""
    monkeypatch.setattr(reading, "BATCH", 4)
    monkeypatch.setattr(reading, "WALK", 12)

    async def test(store: MongoStore) -> None:
        for number in range(30):
            await store.commit([change(str(number), "a" * (5_000 if number == 5 else 1))])
        until = await store.position()
        await store.commit([change(str(number), "later") for number in range(0, 30, 3)] + [change("new")])

        async def walk() -> list[int]:
            lists = [[version.position for version in part] async for part in store.scan(["Patient"], until=until)]
            assert [place for part in lists for place in part] == list(range(1, 31))
            return [len(part) for part in lists]

        assert await walk() == [4, 4, 4, 4, 4, 4, 4, 2]
        monkeypatch.setattr(reading, "AGE", -1.0)
        assert await walk() == [4, 4, 4, 4, 4, 4, 4, 2]
        monkeypatch.setattr(reading, "BYTES", 5_000)
        assert await walk() == [4, 2, 4, 4, 4, 4, 4, 4]

    within(url, test)


def test_one_bad_commit_of_a_group_does_not_keep_the_others_from_being_written(url: str) -> None:
    """Who sends what is no event gets the error; whoever happened to commit beside it does not."""

    async def test(store: MongoStore) -> None:
        answers = await asyncio.gather(
            store.commit([change("1")]), store.commit([], events=[b"{}"]), store.commit([change("2")]), return_exceptions=True
        )
        assert [type(a) for a in answers] == [list, ValueError, list]
        assert await store.position() == 2

    within(url, test)


def test_a_standalone_server_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Without transactions nothing that the store promises would hold."""
    refusal = pytest.raises(StoreUnavailable, match=r"standalone server, which has no transactions.*replica set, of one node")
    with own_server("mongo", tmp_path, MONGO_OPTIONS="--standalone") as server, refusal:
        asyncio.run(MongoStore(server.url).open())


def test_a_database_of_another_program_or_of_a_newer_version_is_refused(url: str) -> None:
    """And nothing of it is touched."""
    with collections(url) as seen:
        seen["orders"].insert_one({"_id": 1})
        with pytest.raises(StoreUnavailable, match=r"belongs to another program \(it holds orders\)"):
            asyncio.run(MongoStore(url).open())
        assert seen.list_collection_names() == ["orders"]
        seen["orders"].drop()
        seen["state"].insert_one({"_id": "schema", "version": 99})
        with pytest.raises(StoreUnavailable, match="layout 99, this program knows 3"):
            asyncio.run(MongoStore(url).open())


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
def test_a_server_that_is_not_there_is_named_soon_and_without_the_password(driver: Any) -> None:
    """Some seconds, not half a minute."""
    began = time.monotonic()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"mongodb://user:secret@127.0.0.1:{nobody.getsockname()[1]}/fhir"
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            asyncio.run(MongoStore(url, driver=driver).open())
    assert time.monotonic() - began < 25
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("wrong", ["mongodb://", "mongodb://a:p@ss@host/x", "mongodb://h/x?tls=maybe", "http://host/"])
def test_an_address_that_cannot_be_used_is_refused_without_its_secrets(wrong: str) -> None:
    """One sentence that names the setting."""
    with pytest.raises(StoreUnavailable, match="FHIR_STORE_URL") as caught:
        asyncio.run(MongoStore(wrong).open())
    assert "p@ss" not in str(caught.value)


def test_opening_again_finds_everything_and_several_open_at_once(url: str) -> None:
    """Making ready can be repeated, also at the same time."""

    async def first() -> None:
        stores = [MongoStore(url) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        await stores[0].commit([change("1")], events=[EVENT])
        assert [await store.position() for store in stores] == [2] * 4
        for store in stores:
            await store.close()

    asyncio.run(first())

    async def again(store: MongoStore) -> None:
        found = await store.read("Patient", "1")
        assert found is not None and found.version == 1
        assert await store.position() == 2

    within(url, again)


def test_two_servers_that_write_at_once_make_one_story(url: str) -> None:
    """Racing for the same claims, versions and receipts one wins; positions have no gap, and nobody sees a later one first."""

    async def test(one: MongoStore) -> None:
        two = MongoStore(url, driver="motor")
        await two.open()
        stores: list[ResourceStore] = [one, two]
        told: list[int] = []

        last: list[int] = []

        async def follow() -> None:
            while not (last and told[-1] == last[0]):
                for part in [p async for p in two.outbox(after=told[-1] if told else 0)]:
                    told.extend(v.position for v in part)
                await asyncio.sleep(0.005)

        following = asyncio.create_task(follow())
        for round_ in range(6):
            claim = Claim(bytes([round_]) * 16, await one.position())
            receipt = Receipt(bytes([round_]) * 32, b"d" * 32, b"answer", 1 << 60)
            racing = [
                *(s.commit([change(f"c{round_}-{n}-{i}")], claims=[claim]) for i, s in enumerate(stores) for n in range(5)),
                *(s.commit([change("shared", str(n), expect=round_ or ABSENT)], events=[EVENT]) for s in stores for n in range(5)),
                *(s.commit([change(f"r{round_}-{i}")], receipt=receipt) for i, s in enumerate(stores)),
            ]
            answers = await asyncio.gather(*racing, return_exceptions=True)
            won = [not isinstance(answer, BaseException) for answer in answers]
            assert all(isinstance(answer, Conflict | list) for answer in answers), answers
            assert (sum(won[:10]), sum(won[10:20]), sum(won[20:])) == (1, 1, 1)
        last.append(await one.position())
        async with asyncio.timeout(60):
            await following
        assert told == list(range(1, last[0] + 1))
        await two.close()

    within(url, test)


DYING = """
import asyncio, os, signal, sys
sys.path.insert(0, {root!r})
from resources.stores.mongo.store import MongoStore

async def main():
    store = MongoStore(sys.argv[1])
    await store.open()
    session = await store._transactions.writers.session()
    await session.start_transaction()
    await store._transactions.lock(session, 5)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_server_that_dies_within_a_transaction_does_not_keep_the_others_from_writing(url: str) -> None:
    """MongoDB would keep its lock for up to a minute; the others end it after some seconds, and no position is lost."""

    async def test(store: MongoStore) -> None:
        await store.commit([change("1")])
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", DYING.format(root=str(ROOT)), url], check=False)
        began = time.monotonic()
        [written] = await store.commit([change("2")])
        assert time.monotonic() - began < 30
        assert written.version.position == 2

    within(url, test)


def test_what_has_expired_is_swept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts past their time and claims that nobody can hold any more; others stay."""
    monkeypatch.setattr("resources.stores.mongo.store.SWEEP", 0.0)
    clock = [1_700_000_000_000_000]

    async def test(store: MongoStore) -> None:
        for number, lasting in enumerate((1_000_000, 1 << 60)):
            await store.commit(
                [change(str(number))],
                claims=[Claim(bytes([number]) * 16, 0)],
                receipt=Receipt(bytes([number]) * 32, b"d" * 32, b"a", clock[0] + lasting),
            )
        clock[0] += 2 * 3_600_000_000
        await store.commit([change("later")], claims=[Claim(b"x" * 16, 0)])
        deadline = time.monotonic() + 60
        while await asyncio.to_thread(kept) != {"receipts": [b"\1" * 32], "claims": [b"x" * 16]}:
            assert time.monotonic() < deadline, "it is not swept"
            await asyncio.sleep(0.05)

    def kept() -> dict[str, list[bytes]]:
        with collections(url) as seen:
            return {name: [bytes(d["_id"]) for d in seen[name].find()] for name in ("receipts", "claims")}

    within(url, test, clock=lambda: clock[0])
    assert kept() == {"receipts": [b"\1" * 32], "claims": [b"x" * 16]}


def test_a_database_is_named_by_the_url(url: str) -> None:
    """Two names on one server are two stores."""

    async def test(store: MongoStore) -> None:
        await store.commit([change("1")])
        other_url = with_database(url, url.rpartition("/")[2] + "_other")
        other = MongoStore(other_url)
        await other.open()
        assert await other.read("Patient", "1") is None
        await other.close()
        with collections(other_url) as seen:
            seen.client.drop_database(seen.name)

    within(url, test)
