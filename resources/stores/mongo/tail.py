"""How new the documents of a type are, known by following the positions of all versions instead of asking type by type.

Searches ask it all the time. One query along the positions tells what came since the last time, of every type at once, mostly nothing;
no version is told twice to one process.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING

from resources.stores import events

MOST = 2_000
"""Versions that are followed at a time; where more have come since the last time, the types are asked for one by one."""

_PLACE = {"_id": 1, "type": 1}


class Tail:
    """The newest positions, by type. `versions` and `logged`: the collections, to be read from one moment a query."""

    def __init__(self, versions: Any, logged: Any) -> None:
        self._versions, self._logged = versions, logged
        self._upto: int | None = None
        self._newest: dict[str, int] = {}

    async def newest(self, types: Sequence[str]) -> list[int]:
        """See ResourceStore.newest."""
        event = asyncio.create_task(self._newest_event()) if events.TYPE in types else None
        await self._follow()
        known = dict(self._newest)
        missing = [type for type in dict.fromkeys(types) if type not in known]
        for type, position in zip(missing, await asyncio.gather(*map(self._look, missing)), strict=True):
            known[type] = self._newest[type] = max(position, self._newest.get(type, 0))
        if event is not None:
            known[events.TYPE] = max(known[events.TYPE], await event)
        return [known[type] for type in types]

    async def _follow(self) -> None:
        """Take in what was written since the last time."""
        if self._upto is not None:
            order = [("_id", ASCENDING)]
            cursor = self._versions.find({"_id": {"$gt": self._upto}}, _PLACE, sort=order, limit=MOST)
            found = await cursor.to_list(None)
            if len(found) < MOST:
                for each in found:  # several may follow at a time, so nothing here ever goes back
                    self._newest[each["type"]] = max(int(each["_id"]), self._newest.get(each["type"], 0))
                    self._upto = max(int(each["_id"]), self._upto)
                return
        last = await self._versions.find_one({}, {"_id": 1}, sort=[("_id", DESCENDING)])
        self._newest.clear()
        self._upto = int(last["_id"]) if last else 0

    async def _look(self, type: str) -> int:
        """The newest position of a type by its index, which has both in this order."""
        order = [("type", DESCENDING), ("_id", DESCENDING)]
        found = await self._versions.find_one({"type": type}, {"_id": 1}, sort=order)
        return int(found["_id"]) if found else 0

    async def _newest_event(self) -> int:
        found = await self._logged.find_one({}, {"last": 1}, sort=[("_id", DESCENDING)])
        return int(found["last"]) if found else 0
