"""Records in MongoDB (`resources.store.Record`): their documents."""

from collections.abc import Iterator, Sequence
from typing import Any

from pymongo import ASCENDING, DeleteOne, ReplaceOne

from resources.store import Record
from resources.stores.commits import Job
from resources.stores.records import Name, Plan, live


async def planned(collection: Any, session: Any, jobs: Sequence[Job], now: int) -> Plan:
    """What a group will write of records: all that it speaks of are looked up at once, if there are any."""
    names = {(change.kind, change.key) for job in jobs for change in job.records}
    if not names:
        return Plan(lambda name: None, now)
    cursor = collection.find({"_id": {"$in": [_id(name) for name in names]}}, session=session)
    stored = {(record.kind, record.key): record for record in map(_record, await cursor.to_list(None))}
    return Plan(stored.get, now)


def writes(plan: Plan) -> Iterator[ReplaceOne[Any] | DeleteOne]:
    """What is to be written."""
    for name in plan.forgotten:
        yield DeleteOne({"_id": _id(name)})
    for record in plan.kept:
        yield ReplaceOne({"_id": _id((record.kind, record.key))}, _document(record), upsert=True)


def trace(plan: Plan) -> dict[str, Any] | None:
    """The fields by which the group is known to have been written, if it was; None where it keeps no record."""
    record = next(iter(plan.kept), None)
    return None if record is None else {"_id": _id((record.kind, record.key)), "revision": record.revision}


async def read(collection: Any, kind: str, key: str, now: int) -> Record | None:
    """See ResourceStore.record."""
    found = await collection.find_one({"_id": _id((kind, key))})
    return live(_record(found), now) if found else None


async def listed(collection: Any, kind: str, tag: str | None, after: str, limit: int, now: int) -> list[Record]:
    """See ResourceStore.records."""
    wanted = {"kind": kind, "key": {"$gt": after}, "$or": [{"expires": 0}, {"expires": {"$gt": now}}]}
    if tag is not None:
        wanted["tags"] = tag
    cursor = collection.find(wanted).sort([("key", ASCENDING)]).limit(limit)
    return [_record(found) for found in await cursor.to_list(None)]


def _id(name: Name) -> str:
    return "/".join(name)


def _document(record: Record) -> dict[str, Any]:
    return {
        "kind": record.kind, "key": record.key, "value": record.value, "revision": record.revision, "tags": list(record.tags),
        "expires": record.expires,
    }  # fmt: skip


def _record(found: dict[str, Any]) -> Record:
    return Record(
        found["kind"], found["key"], bytes(found["value"]), int(found["revision"]), tuple(found["tags"]), int(found["expires"])
    )
