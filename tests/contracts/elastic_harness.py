"""The index on a real Elasticsearch, for the tests that all indexes share: what a commit brings is written and refreshed at once."""

import asyncio
import secrets
import threading
from collections.abc import Awaitable, Callable, Sequence

from contracts.index_harness import PARAMETERS
from services.running import service

from resources.store import Key
from resources.stores.participant import Applied
from search.indexes.elastic.connection import Connection, Server
from search.indexes.elastic.documents import Operation
from search.indexes.elastic.index import ElasticIndex
from search.indexes.elastic.indices import Indices
from search.indexes.elastic.layout import Layout
from search.indexes.elastic.writing import Bulk, Fate


class Elastic:
    """Indices of their own (by their prefix), gone at the end. `update` is what a commit and the feed after it do."""

    def __init__(self) -> None:
        self.server = Server(service("elasticsearch"))
        self.layout = Layout(PARAMETERS, f"test{secrets.token_hex(4)}")
        self.index = ElasticIndex(Connection(self.server), self.layout, limit=30)
        self._made: set[str] = set()
        self._there: set[Key] = set()
        self._filled: list[Applied] = []
        self._position = 0
        self._apart(lambda connection: Indices(connection, self.layout).install())

    def update(self, applied: Sequence[Applied]) -> None:
        operations = []
        self._filled = []
        for change in applied:
            self._position += 1
            entry = change.entry if change.live else None
            operations.append(Operation(change.type, change.id, self._position, change.instant, entry))
            self._there.add(Key(change.type, change.id))
        self._apart(lambda connection: self._write(connection, operations))

    def fill(self, applied: Sequence[Applied]) -> None:
        """Have exactly these documents, which takes no time where nothing has changed since the last call with equal ones."""
        if self._filled != list(applied):
            self.clear()
            self.update(applied)
            self._filled = list(applied)

    def clear(self) -> None:
        """Forget all documents."""
        if self._there:
            self.update([Applied(0, key.type, key.id, 0, None, False, False, live=False) for key in self._there])
            self._there.clear()

    def close(self) -> None:
        async def delete(connection: Connection) -> None:
            indices = Indices(connection, self.layout)
            for name in await indices.names():
                await indices.delete(name)
            await connection.call("DELETE", f"/_index_template/{self.layout.prefix}")

        self._apart(delete)

    async def _write(self, connection: Connection, operations: Sequence[Operation]) -> None:
        indices, types = Indices(connection, self.layout), {operation.type for operation in operations}
        for type in sorted(types - self._made):
            await indices.expose({type: await indices.create(type)})
        self._made |= types
        answers = await Bulk(connection, self.layout).write(operations)
        assert all(answer.fate is Fate.DONE for answer in answers), answers
        for type in types:
            await indices.refresh(type)

    def _apart(self, work: Callable[[Connection], Awaitable[None]]) -> None:
        """Do it in a thread with a loop and a client of its own: tests call this from within their own loops."""

        async def within() -> None:
            connection = Connection(self.server)
            connection.open()
            try:
                await work(connection)
            finally:
                await connection.close()

        failures: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(within())
            except BaseException as failure:
                failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
