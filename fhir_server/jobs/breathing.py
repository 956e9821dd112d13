"""Pauses for the sake of requests: while some come to the same process, a job rests for as long as it has worked."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fhir_server.files.contract import Files, Writer
from fhir_server.jobs.counts import Counts
from fhir_server.jobs.work import Keep
from fhir_server.observability import Metrics

SHARE = 1.0
"""Seconds of rest for each second of work."""

LONGEST = 0.25
"""Seconds of one rest, at most."""

RECENT = 0.2
"""Seconds after a request in which the next one is expected."""


class Breath:
    """Rests between the pieces of a part's work, where requests are under way in this process or were a moment ago."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._worked = time.monotonic()
        self._seen, self._until = metrics.observed, 0.0

    async def rest(self) -> None:
        """After a piece of work."""
        now = time.monotonic()
        if self._metrics.running or self._metrics.observed != self._seen:
            self._seen, self._until = self._metrics.observed, now + RECENT
        if now < self._until:
            await asyncio.sleep(min(LONGEST, SHARE * (now - self._worked)))
        self._worked = time.monotonic()

    def after(self, keep: Keep) -> Keep:
        """`keep`, and a rest after it."""

        async def kept(place: Any, events: Sequence[bytes] = ()) -> None:
            await keep(place, events)
            await self.rest()

        return kept


class Breathing:
    """The files, with a rest after each piece that is written, and with their bytes counted."""

    def __init__(self, files: Files, metrics: Metrics, counts: Counts) -> None:
        self._files, self._metrics, self._counts = files, metrics, counts
        self.size, self.reading, self.names = files.size, files.reading, files.names
        self.delete, self.link, self.tidy, self.check = files.delete, files.link, files.tidy, files.check

    @asynccontextmanager
    async def writing(self, name: str, content_type: str) -> AsyncIterator[Writer]:
        """See Files.writing."""
        async with self._files.writing(name, content_type) as file:
            yield _Rested(file, Breath(self._metrics), self._counts)


class _Rested:
    def __init__(self, file: Writer, breath: Breath, counts: Counts) -> None:
        self._file, self._breath, self._counts = file, breath, counts

    @property
    def size(self) -> int:
        return self._file.size

    async def write(self, data: bytes) -> None:
        await self._file.write(data)
        self._counts.bytes += len(data)
        await self._breath.rest()
