"""When the feeder writes: at once for who waits, shortly after this process's own commits, rarely where nobody needs it."""

import asyncio
from collections.abc import Sequence

import pytest
from indexing.feed_harness import place, put, until
from services.running import service

from fhir_server.indexing import feed
from fhir_server.indexing.looks import Looks
from resources.store import StoreUnavailable
from resources.stores.memory import MemoryStore
from search.indexes.elastic.lease import Lease


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feeder without company looks once a minute, so that whatever is there sooner was not found by looking."""
    monkeypatch.setattr(feed, "ALONE", 60.0)
    monkeypatch.setattr(feed, "COMPANY", 0.05)


@pytest.mark.usefixtures("calm")
def test_a_feeder_without_company_rests_until_it_is_told_or_waited_for() -> None:
    """What another process writes stays in the outbox until a search asks for it; what this one writes is in the index shortly after."""

    async def test() -> None:
        async with place(service("elasticsearch")) as there:
            process = await there.process()
            await put(there.store, "Patient", "a")
            assert await process.found("Patient") == ["a"]

            async def rests() -> bool:
                position = await put(there.store, "Patient", "b")
                await asyncio.sleep(0.3)
                return await there.store.confirmed(process.feed.name) < position

            await until(rests)
            assert await process.found("Patient") == ["a", "b"]
            position = await put(there.store, "Patient", "c")
            process.feed.wrote(["Patient"])

            async def fed() -> bool:
                return await there.store.confirmed(process.feed.name) >= position

            await until(fed)

    asyncio.run(test())


@pytest.mark.usefixtures("calm")
def test_searches_in_another_process_do_not_wait_for_a_resting_feeder() -> None:
    """A process that stands by says so, and then the feeder looks often."""

    async def test() -> None:
        async with place(service("elasticsearch")) as there:
            first = await there.process()
            await put(there.store, "Patient", "0")
            assert await first.found("Patient") == ["0"]
            second = await there.process()
            for each in (first, second):
                each.feed._standby._span = 30.0  # a machine that is busy otherwise does not make it seem gone
            await until(lambda: first.feed._standby.taken())
            await put(there.store, "Patient", "1")
            first.feed.wrote(["Patient"])
            assert await second.found("Patient") == ["0", "1"]
            await asyncio.sleep(1.0)
            for n in range(2, 5):
                await put(there.store, "Patient", f"{n}")
                assert len(await second.found("Patient")) == n + 1

    asyncio.run(test())


def test_a_search_waits_through_a_moment_in_which_elasticsearch_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does while it makes an index; only where that goes on, searches are told at once that it cannot be reached."""
    refuses, hold = False, Lease.hold

    async def held(lease: Lease) -> bool:
        if refuses:
            raise StoreUnavailable("for a moment")
        return await hold(lease)

    monkeypatch.setattr(Lease, "hold", held)

    async def test() -> None:
        nonlocal refuses
        async with place(service("elasticsearch")) as there:
            process = await there.process()

            async def failing() -> bool:
                return process.feed.failing

            await put(there.store, "Patient", "a")
            assert await process.found("Patient") == ["a"]
            refuses = True
            await put(there.store, "Patient", "b")
            searching = asyncio.create_task(process.found("Patient"))
            await until(failing)
            refuses = False
            assert await searching == ["a", "b"]
            monkeypatch.setattr(feed, "HICCUP", 0.2)
            refuses = True
            await put(there.store, "Patient", "c")
            assert not await process.index.caught_up(("Patient",))
            await asyncio.sleep(1.0)
            refuses = False
            assert await process.found("Patient") == ["a", "b", "c"]  # who comes then is not told what was true before

    asyncio.run(test())


class _Slow(MemoryStore):
    """A store that answers when it is told to, with what was there when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[str]] = []
        self.answer = asyncio.Event()

    async def newest(self, types: Sequence[str]) -> list[int]:
        self.asked.append(sorted(types))
        found = await super().newest(types)
        await self.answer.wait()
        return found


def test_who_looks_at_the_same_time_shares_a_look_that_began_after_he_came() -> None:
    """Nobody is given an answer that was asked for before he came: it would lack what was written in between."""

    async def test() -> None:
        store = _Slow()
        looks = Looks(store)
        first = asyncio.create_task(looks.newest(["Patient"]))
        await asyncio.sleep(0.01)
        position = await put(store, "Patient", "a")
        later = [asyncio.create_task(looks.newest([type])) for type in ("Patient", "Basic", "Patient")]
        await asyncio.sleep(0.01)
        store.answer.set()
        assert (await first)["Patient"] == 0
        told = await asyncio.gather(*later)
        assert [told[0]["Patient"], told[1]["Basic"], told[2]["Patient"]] == [position, 0, position]
        assert store.asked == [["Patient"], ["Basic", "Patient"]]

    asyncio.run(test())
