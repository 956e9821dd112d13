"""The database's collections, and how they are made and brought up to date.

versions   every version of every resource, `_id` its position: the canonical bytes, what is current, what came after it
events     AuditEvents that the store wrote itself, those of a group of commits packed together, `_id` the first one's position
claims, receipts   conditional writes and idempotency keys
records            durable state that is no resource
state      `schema`: the layout's version; `position`: the newest position and instant, which every commit moves first, so that
           one commit comes after the other; `index:NAME`: the positions that outside indexes have confirmed
writers    the sessions of the servers that write (resources/stores/mongo/writers.py)
Patient, Observation, …   one a type: the live documents as native BSON, for people (resources/stores/mongo/documents.py)
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel

from resources.store import StoreUnavailable

VERSIONS, EVENTS, CLAIMS, RECEIPTS, RECORDS = "versions", "events", "claims", "receipts", "records"
STATE, WRITERS = "state", "writers"

CURRENT_KEY, KEY_VERSION, TYPE_POSITION, INSTANT = "current_key", "key_version", "type_position", "instant"

_INDEXES = {
    VERSIONS: [
        IndexModel([("key", ASCENDING)], name=CURRENT_KEY, partialFilterExpression={"current": True}),
        IndexModel([("key", ASCENDING), ("version", DESCENDING)], name=KEY_VERSION, unique=True),
        IndexModel([("type", ASCENDING), ("_id", ASCENDING)], name=TYPE_POSITION),
        IndexModel([("instant", ASCENDING), ("_id", ASCENDING)], name=INSTANT),
    ],
    EVENTS: [IndexModel([("instant", ASCENDING), ("_id", ASCENDING)], name=INSTANT)],
    CLAIMS: [IndexModel([("instant", ASCENDING)], name=INSTANT)],
    RECEIPTS: [IndexModel([("expires", ASCENDING)], name="expires")],
}


async def _first_layout(database: Any) -> None:
    """Layout 1: the indexes, and position 0."""
    for name, indexes in _INDEXES.items():
        await database[name].create_indexes(indexes)
    await database[STATE].update_one({"_id": "position"}, {"$setOnInsert": {"position": 0, "instant": 0}}, upsert=True)


async def _records(database: Any) -> None:
    """Layout 2: records, found by kind and key, by a tag, and those that have expired."""
    by_key = [("kind", ASCENDING), ("key", ASCENDING)]
    by_tag = [("kind", ASCENDING), ("tags", ASCENDING), ("key", ASCENDING)]
    indexes = [IndexModel(by_key, name="key", unique=True), IndexModel(by_tag, name="tags")]
    await database[RECORDS].create_indexes([*indexes, IndexModel([("expires", ASCENDING)], name="expires")])


async def _events_dictionary(database: Any) -> None:
    """Layout 3: events are packed with a dictionary of their own, which programs that know no more than 2 do not have, and must not take
    for spoilt documents. What is there stays as it is."""


MIGRATIONS: tuple[Callable[[Any], Awaitable[None]], ...] = (_first_layout, _records, _events_dictionary)
"""Each brings the database from the layout of its place in this list to the next. All can be repeated: several servers may
start at once, and one may die in the middle."""

VERSION = len(MIGRATIONS)


async def check_server(client: Any, place: str) -> None:
    """Refuse a server that has no transactions. Raises StoreUnavailable."""
    hello = await client.admin.command("hello")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise StoreUnavailable(
            f"MongoDB at {place} is a standalone server, which has no transactions. Start it as a replica set, of one node if you like: "
            "mongod --replSet rs0, then rs.initiate() in mongosh."
        )


async def migrate(database: Any, place: str) -> None:
    """Create the collections and indexes, or bring an older layout up to date. Raises StoreUnavailable for a newer layout, and for a
    database that belongs to another program."""
    noted = await database[STATE].find_one({"_id": "schema"})
    version = noted["version"] if noted else 0
    if version > VERSION:
        raise StoreUnavailable(
            f"The database {place} was written by a newer version (layout {version}, this program knows {VERSION})."
        )
    if version == 0:
        foreign = set(await database.list_collection_names()) - {VERSIONS, EVENTS, CLAIMS, RECEIPTS, RECORDS, STATE, WRITERS}
        if foreign:
            raise StoreUnavailable(
                f"The database {place} belongs to another program (it holds {sorted(foreign)[0]}). Name another one in FHIR_STORE_URL."
            )
    for number in range(version, VERSION):
        await MIGRATIONS[number](database)
        await database[STATE].update_one({"_id": "schema"}, {"$max": {"version": number + 1}}, upsert=True)


class Types:
    """The collections of native documents. Each is made before the first transaction that writes to it: inside of one MongoDB
    makes none while another server makes the same."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._made: set[str] = set()
        self._turn = asyncio.Lock()

    async def make(self, types: set[str]) -> None:
        """See that these types have their collections."""
        if types <= self._made:
            return
        async with self._turn:
            self._made |= set(await self._database.list_collection_names())
            for name in sorted(types - self._made):
                await self._database[name].create_indexes([IndexModel([("id", ASCENDING)], name="id")])
                self._made.add(name)
