"""The end of jobs: their result is made, or they fail with their reason; what has expired, and what they have left, is removed."""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

from fhir_server.context import Context
from fhir_server.files.contract import Files, FilesUnavailable
from fhir_server.jobs.board import Board, Kept, Lost
from fhir_server.jobs.job import KEPT, LITTERED, Problem
from fhir_server.jobs.work import Failed, Kind, raw
from resources.outcomes import FhirError
from resources.store import StoreUnavailable
from search.index import Preparing

log = logging.getLogger(__name__)

TRIES = 10
"""Times that a part is begun without coming any further, before the job is given up: each time the process was killed, or something
unforeseen happened."""

CLEAR = 30.0
"""Seconds between two looks for what has expired or was left."""

TIDY = 3_600.0
"""Seconds between two looks for files that killed processes have left unfinished."""

SETTLED = 120
"""Seconds after its end for which somebody who does not know of it may still write files of a job."""

AGAIN = Problem(500, "exception", "Something went wrong in the server, again and again; its log tells what")
KILLED = Problem(500, "exception", f"The process that worked on it was ended {TRIES} times at the same place, so it was given up")


class Ending:
    """Ends the jobs of a store, for one process. `kinds` are the jobs that it knows how to do."""

    def __init__(self, ctx: Context, files: Files, kinds: Mapping[str, Kind]) -> None:
        self._ctx, self._files, self._kinds = ctx, files, kinds
        self._board = Board(ctx.store)
        self._failures: Counter[str] = Counter()
        self._clear_at = self._tidy_at = 0.0

    async def settle(self, id: str) -> None:
        """End a job of which all parts are done. Several may do so at once: one of them writes the result."""
        job = await self._board.job(id)
        if job is None or job.job.state != "running" or not await self._board.finished(job.job):
            return
        try:
            await self._settle(job)
        except (Failed, FhirError) as failure:
            await self.fail(job, (failure if isinstance(failure, Failed) else Failed.of(failure)).problem)
        except Preparing as wait:
            log.info("the result of a job waits: %s", wait, extra={"job": id})
        except (FilesUnavailable, StoreUnavailable) as problem:
            log.warning("the result of a job waits: %s", problem, extra={"job": id})
        except Exception as failure:
            self._failures[id] += 1
            log.error("the result of a job could not be made", exc_info=failure, extra={"job": id})
            if self._failures[id] >= TRIES:
                del self._failures[id]
                await self.fail(job, AGAIN)
        else:
            self._failures.pop(id, None)

    async def _settle(self, job: Kept) -> None:
        parts = [held.part for held in await self._board.parts(job.job.id) if 0 < held.part.number < job.job.parts]
        if len(parts) + 1 < job.job.parts:  # another process has ended it meanwhile
            return
        result = await self._kinds[job.job.kind].result(self._ctx, self._files, job.job, parts)
        with suppress(Lost):
            await self._board.close(job, state="done", now=self._ctx.clock(), result=raw(result))

    async def fail(self, job: Kept, problem: Problem) -> None:
        """End the job with its reason, and leave nothing of it half-published."""
        latest = await self._board.job(job.job.id)
        if latest is None or latest.job.state != "running":
            return
        with suppress(Lost):
            await self._board.close(latest, state="failed", now=self._ctx.clock(), problem=problem)
            log.warning("a job failed: %s", problem.code, extra={"job": job.job.id, "status": problem.status})
            with suppress(FilesUnavailable):  # it is tried again by `clear`
                await self._files.delete(f"{job.job.id}/")

    async def clear(self) -> None:
        """Now and then: forget what has expired or was called off, files first, and remove what writers who were late have left."""
        now = asyncio.get_running_loop().time()
        if now >= self._clear_at:
            self._clear_at = now + CLEAR
            await self._clear(self._ctx.clock())
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY
            with suppress(FilesUnavailable):  # it is in the log, and tried again
                await self._files.tidy()

    async def _clear(self, now: int) -> None:
        for job in await self._board.jobs(LITTERED):
            if job.job.finished + SETTLED * 1_000_000 < now:
                await self._cleared(job, forget=job.job.state == "cancelled")
        for job in await self._board.jobs(KEPT):
            if job.job.state != "cancelled" and job.job.gone(now):
                await self._cleared(job, forget=True)

    async def _cleared(self, job: Kept, *, forget: bool) -> None:
        """Delete a job's files, and forget it. What cannot be deleted is tried again, and holds up no other job."""
        with suppress(FilesUnavailable, Lost):
            await self._files.delete(f"{job.job.id}/")
            await (self._board.forget(job) if forget else self._board.cleared(job))
