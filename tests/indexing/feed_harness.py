"""A store in memory, an Elasticsearch with indices of the test's own, and feeds between them, as server processes have them."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fhir_server.indexing.feed import Feed
from resources.documents import draft
from resources.store import ANY, Change, ResourceStore
from resources.stores.memory import MemoryStore
from search.extract import Extractor
from search.indexes.elastic.connection import Connection, Server
from search.indexes.elastic.index import ElasticIndex
from search.indexes.elastic.indices import Indices
from search.indexes.elastic.layout import Layout
from search.parameters import registry
from search.parse import parse

PARAMETERS = registry()
BASE = "http://here/fhir"


class Process:
    """What one server process has of an index outside the store."""

    def __init__(
        self, store: ResourceStore, url: str, prefix: str, extractor: Extractor | None = None, *, wait: float = 20.0
    ) -> None:
        self.store = store
        self.connection = Connection(Server(url, timeout=20))
        self.layout = Layout(PARAMETERS, prefix)
        self.feed = Feed(store, self.connection, self.layout, extractor or Extractor(PARAMETERS, BASE), wait=wait)
        self.index = ElasticIndex(
            self.connection, self.layout, limit=20, follow=self.feed.caught_up, lost=self.feed.lost, hurry=self.feed.hurry
        )
        self.indices = Indices(self.connection, self.layout)

    async def found(self, text: str) -> list[str]:
        """The ids that a search such as `Patient?name=x` finds, sorted, once the index has caught up."""
        type, _, query = text.partition("?")
        assert await self.index.caught_up((type,)), f"the index did not catch up for {text}"
        parsed = parse(type, query, parameters=PARAMETERS, base_url=BASE, default_count=1000)
        return sorted(key.id for key in (await self.index.search(parsed.query)).keys)

    async def stop(self) -> None:
        await self.feed.stop()
        await self.index.close()

    async def die(self) -> None:
        """As a killed process does: nothing is released."""
        task = self.feed._task
        assert task is not None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.feed.added.stop()


class Place:
    """One store and one set of indices, and the processes at work on them."""

    def __init__(self, url: str) -> None:
        self.url, self.prefix = url, f"feed{secrets.token_hex(4)}"
        self.store = MemoryStore()
        self.processes: list[Process] = []

    async def process(self, extractor: Extractor | None = None, *, wait: float = 20.0) -> Process:
        """One more, started."""
        made = Process(self.store, self.url, self.prefix, extractor, wait=wait)
        self.processes.append(made)
        await made.index.open()
        made.feed.start()
        return made


async def put(store: ResourceStore, type: str, id: str, **members: Any) -> int:
    """Write a resource; returns its position."""
    body = json.dumps({"resourceType": type, **members}, separators=(",", ":")).encode()
    [written] = await store.commit([Change(type, id, draft(body, id), ANY)])
    return written.version.position


async def delete(store: ResourceStore, type: str, id: str) -> None:
    """Delete a resource."""
    await store.commit([Change(type, id, None, ANY, "DELETE")])


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """Return once the condition holds; fail if it does not in time."""
    for _ in range(int(seconds / 0.05)):
        if await condition():
            return
        await asyncio.sleep(0.05)
    pytest.fail("it did not come about in time")


@asynccontextmanager
async def place(url: str) -> AsyncIterator[Place]:
    """An empty store without any index yet; all is gone at the end."""
    made = Place(url)
    await made.store.open()
    try:
        yield made
    finally:
        for process in made.processes:
            await process.stop()
        await sweep(url, made.prefix)
        await made.store.close()


async def sweep(url: str, prefix: str) -> None:
    """Delete all indices of a prefix."""
    connection = Connection(Server(url, timeout=20))
    connection.open()
    indices = Indices(connection, Layout(PARAMETERS, prefix))
    for name in await indices.names():
        await indices.delete(name)
    await connection.call("DELETE", f"/_index_template/{prefix}")
    await connection.close()
