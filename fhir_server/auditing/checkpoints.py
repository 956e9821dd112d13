"""Makes checkpoints while a server runs: at its start, every so many seconds while there is something new, and when it stops."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from joserfc.jwk import OKPKey

from fhir_server.auditing.statements import (
    BadSignature,
    Statement,
    change_for,
    checkpoints,
    hash_token,
    interval,
    newest_record,
    noted,
    sign,
    unverified,
)
from resources.store import Conflict, Record, ResourceStore, StoreUnavailable

log = logging.getLogger(__name__)

MOST = 20_000
"""AuditEvents that one checkpoint covers, about, at most."""

TRIES = 20
"""Times that the last checkpoint of a server that stops is tried while others make theirs."""

PAUSE = 0.02
"""Seconds between two of these."""


class Checkpoints:
    """The checkpoints of one process. All processes on a store may make them: of two that do at once one is taken.

    `key` signs, `clock` gives microseconds since the epoch, `seconds` lie between two checkpoints.
    """

    def __init__(self, store: ResourceStore, key: OKPKey, clock: Callable[[], int], seconds: float) -> None:
        self._store, self._key, self._clock, self._seconds = store, key, clock, seconds
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._seen = 0
        self._signed: tuple[str, int] = ("", 0)

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._rounds())

    async def stop(self) -> None:
        """Make the last one, over everything that was recorded."""
        if self._task is not None:
            self._stopping.set()
            await self._task
        with suppress(StoreUnavailable):
            for _ in range(TRIES):
                try:
                    if not await self.make():
                        return
                except Conflict:
                    await asyncio.sleep(PAUSE)

    async def _rounds(self) -> None:
        while True:
            try:
                await self._catch_up()
            except Conflict:
                pass  # another process was first: what it has not signed is signed in the next round
            except StoreUnavailable as problem:
                log.warning("a checkpoint of the audit could not be made and is tried again: %s", problem)
            except Exception as failure:
                log.error("a checkpoint of the audit failed", exc_info=failure)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._seconds)
            if self._stopping.is_set():
                return

    async def _catch_up(self) -> None:
        """As many as it takes to cover what is there."""
        while await self.make():
            if self._stopping.is_set():
                return

    async def make(self) -> bool:
        """Make one if there is something new; whether there may be more. Raises Conflict where another process was first, or this one was
        shown an old newest one; StoreUnavailable."""
        record = await newest_record(self._store)
        last = await self._last(record)
        token, statement = last if last is not None else ("", None)
        if statement is not None and statement.number < self._seen:
            log.critical("checkpoints of the audit were removed", extra={"newest": statement.number, "known": self._seen})
        head, until = self._store.audit_head, await self._store.position()
        after = statement.until if statement is not None else 0
        found, reached = await interval(self._store, after, until, MOST, _spoilt)
        known = self._signed[1] if self._signed[0] == head.writer else 0
        if reached == until and not noted(found, head, known) and not found.passed:
            log.critical("AuditEvents that this process wrote are gone", extra={"writer": head.writer, "number": head.number})
        if not found.count and not found.heads and not found.passed:
            return False
        number = (statement.number if statement is not None else 0) + 1
        previous = hash_token(token) if token else ""
        passed = tuple(found.passed)
        made = Statement(number, previous, after, reached, found.count, found.digest, found.heads, self._clock(), passed)
        await self._keep(made, record)
        if head.writer in found.heads:
            self._signed = (head.writer, found.heads[head.writer][0])
        return True

    async def _keep(self, made: Statement, newest: Record | None) -> None:
        token = sign(made, self._key)
        await self._store.commit((), records=change_for(made, token, newest))
        self._seen = made.number
        extra = {"number": made.number, "until": made.until, "events": made.count, "checkpoint": token}
        log.info("a checkpoint of the audit was signed", extra=extra)

    async def _last(self, record: Record | None) -> tuple[str, Statement] | None:
        """The newest checkpoint: the one that `record` repeats, or, where it is spoilt or gone, the last that is listed."""
        if record is not None:
            token = record.value.decode("ascii", "replace")
            with suppress(BadSignature):
                return token, unverified(token)
        found = None
        async for _, token in checkpoints(self._store):
            with suppress(BadSignature):
                found = token, unverified(token)
        return found


def _spoilt(position: int, problem: str) -> None:
    """What follows is signed all the same: one spoilt row must not keep the rest from being so. The checkpoint says that it was."""
    log.critical("an AuditEvent cannot be read", extra={"event": f"event-{position}", "problem": problem})
