"""What a process has of a part that it works on: the right to change it, for as long as it gives signs of life."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from fhir_server.jobs.board import AT_ONCE, Board, Held, Kept, Lost, fresh, planned
from fhir_server.jobs.job import Part
from fhir_server.jobs.work import Plan, raw
from resources.store import RecordChange, StoreUnavailable

log = logging.getLogger(__name__)

BEATS = 4
"""Signs of life within the time of a lease: clocks of machines may differ by half of that time."""


class Lease:
    """A part that this process works on. `clock` gives microseconds since the epoch, `seconds` is how long after its last sign of life
    another one takes over."""

    def __init__(self, board: Board, held: Held, clock: Callable[[], int], seconds: float) -> None:
        self._board, self.held, self._clock, self._seconds = board, held, clock, seconds
        self._lock = asyncio.Lock()
        self._unsure = False

    async def beat(self) -> None:
        """Give signs of life; ends when the part is another's, or nobody's."""
        while True:
            await asyncio.sleep(self._seconds / BEATS)
            try:
                await self._put()
            except Lost:
                return
            except StoreUnavailable as problem:
                log.warning("a sign of life could not be given: %s", problem)

    async def keep(self, place: Any, events: Sequence[bytes] = ()) -> None:
        """See Keep."""
        await self._put(events, place=raw(place), tries=1)

    async def finish(self, result: Any) -> None:
        """The part is done. Raises Lost."""
        await self._put(result=raw(result), done=True)

    async def plan(self, job: Kept, made: Plan) -> None:
        """Write a job's plan: its parts first, then in one commit how many they are and that planning is done. Raises Lost.

        Nobody works on parts of a job that does not say yet how many it has, so a planner that is killed is followed by one that makes
        another plan, over what the first has left. Each commit renews the lease, so that a planner who has lost it, without knowing, puts
        nothing in place of what the other one has planned.
        """
        parts = [fresh(Part(job.job.id, number, raw(what))) for number, what in enumerate(made.parts, 1)]
        for start in range(0, len(parts), AT_ONCE):
            await self._put(others=parts[start : start + AT_ONCE])
        await self._put(others=planned(job, raw(made.whole), len(parts)), done=True)

    async def release(self, after: float = 0, *, tried: bool = True) -> None:
        """Let go of the part, for whoever comes next after so many seconds. `tried`: whether this counts as one of its tries. Raises
        Lost."""
        tries = self.held.part.tries - (not tried)
        await self._put(until=self._clock() + int(after * 1e6), tries=max(0, tries))

    async def _put(self, events: Sequence[bytes] = (), others: Sequence[RecordChange] = (), **changes: Any) -> None:
        # What has begun goes on although the caller is cancelled: letting go of the part comes after it.
        writing = asyncio.ensure_future(self._write(events, others, changes))
        writing.add_done_callback(_seen)
        await asyncio.shield(writing)

    async def _write(self, events: Sequence[bytes], others: Sequence[RecordChange], changes: dict[str, Any]) -> None:
        async with self._lock:
            if self._unsure:
                await self._look()
            part = msgspec.structs.replace(self.held.part, **{"until": self._clock() + int(self._seconds * 1e6)} | changes)
            self._unsure = True
            self.held = await self._board.put(part, self.held.revision, events, others)
            self._unsure = False

    async def _look(self) -> None:
        """See what became of a commit of which nobody knows whether it was kept. Nobody else writes the part while it is this one's."""
        found = await self._board.part(self.held.part.job, self.held.part.number)
        if found is None or found.part.holder != self.held.part.holder:
            raise Lost
        self.held, self._unsure = found, False


def _seen(writing: "asyncio.Future[None]") -> None:
    """What became of a write whose caller was cancelled, the next one finds out."""
    if not writing.cancelled():
        writing.exception()
