"""Versions of the store written to the index: extracted, sent, sent again while the index is busy, and set aside where it never works."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from random import random

from resources.documents import decode
from resources.store import StoreUnavailable, Version
from search.extract import Extractor
from search.indexes.elastic.asides import Aside, Asides
from search.indexes.elastic.connection import Denied
from search.indexes.elastic.documents import Operation
from search.indexes.elastic.writing import Answer, Bulk, Fate
from search.parameter import SearchParameter
from search.recurring import Recurring
from search.values import Entry

log = logging.getLogger(__name__)

EVENTS = "AuditEvent"

TURN = 20
"""Documents extracted (some 2 ms) before other work of the event loop has its turn."""

TRIES = 8
"""Times that operations are sent which the index is too busy for; between them it waits 0.1 s, then twice as long each time, to 5 s."""


class Blocked(Denied):
    """The indices of some `types` (with the name of the error of each) take nothing; all else that was to be written is written."""

    def __init__(self, types: Mapping[str, str]) -> None:
        told = ", ".join(f"{type} ({reason})" for type, reason in sorted(types.items()))
        super().__init__(f"Elasticsearch takes no writes to the search index of {told}.")
        self.types = types


class Writer:
    """Writes versions. `absent` is told of types that have no index (in their turn they are built from the store)."""

    def __init__(self, bulk: Bulk, extractor: Extractor, asides: Asides, absent: Callable[[str], None]) -> None:
        self._bulk, self._extractor, self._asides, self._absent = bulk, extractor, asides, absent
        self.added: tuple[SearchParameter, ...] = ()
        self._events = Recurring(extractor, EVENTS, frozenset(("recorded", "entity")))
        self.set_aside = 0
        self._busy = ""

    def know(self, added: tuple[SearchParameter, ...]) -> None:
        """From now on documents bring the values of these parameters, which were added to this server, beside the official ones."""
        self.added, self._extractor = added, self._extractor.with_added(added)

    async def write(
        self, versions: Iterable[Version], *, index: str | None = None, newer_only: bool = False, version: int | None = None
    ) -> int:
        """Have the index know the latest of these versions of each resource; returns how many were set aside.

        `index`, `newer_only`, `version`: see `Bulk.write`. Raises StoreUnavailable while the index cannot be written to; all of it may
        be repeated. Raises Blocked where only some types' indices take nothing.
        """
        before, blocked = self.set_aside, dict[str, str]()
        latest = {(each.type, each.id): each for each in versions}
        operations = await self._operations(latest.values())
        for attempt in range(TRIES):
            operations = await self._send(
                operations, partial(self._bulk.write, index=index, newer_only=newer_only, version=version), blocked
            )
            if not operations and blocked:
                raise Blocked(blocked)
            if not operations:
                return self.set_aside - before
            await asyncio.sleep(min(0.1 * 2**attempt, 5.0) * (0.5 + random() / 2))  # noqa: S311 - spreads load, no secret
        raise StoreUnavailable(f"The search index (Elasticsearch) does not take now what was written ({self._busy}).")

    async def _operations(self, versions: Iterable[Version]) -> list[Operation]:
        found = []
        for number, version in enumerate(versions, 1):
            if number % TURN == 0:
                await asyncio.sleep(0)
            try:
                entry = self._entry(version)
            except Exception as failure:  # whatever is wrong with one document must not stop the others
                log.warning("a document cannot be indexed", exc_info=failure, extra=_place(version.type, version.position))
                await self._put_aside(Aside(version.type, version.id, version.position, type(failure).__name__))
                continue
            found.append(Operation(version.type, version.id, version.position, version.instant, entry))
        return found

    def _entry(self, version: Version) -> Entry | None:
        if version.body is None:
            return None
        if version.type == EVENTS:
            return self._events.extract(version.body)
        return self._extractor.extract(version.type, decode(version.body))

    async def _send(
        self,
        operations: Sequence[Operation],
        send: Callable[[Sequence[Operation]], Awaitable[list[Answer]]],
        blocked: dict[str, str],
    ) -> list[Operation]:
        """Those that are to be sent again. Types whose index takes nothing come into `blocked`."""
        again = []
        if not operations:
            return []
        for operation, answer in zip(operations, await send(operations), strict=True):
            if answer.fate is Fate.BUSY:
                again.append(operation)
                self._busy = answer.reason
            elif answer.fate is Fate.BLOCKED:
                blocked[operation.type] = answer.reason
            elif answer.fate is Fate.ABSENT:
                self._absent(operation.type)
            elif answer.fate is Fate.REFUSED:
                extra = {**_place(operation.type, operation.position), "reason": answer.reason}
                log.warning("the search index refuses a document", extra=extra)
                await self._put_aside(Aside(operation.type, operation.id, operation.position, answer.reason))
        return again

    async def _put_aside(self, aside: Aside) -> None:
        await self._asides.add(aside)
        self.set_aside += 1


def _place(type: str, position: int) -> dict[str, object]:
    """Where a document is: its position leads whoever may read the store to it. Its id stays out of logs."""
    return {"resource": type, "position": position}
