"""Commits that wait for their turn, written in groups: one transaction for all that came in while the one before was written.

What every store does before and after its own transaction; how a group is written is the store's (`write`).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from resources.store import Change, Claim, Receipt, RecordChange, StoreUnavailable, Written
from resources.stores.preconditions import check_distinct

WAITING = 10_000
"""Commits that may wait before new ones are refused (503): a bound on memory when what is written to does not keep up."""


@dataclass(slots=True)
class Job:
    """One call of `commit`, waiting for its group. After the group, `result` holds what it wrote or the Conflict that refused it."""

    changes: Sequence[Change]
    events: Sequence[bytes]
    claims: Sequence[Claim]
    receipt: Receipt | None
    records: Sequence[RecordChange] = ()
    result: list[Written] | Exception | None = None

    def positions(self) -> int:
        """Positions that it takes."""
        return len(self.changes) + len(self.events)


def changes_of(job: Job) -> int:
    """The size of a job where events cost next to nothing."""
    return len(job.changes)


Waiting = tuple[Job, asyncio.Future[list[Written]]]


class Commits:
    """The queue of one store.

    `write` writes jobs in one transaction and gives each its `result`; it raises StoreUnavailable where none could be written, and
    anything else where one of them is at fault. A group is closed at `most`, by the `size` of its jobs (one larger job makes a group
    of its own). `turns`: how often a group waits for two turns of the event loop, at most, while more come in; 0: for one turn.
    `slow` names what does not keep up when too many wait. `after`, if given, is awaited after each group. `closing`: whether the store
    is being closed.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Job]], Awaitable[None]],
        *,
        most: int,
        slow: str,
        size: Callable[[Job], int] = changes_of,
        turns: int = 0,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._write, self._most, self._slow, self._size, self._turns, self._after = write, most, slow, size, turns, after
        self._queue: deque[Waiting] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self.closing = False

    def check(self, changes: Sequence[Change], records: Sequence[RecordChange] = ()) -> None:
        """Raises ValueError for two changes of one resource or record, StoreUnavailable where no more commits are taken now."""
        check_distinct(changes, records)
        if self.closing:
            raise StoreUnavailable("The server is stopping; send the request again in a moment.")
        if len(self._queue) >= WAITING:
            raise StoreUnavailable(f"Too many writes are waiting for {self._slow}; send the request again in a moment.")

    async def add(self, job: Job) -> list[Written]:
        """What the job wrote. Raises what refused it. Whoever is cancelled here gives up the answer, not the change."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Written]] = loop.create_future()
        self._queue.append((job, future))
        if self._flusher is None:
            self._flusher = loop.create_task(self._flush())
        return await asyncio.shield(future) if job.changes or job.records else await future

    async def close(self) -> None:
        """Take no more, and wait until all that wait are written."""
        self.closing = True
        while self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush(self) -> None:
        """Write group after group until nothing waits. Everything that comes in while one group is written makes the next."""
        try:
            while self._queue:
                await self._let_others_join()
                await self._write_group(self._take_group())
                if self._after is not None:
                    await self._after()
        finally:
            self._flusher = None

    async def _let_others_join(self) -> None:
        """Let the requests that have arrived already reach their commit: one transaction and one sync for all of them is far cheaper.

        Goes on while more come in; where nobody else is there, it costs two empty turns of the loop (some microseconds).
        """
        if not self._turns:
            await asyncio.sleep(0)
        for _ in range(self._turns):
            before = len(self._queue)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if len(self._queue) == before or before >= self._most:
                return

    def _take_group(self) -> list[Waiting]:
        group: list[Waiting] = []
        size = 0
        while self._queue and (not group or size + self._size(self._queue[0][0]) <= self._most):
            group.append(self._queue.popleft())
            size += max(1, self._size(group[-1][0]))
        return group

    async def _write_group(self, group: list[Waiting]) -> None:
        failed: Exception | None = None
        try:
            await self._write([job for job, _ in group])
        except Exception as problem:
            failed = problem
        if failed is not None and len(group) > 1 and not isinstance(failed, StoreUnavailable):
            for one in group:  # one of them is at fault: each alone, so that the others are written
                await self._write_group([one])
            return
        for job, future in group:
            if not future.cancelled():
                _settle(future, failed if failed is not None else job.result)


def _settle(future: asyncio.Future[list[Written]], result: list[Written] | Exception | None) -> None:
    if isinstance(result, list):
        future.set_result(result)
    else:
        future.set_exception(result if result is not None else RuntimeError("a commit ended without a result"))
