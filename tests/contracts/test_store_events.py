"""AuditEvents that a store numbers, dates and packs itself, beside documents of the same type, on every store (resources/store.py)."""

from collections.abc import Callable

import msgspec
from contracts.chaining import heads
from contracts.store_harness import EVENT, Clock, Test, change, collect

from resources.store import Key, ResourceStore


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


def test_events_are_read_many_at_a_time_beside_documents(run: Callable[[Test], None]) -> None:
    """Events of one commit and of several, in any order, with and without hints; an id that only looks like an event's is none."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        for number in range(4):
            await store.commit([change(str(number))], events=[EVENT] * 3)
        await store.commit([change("event-2", "named so")])
        events = (await store.history("AuditEvent", None)).versions
        assert len(events) == 12
        assert {(e.version, e.method) for e in events} == {(1, "POST")}
        for wanted in (events, events[::-1], events[::5], [*events[3:], *events[:3]]):
            assert await store.read_many([Key(e.type, e.id) for e in wanted]) == wanted
        odd = [Key("AuditEvent", i) for i in ("event-1", "event-999", "event-0", "event-002", "x")]
        assert await store.read_many(odd) == [None] * 5
        mixed = [Key("Patient", "event-2"), Key("AuditEvent", "event-2", 1), Key("Patient", "1", (1 << 48) + 2)]
        found = await store.read_many(mixed)
        assert [v and (v.type, v.id) for v in found] == [("Patient", "event-2"), ("AuditEvent", "event-2"), ("Patient", "1")]
        assert await store.read("AuditEvent", "event-002") is None

    run(test)


def test_an_audit_event_that_was_put_is_a_document_like_any_other(run: Callable[[Test], None]) -> None:
    """Whatever its id looks like, even that of the event that would stand at its place: it is in all histories, lists and counts."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit([change("1")], events=[EVENT])
        names = ["event-3", "event-99", "event-x"]
        written = [(await store.commit([change(name, type="AuditEvent")]))[0].version for name in names]
        assert [version.position for version in written] == [3, 4, 5]
        system = (await store.history(None, None)).versions
        assert [(v.type, v.id) for v in system] == [("AuditEvent", name) for name in reversed(names)] + [("Patient", "1")]
        assert await store.count_history(None, None) == 4
        events = (await store.history("AuditEvent", None)).versions
        assert [v.id for v in events] == [*reversed(names), "event-2"]
        assert await store.count_history("AuditEvent", None) == 4
        for version in written:
            assert await store.read("AuditEvent", version.id) == version
            assert await store.read_version("AuditEvent", version.id, 1) == version
            assert (await store.history("AuditEvent", version.id)).versions == [version]
            assert await store.count_history("AuditEvent", version.id) == 1
        assert await store.read_many([Key("AuditEvent", name) for name in names]) == written
        assert [v for v in await collect(store.outbox(after=2)) if v.type == "AuditEvent"] == written
        assert (await collect(store.scan(["AuditEvent"], until=5)))[1:] == written
        [changed] = await store.commit([change("event-3", "b", type="AuditEvent")])
        assert changed.version.version == 2
        assert (await store.history(None, None)).versions[0] == changed.version

    run(test)


def test_events_of_one_commit_that_are_large_are_as_any_others(run: Callable[[Test], None]) -> None:
    """However they are packed: each is there once, in its place, follows the one before, and can be read alone."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        large = [EVENT[:-1] + b',"outcomeDesc":"%b"}' % (b"%d" % number * 100_000) for number in range(9)]
        await store.commit([change("1")], events=[EVENT, *large, EVENT])
        await store.commit([change("2")], events=[EVENT])
        told = await collect(store.outbox(after=0))
        assert [version.position for version in told] == list(range(1, 15))
        assert [len(version.body or b"") > 90_000 for version in told] == [False, False, *[True] * 9, False, False, False]
        logged = [version for version in told if version.type == "AuditEvent"]
        assert len({version.instant for version in logged[:-1]}) == 1
        assert [(await store.read_many([Key(each.type, each.id)]))[0] for each in logged] == logged
        assert (await heads(store))[store.audit_head.writer] == store.audit_head

    run(test)
