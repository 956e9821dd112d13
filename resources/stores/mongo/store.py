"""The store on MongoDB: native documents for people, canonical bytes for the server, one transaction for a group of commits."""

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

import pymongo
from pymongo import ReadPreference
from pymongo.errors import PyMongoError

from resources.instants import now
from resources.store import Change, Claim, Head, HistoryPage, Key, Receipt, Record, RecordChange, StoreUnavailable, Version, Written
from resources.stores.commits import Commits, Job
from resources.stores.mongo.documents import native
from resources.stores.mongo.driver import ANSWER, COMMITTED, DURABLE, Driver, connect, database_name, place, settled
from resources.stores.mongo.errors import Errors
from resources.stores.mongo.reading import Reader
from resources.stores.mongo.records import listed, read
from resources.stores.mongo.schema import CLAIMS, EVENTS, RECEIPTS, RECORDS, STATE, check_server, migrate
from resources.stores.mongo.transactions import Transactions

log = logging.getLogger(__name__)

GROUP = 256
"""Changes and events after which a group of commits is closed (one larger commit makes a group of its own)."""

LARGE = 2_000_000
"""Bytes of JSON from which on a document's size in BSON is looked at before its commit begins."""

SWEEP = 600.0
"""Seconds between two sweeps of what has expired."""

CLAIM_AGE = 3_600_000_000
"""Microseconds after which no running request can hold a claim any more."""


class MongoStore:
    """ResourceStore in a MongoDB database, written by any number of server processes at once.

    `url`: `mongodb://…` or `mongodb+srv://…`, the database as its path, TLS and everything else as its options
    (https://www.mongodb.com/docs/manual/reference/connection-string/). Raises StoreUnavailable where it cannot be understood.
    """

    def __init__(self, url: str, *, driver: Driver = "pymongo", clock: Callable[[], int] = now) -> None:
        self._url, self._driver, self._clock = url, driver, clock
        self._errors = Errors(url)
        self._commits = Commits(self._write, most=GROUP, size=Job.positions, slow="the database", after=self._sweep)
        self._swept = time.monotonic()

    @property
    def wants_entries(self) -> bool:
        """See ResourceStore.wants_entries: the index of this store is always a server of its own."""
        return False

    @property
    def audit_head(self) -> Head:
        """See ResourceStore.audit_head."""
        return self._transactions.chain.head

    # -- opening and closing

    async def open(self) -> None:
        """See ResourceStore.open. Refuses a server without transactions."""
        self._client = connect(self._url, self._driver)
        self._database = self._client.get_database(
            database_name(self._url), read_concern=COMMITTED, write_concern=DURABLE, read_preference=ReadPreference.PRIMARY
        )
        try:
            with self._errors.clear():
                await check_server(self._client, place(self._url))
                await migrate(self._database, place(self._url))
        except StoreUnavailable:
            await settled(self._client.close())
            raise
        self._reader = Reader(self._database)
        self._transactions = Transactions(self._client, self._database, self._errors, self._clock)

    async def close(self) -> None:
        """See ResourceStore.close."""
        await self._commits.close()
        await self._transactions.writers.close()
        await settled(self._client.close())

    # -- writing

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        events: Sequence[bytes] = (),
        claims: Sequence[Claim] = (),
        receipt: Receipt | None = None,
        records: Sequence[RecordChange] = (),
    ) -> list[Written]:
        """See ResourceStore.commit. Raises FhirError 413 for a document that is larger than MongoDB keeps."""
        self._commits.check(changes, records)
        for change in changes:
            if change.draft is not None and len(change.draft.head) + len(change.draft.tail) > LARGE:
                native(change.id, change.draft.stamp(1, ""))
        return await self._commits.add(Job(changes, events, claims, receipt, records))

    async def adopt(self, versions: Sequence[Version]) -> None:
        """See ResourceStore.adopt."""
        if versions:
            with self._errors.clear():
                await self._transactions.adopt(versions)

    async def _write(self, jobs: Sequence[Job]) -> None:
        """Write a group of commits. Raises StoreUnavailable, or what one of them is at fault for."""
        with self._errors.clear():
            await self._transactions.write(jobs)

    async def _sweep(self) -> None:
        """Now and then, forget receipts that have expired and claims that nobody can hold any more."""
        if time.monotonic() - self._swept < SWEEP:
            return
        self._swept, moment = time.monotonic(), self._clock()
        try:
            await self._database[RECEIPTS].delete_many({"expires": {"$lt": moment}})
            await self._database[CLAIMS].delete_many({"instant": {"$lt": moment - CLAIM_AGE}})
            await self._database[RECORDS].delete_many({"expires": {"$gt": 0, "$lte": moment}})
            await self._transactions.writers.sweep()
        except PyMongoError as problem:
            log.warning("what has expired could not be deleted now: %s", type(problem).__name__)

    # -- reading

    async def read(self, type: str, id: str) -> Version | None:
        """See ResourceStore.read."""
        with self._errors.clear(), pymongo.timeout(ANSWER):
            return await self._reader.read(type, id)

    async def read_version(self, type: str, id: str, version: int) -> Version | None:
        """See ResourceStore.read_version."""
        with self._errors.clear(), pymongo.timeout(ANSWER):
            return await self._reader.read_version(type, id, version)

    async def read_many(self, keys: Sequence[Key]) -> list[Version | None]:
        """See ResourceStore.read_many."""
        with self._errors.clear(), pymongo.timeout(2 * ANSWER):
            return await self._reader.read_many(keys)

    async def history(
        self,
        type: str | None,
        id: str | None,
        *,
        since: int | None = None,
        at: tuple[int, int] | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> HistoryPage:
        """See ResourceStore.history."""
        with self._errors.clear():
            return await self._reader.history(type, id, since, at, before, limit)

    async def count_history(
        self, type: str | None, id: str | None, *, since: int | None = None, at: tuple[int, int] | None = None
    ) -> int:
        """See ResourceStore.count_history."""
        with self._errors.clear():
            return await self._reader.count(type, id, since, at)

    async def position(self) -> int:
        """See ResourceStore.position."""
        with self._errors.clear(), pymongo.timeout(ANSWER):
            return await self._reader.position()

    async def newest(self, types: Sequence[str]) -> list[int]:
        """See ResourceStore.newest."""
        with self._errors.clear(), pymongo.timeout(ANSWER):
            return await self._reader.tail.newest(types)

    async def receipt(self, key: bytes) -> Receipt | None:
        """See ResourceStore.receipt."""
        with self._errors.clear(), pymongo.timeout(ANSWER):
            return await self._reader.receipt(key, self._clock())

    async def record(self, kind: str, key: str) -> Record | None:
        """See ResourceStore.record."""
        with self._errors.clear(), pymongo.timeout(ANSWER):
            return await read(self._database[RECORDS], kind, key, self._clock())

    async def records(self, kind: str, *, tag: str | None = None, after: str = "", limit: int = 1000) -> list[Record]:
        """See ResourceStore.records."""
        with self._errors.clear(), pymongo.timeout(ANSWER):
            return await listed(self._database[RECORDS], kind, tag, after, limit, self._clock())

    async def record_kinds(self) -> list[str]:
        """See ResourceStore.record_kinds."""
        with self._errors.clear(), pymongo.timeout(ANSWER):
            return sorted(await self._database[RECORDS].distinct("kind"))

    async def scan(
        self, types: Sequence[str], *, until: int, after: int = 0, shard: tuple[int, int] = (0, 1)
    ) -> AsyncGenerator[list[Version], None]:
        """See ResourceStore.scan."""
        async with aclosing(self._reader.scan(types, until, after, shard)) as found:
            while True:
                with self._errors.clear():
                    versions = await anext(found, None)
                if versions is None:
                    return
                yield versions

    async def outbox(self, *, after: int, limit: int = 1000) -> AsyncIterator[list[Version]]:
        """See ResourceStore.outbox. Nothing is ever trimmed here: versions and events are the outbox."""
        while True:
            with self._errors.clear():
                found = await self._reader.outbox(after, limit)
            if not found:
                return
            yield found
            after = found[-1].position

    async def forget_events(self, until: int) -> int:
        """See ResourceStore.forget_events."""
        logged = self._database[EVENTS]
        with self._errors.clear(), pymongo.timeout(2 * ANSWER):
            newest = await logged.find_one({}, {"_id": 1}, sort=[("_id", -1)])
            old = {"_id": {"$lte": until, "$lt": newest["_id"] if newest else 0}, "last": {"$lte": until}}
            found = await logged.find(old, {"count": 1}, sort=[("_id", 1)], limit=1_000).to_list(None)
            await logged.delete_many({"_id": {"$in": [each["_id"] for each in found]}})
            return sum(each["count"] for each in found)

    async def confirm(self, index: str, position: int | None) -> None:
        """See ResourceStore.confirm."""
        name = {"_id": f"index:{index}"}
        with self._errors.clear(), pymongo.timeout(ANSWER):
            if position is None:
                await self._database[STATE].delete_one(name)
            else:
                await self._database[STATE].update_one(name, {"$max": {"position": position}}, upsert=True)

    async def confirmed(self, index: str) -> int:
        """See ResourceStore.confirmed."""
        with self._errors.clear(), pymongo.timeout(ANSWER):
            return await self._reader.confirmed(index)
