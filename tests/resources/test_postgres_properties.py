"""Whatever is written, the PostgreSQL store answers as the store in memory does, which is the plainest reading of the contract."""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec
import pytest
from contracts.store_harness import Clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from services.postgres.database import database

from resources.documents import draft
from resources.store import ABSENT, ANY, Change, Conflict, Head, Key, ResourceStore, Version
from resources.stores.chain import NOTHING, Chain
from resources.stores.memory import MemoryStore
from resources.stores.postgres import PostgresStore

EVENT = b'{"resourceType":"AuditEvent","action":"R"}'
TYPES, IDS = ("Patient", "Basic"), ("1", "2", "event-3")
schemas = count()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A database; each example has a schema of its own in it."""
    with database() as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def one_writer() -> Iterator[None]:
    """Both stores call themselves the same in the links of their events, which would differ by nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chain, "renew", lambda chain: setattr(chain, "head", Head("0" * 16, 0, NOTHING)))
        yield


@st.composite
def changes(draw: st.DrawFn) -> Change:
    type = draw(st.sampled_from((*TYPES, "AuditEvent")))
    id = draw(st.sampled_from(IDS[:2] if type == "AuditEvent" else IDS))  # event-N is the id of the store's own
    expect = draw(st.sampled_from((ANY, ANY, ABSENT, 1, 2)))
    if draw(st.integers(0, 3)) == 0:
        return Change(type, id, None, expect=max(expect, ANY) or ANY, method="DELETE")
    body = msgspec.json.encode({"resourceType": type, "text": draw(st.text(max_size=5))})
    return Change(type, id, draft(body, id), expect=expect)


commits = st.tuples(
    st.lists(changes(), max_size=4, unique_by=lambda c: (c.type, c.id)),
    st.integers(0, 3),  # events
    st.integers(-1_000, 3_000),  # how far the clock goes, in milliseconds
).filter(lambda step: step[0] or step[1])


async def outcome(store: ResourceStore, what: list[Change], events: int) -> Any:
    try:
        return await store.commit(what, events=[EVENT] * events)
    except Conflict as refused:
        return refused.reason, refused.index, refused.current


async def shown(store: ResourceStore, start: int) -> dict[Any, Any]:
    """Everything that the store can tell, by what was asked."""
    top = await store.position()
    told: dict[Any, Any] = {"outbox": [v async for part in store.outbox(after=top // 3, limit=3) for v in part]}
    cuts: list[dict[str, Any]] = [{}, {"since": start + 2_000_000}, {"at": (start + 1_000_000, start + 3_000_000)}]
    for type in (*TYPES, "AuditEvent", None):
        for id in (*IDS, None) if type else (None,):
            for cut in cuts:
                told[type, id, str(cut)] = await pages(store, type, id, cut), await store.count_history(type, id, **cut)
    for types in ([], ["Patient"], ["Basic", "AuditEvent"]):
        for until in (top, top // 2):
            whole = [v async for part in store.scan(types, until=until, after=1) for v in part]
            parts = [[v async for part in store.scan(types, until=until, after=1, shard=(n, 3)) for v in part] for n in range(3)]
            assert sorted(v.position for part in parts for v in part) == [v.position for v in whole]
            told[str(types), until] = whole
    keys = [Key(type, id) for type in (*TYPES, "AuditEvent") for id in (*IDS, "event-1", "event-99")]
    told["current"] = await store.read_many(keys), [await store.read(key.type, key.id) for key in keys]
    told["second"] = [await store.read_version(key.type, key.id, 2) for key in keys]
    return told


async def pages(store: ResourceStore, type: str | None, id: str | None, cut: dict[str, Any]) -> list[Version]:
    found: list[Version] = []
    before = None
    while True:
        page = await store.history(type, id, before=before, limit=2, **cut)
        found += page.versions
        if page.next is None:
            return found
        before = page.next


@given(st.lists(commits, min_size=1, max_size=8))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_it_answers_as_the_store_in_memory_does(url: str, script: list[tuple[list[Change], int, int]]) -> None:
    """Commits and conflicts, reads, histories and their counts, scans in shards, the outbox."""

    async def test() -> None:
        clock = Clock()
        start = clock.now
        plain, store = MemoryStore(clock=clock), PostgresStore(f"{url}?schema=s{next(schemas)}&pool_size=2", clock=clock)
        await store.open()
        try:
            for what, events, passed in script:
                clock.now += passed * 1000
                assert await outcome(store, what, events) == await outcome(plain, what, events)
            assert await shown(store, start) == await shown(plain, start)
        finally:
            await store.close()

    asyncio.run(test())
