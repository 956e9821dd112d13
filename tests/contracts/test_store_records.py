"""What every store promises of records: durable state that is no FHIR resource (`resources.store.Record`)."""

import asyncio
from collections.abc import Callable

import pytest
from contracts.store_harness import EVENT, Clock, Test, change

from resources.store import ABSENT, Conflict, Record, RecordChange, ResourceStore


def told(record: Record | None) -> tuple[bytes, tuple[str, ...], int] | None:
    """What of a record its writer chose."""
    return None if record is None else (record.value, record.tags, record.expires)


def test_a_record_is_kept_changed_and_forgotten(run: Callable[[Test], None]) -> None:
    """It is what was written last, each time with another revision; what is forgotten, or never was, is None."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        assert await store.record("client", "a") is None
        await store.commit((), records=[RecordChange("client", "a", b"1\x00\xff", tags=("app", "web"))])
        first = await store.record("client", "a")
        assert told(first) == (b"1\x00\xff", ("app", "web"), 0)
        await store.commit((), records=[RecordChange("client", "a", b"2")])
        second = await store.record("client", "a")
        assert told(second) == (b"2", (), 0)
        assert first is not None and second is not None and first.revision != second.revision
        assert await store.record("user", "a") is None
        await store.commit((), records=[RecordChange("client", "a", None)])
        assert await store.record("client", "a") is None
        await store.commit((), records=[RecordChange("client", "never", None)])

    run(test)


def test_a_precondition_that_does_not_hold_leaves_nothing(run: Callable[[Test], None]) -> None:
    """Nothing of such a commit is written, neither documents nor other records; the Conflict names the record at fault."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit((), records=[RecordChange("code", "x", b"open", expect=ABSENT)])
        known = await store.record("code", "x")
        assert known is not None
        wrong = [
            ([RecordChange("code", "new", b""), RecordChange("code", "x", b"used", expect=known.revision + 1)], known.revision),
            ([RecordChange("code", "new", b""), RecordChange("code", "x", b"used", expect=ABSENT)], known.revision),
            ([RecordChange("code", "new", b""), RecordChange("code", "other", None, expect=known.revision)], 0),
        ]
        for records, current in wrong:
            with pytest.raises(Conflict) as refused:
                await store.commit([change("1")], events=[EVENT], records=records)
            assert (refused.value.reason, refused.value.index, refused.value.current) == ("record", 1, current)
        assert (await store.read("Patient", "1"), await store.record("code", "new")) == (None, None)
        await store.commit([change("1")], events=[EVENT], records=[RecordChange("code", "x", b"used", expect=known.revision)])
        assert told(await store.record("code", "x")) == (b"used", (), 0)
        assert await store.read("Patient", "1") is not None
        with pytest.raises(Conflict):
            await store.commit([change("2", expect=5)], records=[RecordChange("code", "x", b"again")])
        assert told(await store.record("code", "x")) == (b"used", (), 0)

    run(test)


def test_one_of_many_has_it(run: Callable[[Test], None]) -> None:
    """Of commits at the same time that expect the same state, one is written and the others are refused."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        await store.commit((), records=[RecordChange("code", "x", b"open")])
        known = await store.record("code", "x")
        assert known is not None
        uses = [RecordChange("code", "x", f"used {n}".encode(), expect=known.revision) for n in range(30)]
        answers = await asyncio.gather(*(store.commit((), events=[EVENT], records=[use]) for use in uses), return_exceptions=True)
        won = [use for use, answer in zip(uses, answers, strict=True) if not isinstance(answer, BaseException)]
        assert len(won) == 1 and sum(isinstance(answer, Conflict) for answer in answers) == 29
        assert told(await store.record("code", "x")) == (won[0].value, (), 0)
        makes = [store.commit((), records=[RecordChange("jti", "y", b"", expect=ABSENT)]) for _ in range(30)]
        answers = await asyncio.gather(*makes, return_exceptions=True)
        assert sum(isinstance(answer, Conflict) for answer in answers) == 29

    run(test)


def test_an_expired_record_is_not_there(run: Callable[[Test], None]) -> None:
    """From its moment on nobody finds it, and its key is free."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        soon = clock.now + 1_000_000
        await store.commit((), records=[RecordChange("token", "t", b"v", tags=("family",), expires=soon)])
        known = await store.record("token", "t")
        assert known is not None and known.expires == soon
        clock.now = soon - 1
        assert [r.key for r in await store.records("token", tag="family")] == ["t"]
        clock.now = soon
        assert (await store.record("token", "t"), await store.records("token"), await store.records("token", tag="family")) == (
            None,
            [],
            [],
        )
        with pytest.raises(Conflict):
            await store.commit((), records=[RecordChange("token", "t", b"w", expect=known.revision)])
        await store.commit((), records=[RecordChange("token", "t", b"w", expect=ABSENT)])
        assert told(await store.record("token", "t")) == (b"w", (), 0)

    run(test)


def test_records_of_a_kind_and_a_tag_in_pages(run: Callable[[Test], None]) -> None:
    """They come in the order of their keys, as many as are asked for, from behind a key on; tags are those of the last change."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        keys = [f"k{n:02}" for n in range(25)]
        await store.commit(
            (), records=[RecordChange("job", key, key.encode(), tags=("all", f"m{key[-1]}")) for key in reversed(keys)]
        )
        await store.commit((), records=[RecordChange("other", "k03x", b"", tags=("all",))])
        found: list[str] = []
        while part := await store.records("job", tag="all", after=found[-1] if found else "", limit=10):
            assert len(part) <= 10
            found += [record.key for record in part]
        assert found == keys
        assert [r.key for r in await store.records("job", after="k22")] == ["k23", "k24"]
        assert [r.key for r in await store.records("job", tag="m4")] == ["k04", "k14", "k24"]
        await store.commit((), records=[RecordChange("job", "k14", b"", tags=("m5",)), RecordChange("job", "k24", None)])
        assert [r.key for r in await store.records("job", tag="m4")] == ["k04"]
        assert [(r.key, r.tags) for r in await store.records("job", tag="m5", after="k05")] == [
            ("k14", ("m5",)),
            ("k15", ("all", "m5")),
        ]

    run(test)


def test_two_changes_of_one_record_are_a_mistake(run: Callable[[Test], None]) -> None:
    """Which of them is meant to stay nobody could tell."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        with pytest.raises(ValueError, match="one change of a record only"):
            await store.commit((), records=[RecordChange("a", "b", b""), RecordChange("a", "b", None)])

    run(test)


def test_the_kinds_of_records_are_listed(run: Callable[[Test], None]) -> None:
    """Each once, in order; none where there are no records."""

    async def test(store: ResourceStore, clock: Clock) -> None:
        assert await store.record_kinds() == []
        await store.commit((), records=[RecordChange(kind, key, b"") for kind in ("user", "client") for key in ("a", "b")])
        assert await store.record_kinds() == ["client", "user"]
        await store.commit((), records=[RecordChange("user", "a", None), RecordChange("user", "b", None)])
        assert await store.record_kinds() == ["client"]

    run(test)
