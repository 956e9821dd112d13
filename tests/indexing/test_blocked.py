"""An index that takes no writes holds up its own type only; searches of that type say so, and nothing is lost."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from indexing.feed_harness import PARAMETERS, Place, delete, place, put, sweep, until
from indexing.feed_harness import Process as InProcess
from indexing.serving import FHIR, Process, processes
from services.running import service

from fhir_server.indexing import feed
from resources.store import StoreUnavailable
from resources.stores.memory import MemoryStore
from search.indexes.elastic.documents import Operation
from search.indexes.elastic.layout import Layout
from search.indexes.elastic.lease import Lease
from search.indexes.elastic.writing import Answer, Bulk

BLOCKS = ("write", "read_only_allow_delete")


def run(test: Callable[[Place], Awaitable[None]]) -> None:
    async def within() -> None:
        async with place(service("elasticsearch")) as there:
            await test(there)

    asyncio.run(within())


async def block(process: InProcess, index: str, block: str, *, on: bool) -> None:
    value = b"true" if on else b"null"
    await process.connection.call("PUT", f"/{index}/_settings", b'{"index.blocks.%b":%b}' % (block.encode(), value))


async def refusal(process: InProcess, type: str) -> str:
    """What a search of the type is told."""
    with pytest.raises(StoreUnavailable) as told:
        await process.index.caught_up((type,))
    return str(told.value)


@pytest.mark.parametrize("kind", BLOCKS)
def test_only_the_blocked_type_waits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the feeder and through another process: other types are found, the blocked one says why not, and later has everything."""

    async def test(there: Place) -> None:
        one, other = await there.process(), await there.process()
        for type in ("Patient", "Organization"):
            await put(there.store, type, "before")
            for process in (one, other):
                assert await process.found(type) == ["before"]
        monkeypatch.setattr(feed, "HICCUP", 0.3)
        index = one.layout.alias("Patient")
        await block(one, index, kind, on=True)
        await put(there.store, "Patient", "changed", gender="male")
        await put(there.store, "Patient", "gone")
        for n in range(3):
            await put(there.store, "Organization", f"{n}")
            for process in (one, other):
                assert len(await process.found("Organization")) == n + 2
                assert "no writes to the search index of Patient" in await refusal(process, "Patient")
        await put(there.store, "Patient", "changed", gender="female")
        await delete(there.store, "Patient", "gone")
        assert await there.store.confirmed(one.feed.name) < await there.store.position()
        [feeder] = [each for each in there.processes if each.feed._leading]
        assert "fhir_index_blocked_types 1" in await feeder.feed.metrics()
        await block(one, index, kind, on=False)
        for process in (one, other):
            await until(partial(told, process, ["before", "changed"]))
            assert await process.found("Patient?gender=female") == ["changed"]
            assert await process.found("Patient?gender=male") == []
        await until(lambda: confirmed(there, one))
        assert await one.feed.asides.all() == []

    run(test)


async def told(process: InProcess, expected: list[str]) -> bool:
    try:
        return await process.found("Patient") == expected
    except StoreUnavailable:
        return False


async def leads(process: InProcess) -> bool:
    return "fhir_index_feeder 1" in await process.feed.metrics()


async def failing(process: InProcess) -> bool:
    return process.feed.failing


async def confirmed(there: Place, process: InProcess) -> bool:
    return await there.store.confirmed(process.feed.name) >= await there.store.position()


def test_the_next_feeder_knows_what_is_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on with the other types where the one before it was, and with the blocked one once that takes writes."""

    async def test(there: Place) -> None:
        first = await there.process()
        for type in ("Patient", "Organization", "Practitioner"):
            await put(there.store, type, "before")
            assert await first.found(type) == ["before"]
        index = first.layout.alias("Patient")
        await block(first, index, "write", on=True)
        await put(there.store, "Patient", "a")
        await put(there.store, "Organization", "b")
        assert await first.found("Organization") == ["b", "before"]
        monkeypatch.setattr(feed, "HICCUP", 2.0)
        second = await there.process()
        await first.die()
        await put(there.store, "Practitioner", "c")
        assert await second.found("Practitioner") == ["before", "c"]
        assert await second.found("Organization") == ["b", "before"]
        await refusal(second, "Patient")
        with pytest.raises(StoreUnavailable, match="no writes to the search index of Patient"):  # what commands wait for
            await second.feed.ready(0.5)
        await block(first, index, "write", on=False)
        await until(lambda: told(second, ["a", "before"]))
        assert await second.feed.asides.all() == []

    run(test)


def test_two_blocked_types_go_on_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes on when its own index takes writes again, though it has more documents than are written at a time."""
    monkeypatch.setattr(feed, "GROUP", 3)

    async def test(there: Place) -> None:
        process = await there.process()
        for type in ("Patient", "Organization"):
            await put(there.store, type, "0")
            assert await process.found(type) == ["0"]
        monkeypatch.setattr(feed, "HICCUP", 0.1)
        for type in ("Patient", "Organization"):
            await block(process, process.layout.alias(type), "write", on=True)
        for n in range(1, 9):
            await put(there.store, "Patient", f"{n}")
            await put(there.store, "Organization", f"{n}")
        await refusal(process, "Organization")
        await block(process, process.layout.alias("Patient"), "write", on=False)
        await until(lambda: told(process, [f"{n}" for n in range(9)]))
        await refusal(process, "Organization")
        await block(process, process.layout.alias("Organization"), "write", on=False)
        await until(lambda: confirmed(there, process))
        assert len(await process.found("Organization")) == 9

    run(test)


async def held(there: Place, types: Sequence[str], *ids: str) -> InProcess:
    """A feeder that has stopped in good order, after it noted that these documents of each type are held up; the block has ended."""
    process = await there.process()
    for type in types:
        await put(there.store, type, "before")
        assert await process.found(type) == ["before"]
    names = ",".join(process.layout.alias(type) for type in types)
    await block(process, names, "write", on=True)
    for id in ids:
        for type in types:
            await put(there.store, type, id)
    await put(there.store, "Organization", "other")
    assert await process.found("Organization") == ["other"]
    assert f"fhir_index_blocked_types {len(types)}" in await process.feed.metrics()
    await process.feed.stop()
    await block(process, names, "write", on=False)
    return process


def test_types_that_are_free_at_the_same_time_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two of them the feeder keeps its lease and catches up with all others, and none is done before the next has begun."""
    types = ("Device", "Patient", "Practitioner")

    async def test(there: Place) -> None:
        await held(there, types, "a", "b")
        monkeypatch.setattr(feed, "GROUP", len(types))  # one of each
        monkeypatch.setattr(feed, "TURN", -1.0)
        events = list[str]()
        write, hold = Bulk.write, Lease.hold

        async def noted_write(bulk: Bulk, operations: Sequence[Operation], **options: Any) -> list[Answer]:
            [type] = {operation.type for operation in operations}
            if type in types:
                await put(there.store, "Organization", type)
            events.append(type)
            return await write(bulk, operations, **options)

        async def noted_hold(lease: Lease) -> bool:
            if lease._name == "feed":
                events.append("lease")
            return await hold(lease)

        monkeypatch.setattr(Bulk, "write", noted_write)
        monkeypatch.setattr(Lease, "hold", noted_hold)
        process = await there.process()
        await until(lambda: confirmed(there, process))
        written = [event for event in events if event in types]
        assert len(written) == 2 * len(types) and sorted(written[: len(types)]) == sorted(types)
        assert not [pair for pair in pairwise(events) if pair[0] in types and pair[1] in types]
        others = [event for event in events if event != "lease"]
        assert not [pair for pair in pairwise(others) if pair[0] in types and pair[1] in types]

    run(test)


@pytest.mark.parametrize("restored", [False, True])
def test_what_was_noted_of_another_store_counts_for_nothing(restored: bool) -> None:
    """A store that was begun anew, or restored from a backup, has not come as far as the note says: all that is written is indexed."""

    async def test(there: Place) -> None:
        before = await held(there, ("Patient",), "a", "b", "c")
        await there.store.close()
        there.store = MemoryStore()
        await there.store.open()
        if restored:
            await there.store.confirm(before.feed.name, await put(there.store, "Organization", "first"))
        feeder = await there.process()
        await until(lambda: leads(feeder))
        for process in (feeder, await there.process()):
            for n in range(2):
                id = f"{process.feed._lease.owner}-{n}"
                await put(there.store, "Organization", id)
                assert id in await process.found("Organization")

    run(test)


def test_a_feed_that_cannot_note_anything_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk blocks the feed's own index too: whoever must see a write is told the cause, and all is well after it."""

    async def test(there: Place) -> None:
        process = await there.process()
        await put(there.store, "Patient", "a")
        assert await process.found("Patient") == ["a"]
        monkeypatch.setattr(feed, "HICCUP", 0.3)
        names = f"{process.layout.prefix}-*"
        await block(process, names, "read_only_allow_delete", on=True)
        await until(lambda: failing(process))
        await put(there.store, "Patient", "b")
        assert "cluster_block_exception" in await refusal(process, "Patient")
        await block(process, names, "read_only_allow_delete", on=False)
        await until(lambda: told(process, ["a", "b"]))

    run(test)


def test_over_http(tmp_path: Path) -> None:
    """503 with Retry-After and the cause for the blocked type, also where a chain leads to it; 200 for the others; writes go on."""
    url, prefix = service("elasticsearch"), f"block{secrets.token_hex(4)}"
    process = Process(tmp_path, FHIR_SEARCH_URL=url, FHIR_SEARCH_PREFIX=prefix, FHIR_SEARCH_WAIT="30")
    with processes(process):
        process.put("a")
        assert process.total("Patient") == 1
        settings = f"{url}/{Layout(PARAMETERS, prefix).alias('Patient')}/_settings"
        assert httpx.put(settings, json={"index.blocks.write": True}).is_success
        process.put("b")
        client = process.client
        body = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/a"}}
        assert client.post("Observation", json=body, headers=FHIR).status_code == 201
        assert process.total("Observation") == 1
        for text in ("Patient", "Observation?subject:Patient.gender=male"):
            answer = client.get(text)
            assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
            assert "no writes to the search index of Patient" in answer.json()["issue"][0]["details"]["text"]
        assert client.get("Patient/b").status_code == 200
        assert httpx.put(settings, json={"index.blocks.write": None}).is_success
        deadline = time.monotonic() + 60
        while (answer := client.get("Patient")).status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert answer.json()["total"] == 2
    asyncio.run(sweep(url, prefix))
