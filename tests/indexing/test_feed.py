"""The feed from a store to a real Elasticsearch: everything arrives, in whatever way things go wrong in between."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import pytest
from indexing.feed_harness import BASE, PARAMETERS, Place, delete, place, put, until
from services.running import service

from fhir_server.indexing import feed
from fhir_server.indexing.builds import build
from fhir_server.observability import JsonFormatter
from resources.store import StoreUnavailable
from search.extract import Extractor
from search.indexes.elastic.asides import Aside
from search.indexes.elastic.documents import Operation
from search.indexes.elastic.indices import Scan
from search.indexes.elastic.writing import Bulk, Fate
from search.values import Entry


def run(test: Callable[[Place], Awaitable[None]]) -> None:
    async def within() -> None:
        async with place(service("elasticsearch")) as there:
            await test(there)

    asyncio.run(within())


def test_what_is_written_is_found() -> None:
    """Creates, updates and deletions are seen by the next search, those of a type's first document too; so are events."""

    async def test(there: Place) -> None:
        process = await there.process()
        assert await process.found("Patient?gender=male") == []
        await put(there.store, "Patient", "a", gender="male")
        assert await process.found("Patient?gender=male") == ["a"]
        await put(there.store, "Patient", "a", gender="female")
        await put(there.store, "Patient", "b", gender="male")
        assert await process.found("Patient?gender=male") == ["b"]
        await delete(there.store, "Patient", "b")
        assert await process.found("Patient") == ["a"]
        await there.store.commit((), events=[b'{"resourceType":"AuditEvent","action":"R"}'])
        assert len(await process.found("AuditEvent?action=R")) == 1
        assert process.feed.writer.set_aside == 0

    run(test)


def test_what_was_there_before_is_found() -> None:
    """A store that has had no Elasticsearch before is indexed as a whole, its history left out."""

    async def test(there: Place) -> None:
        for n in range(30):
            await put(there.store, "Patient", f"{n % 20}", gender="male" if n < 20 else "female")
        await delete(there.store, "Patient", "0")
        process = await there.process()
        assert await process.found("Patient?gender=female") == sorted(map(str, range(1, 10)))
        assert await process.found("Patient?gender=male") == sorted(map(str, range(10, 20)))

    run(test)


def test_one_process_feeds_and_another_takes_over() -> None:
    """Of two processes one feeds; searches of both see every write; when the feeder is gone the other goes on."""

    async def test(there: Place) -> None:
        first = await there.process()
        await put(there.store, "Patient", "0")
        assert await first.found("Patient") == ["0"]
        second = await there.process()
        for n in range(1, 6):
            await put(there.store, "Patient", f"{n}")
            assert len(await second.found("Patient")) == n + 1
        assert sorted(process.feed._leading for process in there.processes) == [False, True]
        await first.die()
        await put(there.store, "Patient", "after")
        assert "after" in await second.found("Patient")
        third = await there.process()
        await second.feed.stop()
        await put(there.store, "Patient", "last")
        assert "last" in await third.found("Patient")

    run(test)


def test_an_index_that_was_deleted_by_hand_is_built_again() -> None:
    """Also where nothing is written any more: searches say 503 until it is there, and then find everything."""

    async def test(there: Place) -> None:
        process = await there.process(wait=0.5)
        await put(there.store, "Organization", "o")
        for n in range(5):
            await put(there.store, "Patient", f"{n}")
        await until(lambda: process.index.caught_up(("Patient", "Organization")))
        state = (await process.indices.states())["Patient"]
        assert state.live is not None
        await process.indices.delete(state.live)

        async def back() -> bool:
            try:
                return len(await process.found("Patient")) == 5
            except (StoreUnavailable, AssertionError):
                return False

        await until(back)
        assert await process.found("Organization") == ["o"]

    run(test)


class Stumbling(Extractor):
    """Fails on one document."""

    def extract(self, type: str, document: dict[str, Any]) -> Entry:
        if document["id"] == "bad":
            raise RecursionError("a secret of the patient")
        return super().extract(type, document)


def test_two_processes_that_build_an_index_at_once_make_one() -> None:
    """A feeder that was taken for dead may still be building: the feed never has two indices to write to, and nothing is refused."""

    async def test(there: Place) -> None:
        processes = [await there.process() for _ in range(3)]
        await put(there.store, "Patient", "a")
        await until(lambda: processes[0].index.caught_up(("Patient",)))
        for n in range(3):
            await put(there.store, "Basic", f"{n}", code={"coding": [{"code": "x"}]})
        works = (build(there.store, each.indices, each.feed.writer, each.feed.added, "Basic") for each in processes)
        ended = await asyncio.gather(*works, processes[0].found("Basic?code=x"), processes[1].found("Basic"))
        assert ended[3:] == [["0", "1", "2"]] * 2
        await put(there.store, "Basic", "3")
        assert len(await processes[2].found("Basic")) == 4
        assert len([name for name in await processes[0].indices.names() if "-basic-" in name]) == 1
        assert sum(each.feed.writer.set_aside for each in processes) == 0

    run(test)


def test_who_loses_the_lead_stops_building(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had begun is left to the next feeder, which brings it to its end."""

    async def test(there: Place) -> None:
        process = await there.process()
        await put(there.store, "Patient", "a")
        assert await process.found("Patient") == ["a"]
        make, begun = process.feed.indices.create, asyncio.Event()

        async def slowly(type: str, **options: Any) -> str:
            begun.set()
            await asyncio.sleep(60)
            return await make(type, **options)

        monkeypatch.setattr(process.feed.indices, "create", slowly)
        await put(there.store, "Basic", "a")
        await asyncio.wait_for(begun.wait(), 60)
        path = f"/{process.layout.feed}/_doc/feed"
        await process.connection.call("PUT", path, b'{"owner":"another"}')

        async def still() -> bool:
            await process.connection.call("PUT", path, b'{"owner":"another"}')  # which is not silent
            return not [task for task in asyncio.all_tasks() if task.get_name().startswith("build of")]

        await until(still)
        monkeypatch.setattr(process.feed.indices, "create", make)
        await process.connection.call("PUT", path, b'{"owner":""}')
        assert await process.found("Basic") == ["a"]

    run(test)


def test_a_build_that_comes_late_leaves_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stood still while others made, filled and rebuilt the index throws its own away: no write is refused or lost."""

    monkeypatch.setattr(feed, "INSPECTION", 0.1)

    async def test(there: Place) -> None:
        process = await there.process()
        await put(there.store, "Patient", "a")
        assert await process.found("Patient") == ["a"]
        late = await there.process()
        make, go, stood = late.indices.create, asyncio.Event(), asyncio.Event()

        async def slowly(type: str, **options: Any) -> str:
            stood.set()
            await go.wait()
            return await make(type, **options)

        monkeypatch.setattr(late.feed.indices, "create", slowly)
        building = asyncio.create_task(build(there.store, late.feed.indices, late.feed.writer, late.feed.added, "Basic"))
        await asyncio.wait_for(stood.wait(), 60)
        monkeypatch.setattr(late.feed.indices, "create", make)
        await put(there.store, "Basic", "b")
        assert await process.found("Basic") == ["b"]
        await process.feed.rebuild().run(["Basic"], watch=lambda type, n: None)
        go.set()
        written = ["b"]
        for n in range(20):
            written.append(f"b{n:02}")
            await put(there.store, "Basic", written[-1])
            assert await process.found("Basic") == written
        await building
        assert await process.found("Basic") == written
        assert len([name for name in await process.indices.names() if "-basic-" in name]) == 1
        assert await process.feed.asides.all() == []

    run(test)


def test_what_is_written_to_an_index_that_is_gone_makes_none() -> None:
    """It would have no mapping; the feed is told that it is absent, and builds it."""

    async def test(there: Place) -> None:
        process = await there.process()
        await put(there.store, "Basic", "a")
        assert await process.found("Basic") == ["a"]
        index = (await process.indices.states())["Basic"].live
        assert index is not None
        await process.feed.stop()
        await process.indices.delete(index)
        bulk = Bulk(process.connection, process.layout)
        [answer] = await bulk.write([Operation("Basic", "b", 2, 0, None)], index=index)
        assert answer.fate is Fate.ABSENT
        assert index not in await process.indices.names()

    run(test)


def test_what_cannot_be_indexed_is_set_aside(caplog: pytest.LogCaptureFixture) -> None:
    """One document that fails, when it is read or in Elasticsearch, holds nobody up; it is listed and counted, without its content."""

    async def test(there: Place) -> None:
        process = await there.process(Stumbling(PARAMETERS, BASE))
        await put(there.store, "Patient", "good")
        await put(there.store, "Patient", "bad", gender="male")
        await put(there.store, "Patient", "fine")
        assert await process.found("Patient") == ["fine", "good"]
        index = await process.indices.create("Basic")
        await process.indices.delete(index)
        await process.connection.call(  # an index that lacks a field
            "PUT", f"/{index}", b'{"mappings":{"dynamic":"strict","properties":{"id":{"type":"keyword"}}}}'
        )
        await process.indices.expose({"Basic": index})
        await put(there.store, "Basic", "refused", code={"coding": [{"code": "x"}]})
        await put(there.store, "Patient", "later")
        assert await process.found("Patient") == ["fine", "good", "later"]
        asides = await process.feed.asides.all()
        assert [(a.type, a.id, a.reason) for a in asides] == [
            ("Patient", "bad", "RecursionError"),
            ("Basic", "refused", "strict_dynamic_mapping_exception"),
        ]
        assert "fhir_index_set_aside 2" in await process.feed.metrics()

    run(test)
    assert "secret" not in "".join(JsonFormatter().format(record) for record in caplog.records)


def test_a_blocked_index_is_waited_for() -> None:
    """Where somebody, or a full disk, blocks an index, nothing is set aside: searches are told to be late, and then find everything."""

    async def test(there: Place) -> None:
        process = await there.process()
        await put(there.store, "Patient", "before")
        assert await process.found("Patient") == ["before"]
        index = (await process.indices.states())["Patient"].live
        for blocked in (b"true", b"false"):
            await process.connection.call("PUT", f"/{index}/_settings", b'{"index.blocks.write":%b}' % blocked)
            if blocked == b"true":
                await put(there.store, "Patient", "meanwhile")
                await asyncio.sleep(0.5)
                assert await there.store.confirmed(process.feed.name) < await there.store.position()
        assert await process.found("Patient") == ["before", "meanwhile"]
        assert await process.feed.asides.all() == []

    run(test)


def test_what_was_set_aside_is_tried_again_by_the_next_feeder() -> None:
    """What works by then is in the index and noted no longer, what is gone is noted no longer, and what still fails stays noted."""

    async def test(there: Place) -> None:
        process = await there.process(Stumbling(PARAMETERS, BASE))
        await put(there.store, "Patient", "good")
        await put(there.store, "Patient", "bad")
        assert await process.found("Patient") == ["good"]
        await process.feed.asides.add(Aside("Patient", "gone", 1, "some_exception"))
        await process.feed.stop()
        still = await there.process(Stumbling(PARAMETERS, BASE))

        async def noted() -> list[str]:
            return [aside.id for aside in await still.feed.asides.all()]

        await until(lambda: _are(noted(), ["bad"]))
        await still.feed.stop()
        mended = await there.process()
        await until(lambda: _are(mended.found("Patient"), ["bad", "good"]))
        await until(lambda: _are(noted(), []))

    run(test)


async def _are(found: Awaitable[list[str]], wanted: list[str]) -> bool:
    return await found == wanted


def test_a_rebuild_beside_the_live_index_loses_nothing() -> None:
    """While an index is built anew, searches find what they should, and what is written meanwhile is in the new one too."""

    async def test(there: Place) -> None:
        process = await there.process()
        for n in range(40):
            await put(there.store, "Patient", f"{n:03d}")
        assert len(await process.found("Patient")) == 40
        before = (await process.indices.states())["Patient"].live
        written = 40

        async def write() -> None:
            nonlocal written
            while True:
                await put(there.store, "Patient", f"{written:03d}")
                await delete(there.store, "Patient", f"{written - 40:03d}")
                written += 1
                assert len(await process.found("Patient")) == 40
                await asyncio.sleep(0.01)

        writing = asyncio.create_task(write())
        watched: list[tuple[str, int]] = []
        assert await process.feed.rebuild().run(["Patient"], watch=lambda type, n: watched.append((type, n))) == 0
        await asyncio.sleep(0.2)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        states = await process.indices.states()
        assert states["Patient"].live == states["Patient"].fed != before
        assert sum(n for _, n in watched) >= 40
        live = {v.id async for part in there.store.scan(["Patient"], until=await there.store.position()) for v in part}
        assert set(await process.found("Patient")) == live
        assert before not in await process.indices.names()

    run(test)


def test_a_rebuild_goes_on_where_it_was_interrupted() -> None:
    """What was filled before is kept, and the same index comes to its end."""

    async def test(there: Place) -> None:
        process = await there.process()
        for n in range(10):
            await put(there.store, "Patient", f"{n}")
        assert len(await process.found("Patient")) == 10

        def stop(type: str, count: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await process.feed.rebuild().run(["Patient"], watch=stop)
        [begun] = await process.indices.unfinished()
        await put(there.store, "Patient", "meanwhile")
        await process.feed.rebuild().run(["Patient"], watch=lambda type, n: None)
        assert (await process.indices.states())["Patient"].live == begun.index
        assert await process.indices.unfinished() == []
        assert len(await process.found("Patient")) == 11

    run(test)


def test_rebuilds_of_other_types_in_between_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebuild that was interrupted, one of fewer types that ends, one more that is interrupted, one that ends: all writes are there."""

    monkeypatch.setattr(feed, "INSPECTION", 0.1)

    async def test(there: Place) -> None:
        process = await there.process()
        for type in ("Patient", "Basic"):
            await put(there.store, type, "first")
            assert await process.found(type) == ["first"]

        async def rebuild(*types: str, stop: bool = False) -> None:
            def watch(type: str, count: int) -> None:
                if stop and type == "Basic":
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt) if stop else nullcontext():
                await process.feed.rebuild().run(types, watch=watch)

        await rebuild("Patient", "Basic", stop=True)
        await put(there.store, "Patient", "second")
        await rebuild("Basic")
        await put(there.store, "Patient", "third")
        assert await process.found("Patient") == ["first", "second", "third"]
        await rebuild("Patient", "Basic", stop=True)
        await put(there.store, "Basic", "second")
        await rebuild("Patient", "Basic")
        assert await process.found("Patient") == ["first", "second", "third"]
        assert await process.found("Basic") == ["first", "second"]
        assert await process.indices.unfinished() == []
        assert await there.store.confirmed(f"{process.feed.name}-rebuild") == 0

    run(test)


def test_what_a_rebuild_of_another_snapshot_left_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lacks what was written since: it is deleted, whatever is noted of it."""

    monkeypatch.setattr(feed, "INSPECTION", 0.1)

    async def test(there: Place) -> None:
        process = await there.process()
        await put(there.store, "Patient", "first")
        stale = await process.indices.create("Patient", until=1)
        await process.indices.note(stale, Scan(1, 1, complete=True))
        await put(there.store, "Patient", "second")
        assert await process.found("Patient") == ["first", "second"]
        await there.store.confirm(f"{process.feed.name}-rebuild", await there.store.position())
        await process.feed.rebuild().run(["Patient"], watch=lambda type, n: None)
        assert await process.found("Patient") == ["first", "second"]
        assert stale not in await process.indices.names()

    run(test)


def test_drift_is_found_and_repaired() -> None:
    """What the index lacks, has in an older version, or has too much of, is counted, and gone after the repair."""

    async def test(there: Place) -> None:
        process = await there.process()
        for n in range(12):
            await put(there.store, "Patient", f"{n}", gender="male")
        assert len(await process.found("Patient")) == 12
        at = await there.store.position()
        for _ in range(5):  # by then the store has gone on
            await there.store.commit((), events=[b'{"resourceType":"AuditEvent","action":"R"}'])
        lines = [b'{"delete":{"_id":"%d"}}' % n for n in range(3)]
        source = b'{"id":"%b","updated":1,"position":%d,"date":0,"patients":[],"present":[],"p":{}}'
        lines += [b'{"index":{"_id":"ghost"}}', source % (b"ghost", 1), b'{"index":{"_id":"5"}}', source % (b"5", 2)]
        path = f"/{process.layout.entrance('Patient')}/_bulk?refresh=true"
        await process.connection.call("POST", path, b"\n".join(lines) + b"\n", lines=True)
        found = await process.feed.comparison("Patient", at, repair=False).run()
        assert (found.documents, found.missing, found.surplus, found.repaired, found.agrees) == (12, 4, 1, 0, False)
        found = await process.feed.comparison("Patient", at, repair=True).run()
        assert (found.missing, found.surplus, found.repaired, found.agrees) == (4, 1, 5, True)
        assert (await process.feed.comparison("Patient", at, repair=False).run()).agrees
        assert len(await process.found("Patient?gender=male")) == 12

    run(test)


def test_what_waits_is_told() -> None:
    """An index that nobody feeds is late: searches are told so after their wait, and the metrics say by how much."""

    async def test(there: Place) -> None:
        process = await there.process(wait=0.3)
        await put(there.store, "Patient", "a")
        await until(lambda: process.index.caught_up(("Patient",)))
        await process.die()
        await put(there.store, "Patient", "b")
        await put(there.store, "Patient", "c")
        assert not await process.index.caught_up(("Patient",))
        assert await process.index.caught_up(("Organization",))
        lines = await process.feed.metrics()
        assert "fhir_index_behind_positions 2" in lines

    run(test)
