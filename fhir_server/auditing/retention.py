"""Archives the audit by itself, where FHIR_AUDIT_ARCHIVE names a folder: soon after the start of a server, and every hour."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from joserfc.jwk import OKPKey

from fhir_server.auditing.archive import ArchiveProblem, Archiver
from fhir_server.context import Context
from resources.store import StoreUnavailable

log = logging.getLogger(__name__)

EVERY = 3_600.0
"""Seconds between two looks."""

DAY = 86_400_000_000
_INDEXED = 30.0
"""Seconds to wait for an index outside the store before what was removed is taken out of it."""


class Retention:
    """One process's part. `key` signs, `keys` are believed."""

    def __init__(self, ctx: Context, key: OKPKey, keys: Mapping[str, OKPKey]) -> None:
        self._ctx, self._days = ctx, ctx.settings.audit_retention_days
        assert ctx.settings.audit_archive is not None
        self._archiver = Archiver(ctx.store, ctx.settings.audit_archive, key, keys, ctx.clock)
        self._task: asyncio.Task[None] | None = None
        self._owed = False
        """Whether an index outside the store may still have what was removed from it."""

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._rounds())

    async def stop(self) -> None:
        """End: what is half done will be done again."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _rounds(self) -> None:
        while True:
            try:
                await self.once()
            except (ArchiveProblem, StoreUnavailable) as problem:
                log.error("the audit could not be archived and will be in the next round: %s", problem)
            except Exception as failure:
                log.error("archiving the audit failed", exc_info=failure)
            await asyncio.sleep(EVERY)

    async def once(self) -> None:
        """Archive what has been signed, and remove what is old enough."""
        before = self._ctx.clock() - self._days * DAY
        for each in await self._archiver.run(before, _silent):
            late = {"late": each.late} if each.late else {}
            log.info("AuditEvents were archived", extra={"archive": each.number, "events": each.count, **late})
        if self._days:
            await self._remove(before)

    async def _remove(self, before: int) -> None:
        owed, self._owed = self._owed, True  # also where removing ends half way
        removed = await self._archiver.remove(before, _silent)
        self._owed = owed or removed > 0
        if removed:
            log.info("archived AuditEvents were removed from the store", extra={"events": removed})
        if self._owed:
            await self._leave_index()

    async def _leave_index(self) -> None:
        """What is gone leaves an index outside the store too, in a later round if it cannot now; the one in it has been told."""
        feed = self._ctx.feed
        if feed is None:
            self._owed = False
            return
        found = await feed.comparison("AuditEvent", await feed.ready(_INDEXED), repair=True).run()
        self._owed = not found.agrees


def _silent(at: int, end: int) -> None:
    return
