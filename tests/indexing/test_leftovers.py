"""Indices of earlier releases: kept while one of their servers runs, deleted once nobody can need them."""

import asyncio

import pytest
from indexing.feed_harness import place, put, until
from services.running import service

from fhir_server.indexing import feed, leftovers
from fhir_server.indexing.leftovers import Leftovers
from search.indexes.elastic.lease import Lease


def test_what_an_earlier_release_left_is_deleted_once_its_servers_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one renews its lease everything stays; afterwards its indices and its place in the outbox go, and nothing else."""
    monkeypatch.setattr(leftovers, "TURN", 0.0)
    monkeypatch.setattr(feed, "INSPECTION", 0.1)

    async def test() -> None:
        async with place(service("elasticsearch")) as there:
            process = await there.process()
            await put(there.store, "Basic", "a")
            assert await process.found("Basic") == ["a"]
            await process.feed.stop()
            mine = set(await process.indices.names())
            old, other = f"{there.prefix}-0123abcd", f"{there.prefix}-notes"
            for name in (f"{old}.feed", f"{old}-patient-first", other):
                await process.connection.call("PUT", f"/{name}")
            await there.store.confirm("elasticsearch-0123abcd", 1)
            running = Lease(process.connection, f"{old}.feed", "feed", span=0.0)
            looking = Leftovers(there.store, process.connection, process.indices)
            for _ in range(4):
                assert await running.hold()
                await looking.look()
            assert set(await process.indices.names()) == {f"{old}.feed", f"{old}-patient-first", other, *mine}
            await looking.look()
            assert set(await process.indices.names()) == {other, *mine}
            assert await there.store.confirmed("elasticsearch-0123abcd") == 0
            await process.connection.call("PUT", f"/{old}-basic-1a2b")
            following = await there.process()  # a feeder looks by itself

            async def gone() -> bool:
                return set(await process.indices.names()) == {other, *mine}

            await until(gone)
            assert await following.found("Basic") == ["a"]

    asyncio.run(test())
