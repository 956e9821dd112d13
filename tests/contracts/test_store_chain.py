"""The chain of the AuditEvents that a store writes (docs/adr/0018): each names the hash of the one before it, on every store."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from contracts.chaining import heads
from contracts.store_harness import EVENT, KINDS, Clock, Test, change, collect, setting

from resources.store import ABSENT, Conflict, RecordChange, ResourceStore
from resources.stores.sqlite import SqliteStore

PROFILED = b'{"resourceType":"AuditEvent","meta":{"profile":["http://a.org/p"]},"action":"R"}'


def test_events_of_all_commits_are_one_chain(run: Callable[[Test], None]) -> None:
    """One commit with many events, many commits in a group, events with a profile: each follows the one before it."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        assert store.audit_head.number == 0
        await store.commit([change("1")], events=[EVENT] * 150)
        await asyncio.gather(*(store.commit([change(str(n))], events=[PROFILED, EVENT]) for n in range(20)))
        await store.commit((), events=[EVENT])
        assert await heads(store) == {store.audit_head.writer: store.audit_head}
        assert store.audit_head.number == 191

    run(test)


def test_a_profile_stays_in_the_meta_of_its_event(run: Callable[[Test], None]) -> None:
    """The store adds version and instant to the meta that an event brings."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit((), events=[PROFILED])
        event = await store.read("AuditEvent", "event-1")
        assert event is not None and event.body is not None
        assert (
            b'"meta":{"versionId":"1","lastUpdated":"2023-11-14T22:13:20.000Z","profile":["http://a.org/p"]},"action"' in event.body
        )

    run(test)


def test_commits_that_are_refused_leave_no_gap(run: Callable[[Test], None]) -> None:
    """Conflicts of documents and records among others in a group, and what is no event or document: the rest is one chain."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit([change("1")], events=[EVENT], records=[RecordChange("code", "x", b"1")])
        refused = 0
        for _ in range(3):
            answers = await asyncio.gather(
                store.commit([change("1", expect=ABSENT)], events=[EVENT, EVENT]),
                store.commit([change("2")], events=[EVENT]),
                store.commit((), events=[EVENT], records=[RecordChange("code", "x", b"2", expect=ABSENT)]),
                store.commit([change("3")], events=[b'{"resourceType":"Patient"}']),
                store.commit((), events=[EVENT]),
                return_exceptions=True,
            )
            assert [type(answer) for answer in answers] == [Conflict, list, Conflict, ValueError, list]
            refused += 1
        assert await heads(store) == {store.audit_head.writer: store.audit_head}
        assert store.audit_head.number == 1 + 2 * refused

    run(test)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_every_opening_is_a_writer_of_its_own(tmp_path: Path, kind: str) -> None:
    """Two that write at once, and one that opens later: three chains, none with a gap."""
    with setting(kind, tmp_path) as place:

        async def test() -> None:
            one, two, later = (KINDS[kind].make(place) for _ in range(3))
            await one.open()
            await two.open()
            writes = [store.commit([change(f"{n % 5}")], events=[EVENT]) for n in range(10) for store in (one, two)]
            await asyncio.gather(*writes)
            known = {one.audit_head, two.audit_head}
            await one.close()
            await two.close()
            await later.open()
            await later.commit((), events=[EVENT])
            assert set((await heads(later)).values()) == known | {later.audit_head}
            assert sorted(head.number for head in (*known, later.audit_head)) == [1, 10, 10]
            await later.close()

        asyncio.run(test())


def test_old_events_can_be_removed_and_everything_else_stays(run: Callable[[Test], None]) -> None:
    """Neither reads nor histories nor the outbox tell of them; positions, documents, later events and the chain go on as they were."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        for number in range(6):
            await store.commit([change(str(number))], events=[EVENT, EVENT])
        await store.commit([change("put", type="AuditEvent")])
        if isinstance(store, SqliteStore):
            await store.settle()
        before = await collect(store.outbox(after=0))
        until = before[8].position
        gone = [version for version in before if version.position <= until and version.method == "POST"]
        removed = 0
        while count := await store.forget_events(until):
            removed += count
        assert removed == len(gone) == 6
        rest = [version for version in before if version not in gone]
        assert await collect(store.outbox(after=0)) == rest
        assert await store.read("AuditEvent", gone[0].id) is None
        assert [v for v in (await store.history("AuditEvent", None)).versions if v in gone] == []
        assert (await store.position(), await store.newest(["AuditEvent"])) == (19, [19])
        await store.commit([change("7")], events=[EVENT])
        assert (await store.newest(["AuditEvent"]))[0] == 21
        while await store.forget_events(1_000):
            pass
        own = [v for v in await collect(store.outbox(after=0)) if v.type == "AuditEvent" and v.method == "POST"]
        assert [version.position for version in own] == [21]
        assert store.audit_head.number == 13 and (await store.commit([change("8")]))[0].version.position == 22

    run(test)
