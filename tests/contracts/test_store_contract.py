"""The store contract (resources/store.py), one suite on every implementation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest

from resources.documents import draft
from resources.store import ABSENT, ANY, Change, Claim, Conflict, Key, Receipt, ResourceStore, Version
from resources.stores.memory import MemoryStore
from resources.stores.sqlite import SqliteStore

EVENT = b'{"resourceType":"AuditEvent","action":"R"}'


class Clock:
    """Time that moves when told to, in microseconds since the epoch."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now


Test = Callable[[ResourceStore, Clock], Awaitable[None]]


@pytest.fixture(params=["memory", "sqlite"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Test], None]:
    """Runs a test's coroutine on an open store of each kind."""

    async def within(test: Test) -> None:
        clock = Clock()
        store: ResourceStore = MemoryStore(clock=clock) if request.param == "memory" else SqliteStore(tmp_path / "a.sqlite", clock=clock)
        await store.open()
        try:
            await test(store, clock)
        finally:
            await store.close()

    return lambda test: asyncio.run(within(test))


def change(id: str, family: str = "a", type: str = "Patient", **options: Any) -> Change:
    body = msgspec.json.encode({"resourceType": type, "name": [{"family": family}]})
    return Change(type, id, draft(body, id), **options)


def removal(id: str, **options: Any) -> Change:
    return Change("Patient", id, None, method="DELETE", **options)


def family(version: Version | None) -> str | None:
    if version is None or version.body is None:
        return None
    return str(msgspec.json.decode(version.body)["name"][0]["family"])


async def collect(parts: AsyncIterator[list[Version]]) -> list[Version]:
    return [version async for part in parts for version in part]


def test_a_written_document_is_read_back_with_its_version_and_instant_inside(run: Callable[[Test], None]) -> None:
    """What a commit returns, what read gives and what the bytes say is the same."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        [written] = await store.commit([change("1", expect=ABSENT, method="POST")])
        found = await store.read("Patient", "1")
        assert found == written.version
        assert written.created
        assert found is not None
        assert (found.version, found.instant, found.method) == (1, clock.now, "POST")
        meta = msgspec.json.decode(found.body or b"")["meta"]
        assert meta == {"versionId": "1", "lastUpdated": "2023-11-14T22:13:20.000Z"}

    run(test)


def test_versions_count_up_through_updates_and_deletions(run: Callable[[Test], None]) -> None:
    """A deletion is a version of its own, and a resource brought back goes on counting."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        seen = []
        for step in (change("1"), change("1", "b"), removal("1"), change("1", "c")):
            [written] = await store.commit([step])
            seen.append((written.version.version, written.created, family(written.version)))
        assert seen == [(1, True, "a"), (2, False, "b"), (3, False, None), (4, True, "c")]
        for number, name in ((1, "a"), (2, "b"), (3, None), (4, "c")):
            version = await store.read_version("Patient", "1", number)
            assert version is not None
            assert family(version) == name
        assert await store.read_version("Patient", "1", 5) is None

    run(test)


@pytest.mark.parametrize(
    ("before", "attempt", "reason", "current"),
    [
        ([change("1")], change("1", expect=ABSENT), "exists", 1),
        ([change("1"), change("1")], change("1", expect=1), "version", 2),
        ([], change("1", expect=1), "missing", 0),
        ([change("1"), removal("1")], change("1", expect=1), "deleted", 0),
        ([], removal("1"), "missing", 0),
        ([change("1"), removal("1")], removal("1"), "deleted", 0),
        ([change("1")], removal("1", expect=2), "version", 1),
    ],
)
def test_a_broken_precondition_refuses_the_whole_commit(
    run: Callable[[Test], None], before: list[Change], attempt: Change, reason: str, current: int
) -> None:
    """The conflict names the change at fault and nothing of the commit is written."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        for step in before:
            await store.commit([step])
        position = store.position()
        with pytest.raises(Conflict) as caught:
            await store.commit([change("other"), attempt], events=[EVENT])
        assert (caught.value.reason, caught.value.index, caught.value.current) == (reason, 1, current)
        assert await store.read("Patient", "other") is None
        assert store.position() == position

    run(test)


def test_two_changes_of_one_resource_in_a_commit_are_refused(run: Callable[[Test], None]) -> None:
    """Nobody could say which of them counts."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        with pytest.raises(ValueError, match="one change"):
            await store.commit([change("1"), change("1", "b")])
        assert await store.read("Patient", "1") is None

    run(test)


def test_of_many_racers_with_the_same_version_one_wins(run: Callable[[Test], None]) -> None:
    """Concurrent updates that all expect version 1 make version 2 and no more."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit([change("1")])
        answers = await asyncio.gather(
            *(store.commit([change("1", str(n), expect=1)]) for n in range(50)), return_exceptions=True
        )
        assert sum(isinstance(answer, Conflict) for answer in answers) == 49
        found = await store.read("Patient", "1")
        assert found is not None
        assert found.version == 2

    run(test)


def test_of_many_racers_with_the_same_claim_one_wins(run: Callable[[Test], None]) -> None:
    """A claim made at a position is refused once somebody else committed the same claim after it."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        claim = Claim(b"0123456789abcdef", store.position())
        answers = await asyncio.gather(
            *(store.commit([change(str(n), expect=ABSENT)], claims=[claim]) for n in range(50)), return_exceptions=True
        )
        assert sum(isinstance(answer, Conflict) and answer.reason == "claim" for answer in answers) == 49
        later = Claim(claim.key, store.position())
        await store.commit([change("later")], claims=[later])

    run(test)


def test_a_receipt_is_kept_with_the_commit_and_refuses_a_second_one_until_it_expires(run: Callable[[Test], None]) -> None:
    """The answer of a request with an idempotency key is there exactly if its writes are."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        receipt = Receipt(b"k" * 32, b"d" * 32, lambda written: written[0].version.id.encode(), clock.now + 10_000_000)
        await store.commit([change("1")], receipt=receipt)
        kept = await store.receipt(receipt.key)
        assert kept is not None
        assert (kept.digest, kept.answer) == (receipt.digest, b"1")
        with pytest.raises(Conflict, match="receipt"):
            await store.commit([change("2")], receipt=receipt)
        assert await store.read("Patient", "2") is None
        clock.now += 20_000_000
        assert await store.receipt(receipt.key) is None

    run(test)


def test_read_many_keeps_the_order_and_leaves_gaps_for_what_is_not_there(run: Callable[[Test], None]) -> None:
    """A wrong hint never gives a wrong document."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit([change("1", "a"), change("2", "b"), change("1", "p", type="Practitioner")])
        keys = [Key("Patient", "2"), Key("Patient", "9"), Key("Patient", "1", 2), Key("Practitioner", "1", 1)]
        assert [family(v) for v in await store.read_many(keys)] == ["b", None, "a", "p"]

    run(test)


def test_history_gives_versions_newest_first_in_pages(run: Callable[[Test], None]) -> None:
    """Pages of one resource, a type and the system join to the whole, with nothing twice, while more is written."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        for number in range(4):
            await store.commit([change("1", str(number)), change("1", str(number), type="Practitioner")], events=[EVENT])
        for type_, id_, total in (("Patient", "1", 4), ("Patient", None, 4), (None, None, 8), ("Practitioner", "1", 4)):
            seen: list[Version] = []
            before = None
            while True:
                page = await store.history(type_, id_, before=before, limit=3)
                seen += page.versions
                await store.commit([change("new", str(len(seen)), type="Basic")])
                if page.next is None:
                    break
                before = page.next
            kept = [v for v in seen if v.type != "Basic"]
            assert len(kept) == total
            positions = [v.position for v in seen]
            assert positions == sorted(positions, reverse=True)
            assert len(set(positions)) == len(positions)
        assert (await store.history("Patient", "none")).versions == []

    run(test)


def test_history_can_be_cut_by_time(run: Callable[[Test], None]) -> None:
    """`since` is inclusive; `at` gives what was current at some moment of the interval."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        start = clock.now
        for number in range(5):
            clock.now = start + number * 1_000_000
            await store.commit([change("1", str(number))])
        since = await store.history("Patient", "1", since=start + 2_000_000)
        assert [v.version for v in since.versions] == [5, 4, 3]
        at = await store.history("Patient", "1", at=(start + 1_500_000, start + 2_500_000))
        assert [v.version for v in at.versions] == [3, 2]
        at = await store.history(None, None, at=(start - 10, start))
        assert at.versions == []

    run(test)


def test_events_become_documents_that_can_be_read_and_never_disturb_the_rest(run: Callable[[Test], None]) -> None:
    """Each event is an AuditEvent with an id, a version and an instant of its own; the system's history leaves them out."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit([change("1")], events=[EVENT, EVENT])
        await store.commit([], events=[EVENT])
        page = await store.history("AuditEvent", None)
        assert len(page.versions) == 3
        for event in page.versions:
            document = msgspec.json.decode(event.body or b"")
            assert (document["id"], document["meta"]["versionId"], document["action"]) == (event.id, "1", "R")
            assert await store.read("AuditEvent", event.id) == event
            assert await store.read_version("AuditEvent", event.id, 1) == event
            assert await store.read_version("AuditEvent", event.id, 2) is None
            assert (await store.history("AuditEvent", event.id)).versions == [event]
        assert [v.type for v in (await store.history(None, None)).versions] == ["Patient"]
        assert await store.read("AuditEvent", "event-99999") is None
        assert await store.read("AuditEvent", "event-x") is None

    run(test)


def test_a_scan_is_a_snapshot_in_shards_whatever_is_written_meanwhile(run: Callable[[Test], None]) -> None:
    """Each live resource once, as it was at the position; the shards part them without overlap."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        for number in range(20):
            await store.commit([change(str(number), "old")], events=[EVENT])
        await store.commit([removal("3")])
        until = store.position()
        for number in range(10):
            await store.commit([change(str(number), "new")])
        await store.commit([removal("15"), change("99", "new")])
        whole = await collect(store.scan(["Patient"], until=until))
        assert sorted(int(v.id) for v in whole) == [n for n in range(20) if n != 3]
        assert {family(v) for v in whole} == {"old"}
        parts = [await collect(store.scan(["Patient"], until=until, shard=(n, 3))) for n in range(3)]
        assert sorted(v.id for part in parts for v in part) == sorted(v.id for v in whole)
        middle = whole[7].position
        assert await collect(store.scan(["Patient"], until=until, after=middle)) == whole[8:]
        everything = await collect(store.scan([], until=until))
        assert sum(v.type == "AuditEvent" for v in everything) == 20

    run(test)


def test_the_outbox_tells_all_versions_and_events_in_commit_order(run: Callable[[Test], None]) -> None:
    """An index that applies them one after the other ends with what is current."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit([change("1")], events=[EVENT])
        middle = store.position()
        await store.commit([change("2")], events=[EVENT, EVENT])
        await store.commit([removal("1")])
        told = await collect(store.outbox(after=0, limit=2))
        assert [(v.type, v.body is None) for v in told] == [
            ("Patient", False), ("AuditEvent", False), ("Patient", False), ("AuditEvent", False), ("AuditEvent", False),
            ("Patient", True),
        ]  # fmt: skip
        assert await collect(store.outbox(after=middle)) == told[2:]
        assert await collect(store.outbox(after=store.position())) == []

    run(test)


def test_time_never_runs_backwards_from_one_commit_to_the_next(run: Callable[[Test], None]) -> None:
    """A clock that is set back does not give a later commit an earlier instant."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        [first] = await store.commit([change("1")])
        clock.now -= 60_000_000
        [second] = await store.commit([change("1", expect=ANY)])
        assert second.version.instant >= first.version.instant

    run(test)


def test_a_large_commit_lets_others_read_meanwhile_and_shows_all_or_nothing(run: Callable[[Test], None]) -> None:
    """Readers never see a part of a commit, however large."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        writing = asyncio.create_task(_start(store.commit([change(str(n)) for n in range(3_000)])))
        seen = set()
        while not writing.done():
            first, last = await store.read_many([Key("Patient", "0"), Key("Patient", "2999")])
            seen.add((first is None, last is None))
            await asyncio.sleep(0)
        await writing
        assert seen <= {(True, True), (False, False)}

    run(test)


async def _start(commit: Coroutine[Any, Any, Any]) -> None:
    await commit
