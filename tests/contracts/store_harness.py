"""The kinds of store that the contract suite runs on, and what it takes to make one of each, empty, for one test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from services.mongo.database import database as mongo_database
from services.postgres.database import database as postgres_database

from resources.documents import draft
from resources.store import Change, ResourceStore, Version
from resources.stores.memory import MemoryStore
from resources.stores.mongo import MongoStore
from resources.stores.participant import Participant
from resources.stores.postgres import PostgresStore
from resources.stores.sqlite import SqliteStore


class Clock:
    """Time that moves when told to, in microseconds since the epoch."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now


@dataclass(frozen=True, slots=True)
class Setting:
    """What a store is made with: an empty folder, the URL of an empty database of this test's own ("" where no server is
    needed), a clock, and an index in the store (for kinds that are `embedded`)."""

    folder: Path
    database: str
    clock: Clock
    participant: Participant | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of store. `make` gives a store that is not open yet; `database` makes the empty database on a running server
    (skipping the test, or in CI failing it, where there is none) and drops it afterwards."""

    make: Callable[[Setting], ResourceStore]
    database: Callable[[], AbstractContextManager[str]] = lambda: nullcontext("")
    embedded: bool = False


EVENT = b'{"resourceType":"AuditEvent","action":"R"}'

KINDS = {
    "memory": Kind(lambda s: MemoryStore(clock=s.clock, participant=s.participant), embedded=True),
    "sqlite": Kind(lambda s: SqliteStore(s.folder / "a.sqlite", clock=s.clock, participant=s.participant), embedded=True),
    "mongo": Kind(lambda s: MongoStore(s.database, clock=s.clock), mongo_database),
    "mongo-motor": Kind(lambda s: MongoStore(s.database, driver="motor", clock=s.clock), mongo_database),
    "postgres": Kind(lambda s: PostgresStore(s.database, clock=s.clock), postgres_database),
}
EMBEDDED = [name for name, kind in KINDS.items() if kind.embedded]
ADOPTING = [*EMBEDDED, "mongo", "postgres"]

Test = Callable[[ResourceStore, Clock], Awaitable[None]]


@contextmanager
def setting(name: str, folder: Path, participant: Participant | None = None) -> Iterator[Setting]:
    """What a store of that kind needs, for as long as the test lasts."""
    with KINDS[name].database() as database:
        yield Setting(folder, database, Clock(), participant)


def run_on(name: str, folder: Path, test: Test) -> None:
    """Run a test's coroutine on an open, empty store of that kind."""
    with setting(name, folder) as place:

        async def within() -> None:
            store = KINDS[name].make(place)
            await store.open()
            try:
                await test(store, place.clock)
            finally:
                await store.close()

        asyncio.run(within())


def change(id: str, family: str = "a", type: str = "Patient", **options: Any) -> Change:
    """A document that has little but a name."""
    body = msgspec.json.encode({"resourceType": type, "name": [{"family": family}]})
    return Change(type, id, draft(body, id), **options)


def removal(id: str, **options: Any) -> Change:
    """A Patient deleted."""
    return Change("Patient", id, None, method="DELETE", **options)


def family(version: Version | None) -> str | None:
    """The name in a document; None where there is none."""
    if version is None or version.body is None:
        return None
    return str(msgspec.json.decode(version.body)["name"][0]["family"])


async def collect(parts: AsyncIterator[list[Version]]) -> list[Version]:
    """All versions, in order."""
    return [version async for part in parts for version in part]
