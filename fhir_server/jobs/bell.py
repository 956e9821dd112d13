"""What tells those who work of parts that are free. Nothing depends on it: what it does not tell of is looked for in the store."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from fhir_server.jobs.counts import Counts


class Call(NamedTuple):
    """A part that somebody may take: its job's id, and its number."""

    job: str
    part: int


class Bell(Protocol):
    """Tells. Nothing of it fails."""

    def ring(self, calls: Sequence[Call]) -> None:
        """Tell of parts that are free; returns at once."""

    async def wait(self, seconds: float) -> Call | None:
        """Wait for so long at most; a part that this one is told of, or None: look for one."""

    async def aclose(self) -> None:
        """Let go of connections."""


class Working(Protocol):
    """What works on jobs in a process, or tells those processes of them that do. `counts` is what it says of them in /metrics."""

    counts: Counts

    def wake(self, job: str) -> None:
        """There is a new job; returns at once."""


class Inside:
    """Wakes those who wait in this process; other processes look for themselves."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self, calls: Sequence[Call]) -> None:
        """See Bell."""
        if calls:
            self._rung.set()

    async def wait(self, seconds: float) -> Call | None:
        """See Bell."""
        if seconds:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), seconds)
        self._rung.clear()
        return None

    async def aclose(self) -> None:
        """Nothing is held."""
