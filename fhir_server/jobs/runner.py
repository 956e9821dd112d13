"""Works on jobs: parts of them, whichever are free, until it is stopped."""

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from fhir_server.context import Context
from fhir_server.files.contract import Files, FilesUnavailable
from fhir_server.jobs.bell import Bell, Call, Inside
from fhir_server.jobs.board import Board, Held, Kept, Lost
from fhir_server.jobs.breathing import Breath, Breathing
from fhir_server.jobs.counts import Counts
from fhir_server.jobs.ending import AGAIN, KILLED, TRIES, Ending
from fhir_server.jobs.job import ACTIVE, Problem
from fhir_server.jobs.lease import Lease
from fhir_server.jobs.owner import task_of
from fhir_server.jobs.work import Failed, Kind, Turn
from resources.outcomes import FhirError
from resources.store import StoreUnavailable

log = logging.getLogger(__name__)

IDLE = 1.0
"""Seconds after which is looked again whether there is something to do."""

PAUSE = 5.0
"""Seconds before what failed for want of the store or the files is tried again."""

HEAD_START = 10.0
"""Seconds that a job which is new may take before others have their turn again."""

BY_CHANCE = 5
"""The job that is worked on is chosen by chance once in so many times."""


class Runner:
    """Works for one process, on `slots` parts at a time. `kinds` are the jobs that it knows how to do, `bell` tells of parts that are
    free, and what it does not tell of is looked for."""

    def __init__(self, ctx: Context, files: Files, kinds: Mapping[str, Kind], *, slots: int = 1, bell: Bell | None = None) -> None:
        self.counts = Counts(ctx.store)
        self._ctx, self._kinds, self._slots = ctx, kinds, slots
        self._bell: Bell = bell or Inside()
        self._files: Files = Breathing(files, ctx.metrics, self.counts)
        self._board, self._ending = Board(ctx.store), Ending(ctx, files, kinds)
        self._lease = ctx.settings.jobs_lease
        self._tasks: list[asyncio.Task[None]] = []
        self._tell_at, self._turns = 0.0, 0
        self._spent: dict[str, float] = {}

    def start(self) -> None:
        """Begin, on the running loop."""
        self._tasks = [asyncio.get_running_loop().create_task(self._rounds()) for _ in range(self._slots)]

    async def stop(self) -> None:
        """Let go of the parts under way: somebody else goes on with them, or this process once it is started again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._bell.aclose()

    def alive(self) -> bool:
        """Whether all that was started goes on."""
        return not any(task.done() for task in self._tasks)

    def wake(self, job: str) -> None:
        """There is a new job."""
        self._bell.ring([Call(job, 0)])

    async def _rounds(self) -> None:
        busy = told = False
        while True:
            try:
                # Behind each part that the bell told of comes one that it did not: a job of many parts shall not hold up others.
                call = None if told else await self._bell.wait(0 if busy else IDLE)
                told = call is not None and await self._answer(call)
                busy = told or (call is None and await self._round())
            except StoreUnavailable as problem:
                log.warning("jobs wait for the store: %s", problem)
                await asyncio.sleep(PAUSE)
            except Exception as failure:
                log.error("the jobs' round failed and is tried again", exc_info=failure)
                await asyncio.sleep(PAUSE)

    async def _answer(self, call: Call) -> bool:
        """Do the part that the bell told of, if it is still free; whether it was."""
        job = await self._board.job(call.job)
        if job is None or job.job.kind not in self._kinds or (call.part == 0) != (job.job.parts == 0):
            return False
        held = await self._board.part(call.job, call.part)
        if held is None or held.part.done or not held.part.free(self._ctx.clock()) or job.job.state != "running":
            return False
        return await self._claimed(job, held)

    async def _round(self) -> bool:
        """Do one part, if there is one to be done; whether there was. Jobs take turns, and so do those who look at the same time."""
        active = self._in_turn([job for job in await self._board.jobs(ACTIVE) if job.job.kind in self._kinds])
        for job in active:
            async for free in self._board.free(job.job, self._ctx.clock()):
                self._tell([Call(job.job.id, held.part.number) for held in free[1:]])
                for held in random.sample(free[: 2 * self._slots + 6], len(free[: 2 * self._slots + 6])):
                    if await self._claimed(job, held):
                        return True
        for job in active:
            await self._ending.settle(job.job.id)
        await self._ending.clear()
        return False

    def _in_turn(self, active: list[Kept]) -> list[Kept]:
        """Jobs in the order in which they have had the least time of this process; now and then by chance, so that none is held up by
        those that come and go. A new one begins a little behind the others, so that what is short is soon done."""
        random.shuffle(active)
        known = {job.job.id: self._spent[job.job.id] for job in active if job.job.id in self._spent}
        start = min(known.values(), default=0.0) - HEAD_START
        self._spent = {job.job.id: known.get(job.job.id, start) for job in active}
        self._turns += 1
        return active if self._turns % BY_CHANCE == 0 else sorted(active, key=lambda job: self._spent[job.job.id])

    def _tell(self, calls: Sequence[Call]) -> None:
        """Tell of parts that others have perhaps not been told of; now and then."""
        now = asyncio.get_running_loop().time()
        if now >= self._tell_at:
            self._tell_at = now + PAUSE
            self._bell.ring(calls)

    async def _claimed(self, job: Kept, held: Held) -> bool:
        """Do a part, unless somebody else has it; whether it was this one's."""
        if held.part.tries >= TRIES:
            await self._ending.fail(job, KILLED)
            return True
        try:
            held = await self._board.claim(held, self._ctx.clock() + int(self._lease * 1e6))
        except Lost:
            return False
        began = asyncio.get_running_loop().time()
        with self.counts.working(), suppress(Lost):
            await self._do(job, held)
        self._spent[job.job.id] = self._spent.get(job.job.id, 0.0) + asyncio.get_running_loop().time() - began
        return True

    async def _do(self, job: Kept, held: Held) -> None:
        """Do a part that this process holds. Raises Lost."""
        lease = Lease(self._board, held, self._ctx.clock, self._lease)
        work = asyncio.create_task(self._work(job, lease))
        beating = asyncio.create_task(lease.beat())
        try:
            await asyncio.wait((work, beating), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():  # the lease is lost
                return
            await self._came(job, lease, work)
        finally:
            beating.cancel()
            await _ended(beating)
            if not work.done():
                work.cancel()
                await _ended(work)
                with suppress(Lost, StoreUnavailable):
                    await lease.release(tried=False)
        await self._ending.settle(job.job.id)

    async def _came(self, job: Kept, lease: Lease, work: "asyncio.Task[None]") -> None:
        """See to how the work on a part ended. Raises Lost."""
        tries, where = lease.held.part.tries, {"job": job.job.id, "part": lease.held.part.number}
        try:
            await work
        except StoreUnavailable as problem:
            log.warning("a part of a job waits: %s", problem, extra=where)
            with suppress(StoreUnavailable):
                await lease.release(PAUSE, tried=False)
        except FilesUnavailable as problem:
            log.warning("a part of a job waits: %s", problem, extra=where)
            if tries >= TRIES:
                await self._ending.fail(job, _without_files(problem))
            else:
                await lease.release(PAUSE)
        except Turn:
            await lease.release(tried=False)
            return
        except Failed as failure:
            await self._ending.fail(job, failure.problem)
        except FhirError as refusal:
            await self._ending.fail(job, Failed.of(refusal).problem)
        except Lost:
            raise
        except Exception as failure:
            log.error("a part of a job failed", exc_info=failure, extra=where)
            if tries >= TRIES:
                await self._ending.fail(job, AGAIN)
            else:
                await lease.release(PAUSE)
        else:
            self.counts.done += 1
            return
        self.counts.failed += 1

    async def _work(self, job: Kept, lease: Lease) -> None:
        whole = await self._board.job(job.job.id)
        if whole is None:
            raise Lost
        job, kind = whole, self._kinds[job.job.kind]
        keep = Breath(self._ctx.metrics).after(lease.keep)
        task = await task_of(self._ctx, self._files, job.job, lease.held.part, keep, partial(self._awaited, job.job.id))
        if lease.held.part.number == 0:
            plan = await kind.plan(task)
            await lease.plan(job, plan)
            self._bell.ring([Call(job.job.id, number) for number in range(1, len(plan.parts) + 1)])
        else:
            await lease.finish(await kind.work(task))

    async def _awaited(self, id: str) -> bool:
        """Whether another job than this has a part that nobody works on."""
        for job in await self._board.jobs(ACTIVE):
            if job.job.id != id and job.job.kind in self._kinds:
                async for free in self._board.free(job.job, self._ctx.clock()):
                    if free:
                        return True
        return False


def _without_files(problem: FilesUnavailable) -> Problem:
    return Problem(507 if problem.full else 503, "no-store" if problem.full else "transient", str(problem))


async def _ended(task: "asyncio.Task[None]") -> None:
    """Wait for a task that was cancelled, or has ended, whatever became of it."""
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()
