"""Queries. Bodies are handed on as bytes, never parsed; each query sees one moment of the database (read concern "snapshot")."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from heapq import merge
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from resources.store import HistoryPage, Key, Receipt, Version
from resources.stores import events
from resources.stores.bodies import Bodies
from resources.stores.mongo.driver import settled
from resources.stores.mongo.groups import PACK
from resources.stores.mongo.schema import EVENTS, RECEIPTS, STATE, TYPE_POSITION, VERSIONS
from resources.stores.mongo.tail import Tail

BATCH = 500
"""Versions in one list of a scan."""

GROUPS = 64
"""Packed groups of events that the server sends at a time."""

BYTES = 8 * 1024 * 1024
"""Bytes of bodies after which such a list ends before that: a list is held in memory as a whole."""

WALK = 20_000
"""Versions that one query of a scan of documents tells, at most."""

AGE = 60.0
"""Seconds after which it is followed by another one: servers keep a snapshot for five minutes."""

_SNAPSHOT = ReadConcern("snapshot")
_END = 1 << 62

_MEMBERS = ("key", "version", "instant", "method", "body")
"""What `_version` needs, beside `_id`."""

Filter = dict[str, Any]


class Reader:
    """The store's questions to the database."""

    def __init__(self, database: Any) -> None:
        self._bodies = Bodies()
        self._state, self._receipts = database[STATE], database[RECEIPTS]
        self._versions = database.get_collection(VERSIONS, read_concern=_SNAPSHOT)
        self._events = database.get_collection(EVENTS, read_concern=_SNAPSHOT)
        self.tail = Tail(self._versions, self._events)

    async def position(self) -> int:
        """The newest position that is committed."""
        return int((await self._state.find_one({"_id": "position"}) or {"position": 0})["position"])

    async def confirmed(self, index: str) -> int:
        """The position that an outside index has confirmed, or 0."""
        return int((await self._state.find_one({"_id": f"index:{index}"}) or {"position": 0})["position"])

    async def receipt(self, key: bytes, now: int) -> Receipt | None:
        """The receipt under `key`, unless it has expired by `now`."""
        found = await self._receipts.find_one({"_id": key})
        return Receipt(key, found["digest"], found["answer"], found["expires"]) if found and found["expires"] > now else None

    async def read(self, type: str, id: str) -> Version | None:
        """The current version of a resource, or None."""
        position = events.position_of(type, id)
        if position is not None:
            event = (await self._events_at((position,))).get(position)
            if event is not None:
                return event
        return self._told(await self._versions.find_one({"key": f"{type}/{id}", "current": True}))

    async def read_version(self, type: str, id: str, version: int) -> Version | None:
        """One version of a resource, or None."""
        position = events.position_of(type, id)
        if position is not None:
            event = (await self._events_at((position,))).get(position)
            if event is not None:
                return event if version == 1 else None
        if not -_END < version < _END:
            return None
        return self._told(await self._versions.find_one({"key": f"{type}/{id}", "version": version}))

    async def read_many(self, keys: Sequence[Key]) -> list[Version | None]:
        """The current versions of several resources, in order: one query, and beside it one for events among them."""
        if not keys:
            return []
        names = [f"{key.type}/{key.id}" for key in keys]
        positions = [events.position_of(key.type, key.id) for key in keys]
        wanted = {p for p in positions if p is not None}
        if wanted:
            found, logged = await asyncio.gather(self._current(names), self._events_at(wanted))
            return [(logged.get(p) if p else None) or found.get(name) for name, p in zip(names, positions, strict=True)]
        found = await self._current(names)
        return [found.get(name) for name in names]

    async def _current(self, names: Sequence[str]) -> dict[str, Version]:
        cursor = self._versions.find({"key": {"$in": names}, "current": True})
        return {d["key"]: self._version(d) for d in await cursor.to_list(None)}

    async def _events_at(self, positions: Collection[int]) -> dict[int, Version]:
        """The events at these positions, in one query: the packed group of each begins at most PACK - 1 positions before it."""
        spans = [{"_id": {"$gt": low - PACK, "$lte": high}, "last": {"$gte": low}} for low, high in _runs(positions)]
        found: dict[int, Version] = {}
        for group in await self._events.find({"$or": spans} if len(spans) > 1 else spans[0]).to_list(None):
            if any(position in positions for position in range(group["_id"], group["last"] + 1)):
                found.update((event.position, event) for event in self._unpacked(group) if event.position in positions)
        return found

    # -- walks

    async def history(
        self, type: str | None, id: str | None, since: int | None, at: tuple[int, int] | None, before: int | None, limit: int
    ) -> HistoryPage:
        """One page of history, newest first."""
        documents = self._walk(await self._of(self._versions, type, id, since, at, before), limit + 1)
        if type != events.TYPE:
            return _page(await documents, limit)
        logged = self._logged(await self._of(self._events, None, None, since, at, before), limit + 1, id, before)
        found = await asyncio.gather(documents, logged)
        return _page(list(merge(*found, key=lambda v: -v.position)), limit)

    async def _walk(self, filter: Filter, limit: int) -> list[Version]:
        """Versions that satisfy the filter, newest first."""
        order = [("version", DESCENDING)] if "key" in filter else [("_id", DESCENDING)]
        cursor = self._versions.find(filter, sort=order, limit=limit)
        return [self._version(d) for d in await cursor.to_list(None)]

    async def _logged(self, filter: Filter, limit: int, id: str | None, before: int | None) -> list[Version]:
        """Events of groups that satisfy the filter, newest first; of one id where that is asked for."""
        top = before if before is not None else _END
        if id is not None:
            position = events.position_of(events.TYPE, id)
            if position is None or position >= top:
                return []
            filter = {"$and": [filter, {"_id": {"$gt": position - PACK, "$lte": position}, "last": {"$gte": position}}]}
        found: list[Version] = []
        async with self._groups(filter, DESCENDING) as groups:
            async for group in groups:
                found += (e for e in reversed(self._unpacked(group)) if e.position < top and (id is None or e.id == id))
                if len(found) >= limit:
                    break
        return found

    @asynccontextmanager
    async def _groups(self, filter: Filter, order: int) -> AsyncIterator[Any]:
        """The packed groups of events that satisfy the filter. The server keeps none of them ready afterwards, whatever happens."""
        cursor = self._events.find(filter, sort=[("_id", order)], batch_size=GROUPS)
        try:
            yield cursor
        finally:
            await cursor.close()

    async def count(self, type: str | None, id: str | None, since: int | None, at: tuple[int, int] | None) -> int:
        """How many versions `history` has on all its pages."""
        filter = await self._of(self._versions, type, id, since, at, None)
        number = int(await self._versions.count_documents(filter))
        if type != events.TYPE:
            return number
        filter = await self._of(self._events, None, None, since, at, None)
        if id is not None:
            return number + len(await self._logged(filter, 1, id, None))
        stages = [{"$match": filter}, {"$group": {"_id": None, "count": {"$sum": "$count"}}}]
        sums = await (await settled(self._events.aggregate(stages))).to_list(None)
        return number + (int(sums[0]["count"]) if sums else 0)

    async def _of(
        self, collection: Any, type: str | None, id: str | None, since: int | None, at: tuple[int, int] | None, before: int | None
    ) -> Filter:
        """The filter of a history. Instants never fall along the positions, so a span of time is a span of positions, the ends of
        which are looked up: then the walk goes along the index of the positions alone."""
        low, high = 0, before if before is not None else _END
        if since is not None:
            low = await self._first(collection, since)
        if at is not None:
            high = min(high, await self._first(collection, at[1]))
        filter: Filter = {"_id": {"$gte": low, "$lt": high}}
        if id is not None:
            filter["key"] = f"{type}/{id}"
        elif type is not None:
            filter["type"] = type
        if at is not None and collection is self._versions:
            filter["$or"] = [{"current": True}, {"ended": {"$gt": at[0]}}]
        return filter

    async def _first(self, collection: Any, instant: int) -> int:
        """The position from which on everything in the collection is of `instant` or later."""
        order = [("instant", ASCENDING), ("_id", ASCENDING)]
        found = await collection.find_one({"instant": {"$gte": max(min(instant, _END), -_END)}}, {"_id": 1}, sort=order)
        return int(found["_id"]) if found else _END

    def scan(self, types: Sequence[str], until: int, after: int, shard: tuple[int, int]) -> AsyncGenerator[list[Version]]:
        """The live resources as of position `until`, above position `after`, in lists. Whoever leaves it early closes it."""
        logged = not types or events.TYPE in types
        return (self._everything if logged else self._documents)(types, until, after, shard)

    async def _documents(
        self, types: Sequence[str], until: int, after: int, shard: tuple[int, int]
    ) -> AsyncGenerator[list[Version]]:
        """One query for many lists, and the next one before its snapshot is too old for the server."""
        more = True
        while more:
            more, walked, began = False, 0, time.monotonic()
            where, order = _live(types, until, after, shard), [("_id", ASCENDING)]
            cursor = self._versions.find(where, _MEMBERS, sort=order, hint=TYPE_POSITION, limit=WALK, batch_size=BATCH)
            try:
                async for part in self._lists(cursor):
                    yield part
                    walked, after = walked + len(part), part[-1].position
                    if more := walked == WALK or time.monotonic() - began > AGE:
                        break
            except PyMongoError:  # unlike queries, their continuations are not tried again by the driver
                more = bool(walked)
                if not more:
                    raise
            finally:
                await settled(cursor.close())

    async def _lists(self, cursor: Any) -> AsyncIterator[list[Version]]:
        part, size = list[Version](), 0
        async for document in cursor:
            version = self._version(document)
            part.append(version)
            size += len(version.body or b"")
            if len(part) == BATCH or size >= BYTES:
                yield part
                part, size = [], 0
        if part:
            yield part

    async def _everything(
        self, types: Sequence[str], until: int, after: int, shard: tuple[int, int]
    ) -> AsyncGenerator[list[Version]]:
        """Documents, and among them the events."""
        while after < until:
            live = self._forward(_live(types, until, after, shard), BATCH)
            documents, logged = await asyncio.gather(live, self._events_after(after, until, BATCH))
            after = min(_complete(documents, until), _complete(logged, until))
            ours = (e for e in logged if e.position % shard[1] == shard[0])
            if part := [v for v in merge(documents, ours, key=lambda v: v.position) if v.position <= after]:
                yield part

    async def outbox(self, after: int, limit: int) -> list[Version]:
        """The next versions and events after a position, in order."""
        until = await self.position()
        if until <= after:
            return []
        filter = {"_id": {"$gt": after, "$lte": until}}
        found = await asyncio.gather(self._forward(filter, limit), self._events_after(after, until, limit))
        return list(merge(*found, key=lambda v: v.position))[:limit]

    async def _forward(self, filter: Filter, limit: int) -> list[Version]:
        cursor = self._versions.find(filter, sort=[("_id", ASCENDING)], limit=limit)
        return [self._version(d) for d in await cursor.to_list(None)]

    async def _events_after(self, after: int, until: int, limit: int) -> list[Version]:
        """At least the first `limit` events after a position, or all up to `until`."""
        filter = {"_id": {"$gt": after - PACK, "$lte": until}, "last": {"$gt": after}}
        found: list[Version] = []
        async with self._groups(filter, ASCENDING) as groups:
            async for group in groups:
                found += (event for event in self._unpacked(group) if after < event.position <= until)
                if len(found) >= limit:
                    break
        return found

    # -- documents of the database

    def _told(self, document: Mapping[str, Any] | None) -> Version | None:
        return None if document is None else self._version(document)

    def _version(self, d: Mapping[str, Any]) -> Version:
        type_, _, id_ = d["key"].partition("/")
        packed = d.get("body")
        body = None if packed is None else self._bodies.unpack(packed)
        return Version(type_, id_, d["version"], int(d["instant"]), d["method"], body, int(d["_id"]))

    def _unpacked(self, group: Mapping[str, Any]) -> list[Version]:
        return list(events.unpack(self._bodies.unpack(group["body"]), int(group["_id"]), int(group["instant"])))


def _runs(positions: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Positions as spans, those near to each other in one."""
    low = high = None
    for position in sorted(positions):
        if low is None or high is None:
            low = high = position
        elif position - high <= PACK:
            high = position
        else:
            yield low, high
            low = high = position
    if low is not None and high is not None:
        yield low, high


def _live(types: Sequence[str], until: int, after: int, shard: tuple[int, int]) -> Filter:
    """What was live at position `until`, above position `after`."""
    span = {"_id": {"$gt": after, "$lte": until} | ({"$mod": [shard[1], shard[0]]} if shard[1] > 1 else {})}
    filter: Filter = {**span, "deleted": None, "$or": [{"current": True}, {"next": {"$gt": until}}]}
    if types:
        filter["type"] = types[0] if len(types) == 1 else {"$in": list(types)}
    return filter


def _complete(versions: Sequence[Version], until: int) -> int:
    """The position up to which a list of at least BATCH versions, or all up to `until`, holds everything."""
    return versions[-1].position if len(versions) >= BATCH else until


def _page(versions: list[Version], limit: int) -> HistoryPage:
    return HistoryPage(versions[:limit], versions[limit - 1].position if len(versions) > limit else None)
