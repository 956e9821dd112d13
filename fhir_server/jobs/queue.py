"""A bell that all machines hear: a queue of parts in Redis, kept by SAQ (https://saq-py.readthedocs.io).

A part is taken off the queue when it is told of, not when it is done: whoever is killed in between is followed by means of the leases in
the store, within a time that no queue of these promises (docs/adr/0022). So a Redis that was flushed, restarted or cannot be reached costs
time, and nothing else: who hears nothing looks for free parts in the store, and rings for those that it does not take itself.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from saq import Job
from saq.queue.redis import RedisQueue

from fhir_server.jobs.bell import Call
from fhir_server.jobs.counts import Counts
from resources.store import ABSENT, Conflict, RecordChange, ResourceStore, StoreUnavailable

log = logging.getLogger(__name__)

KIND: Final = "job-queue"
"""The record that holds the queue's name, one for each store."""

LOOK: Final = 3.0
"""Seconds after which whoever hears nothing looks for itself."""

ANSWER: Final = 2.0
"""Seconds that Redis may take to answer."""

MOST: Final = 500
"""Parts that are told of at a time; the others are found."""

SWEEP: Final = 60
"""Seconds between two looks for what was taken off the queue by a process that was killed in that moment."""


class Queue:
    """A Bell (see there) in Redis."""

    def __init__(self, url: str, store: ResourceStore) -> None:
        self._store = store
        self._redis = Redis.from_url(url, socket_timeout=LOOK + ANSWER, socket_connect_timeout=ANSWER, retry=Retry(NoBackoff(), 1))
        self._queue: RedisQueue | None = None
        self._ringing: set[asyncio.Task[None]] = set()
        self._again = self._sweep_at = 0.0
        self._down = False
        logging.getLogger("saq").setLevel(logging.ERROR)

    def ring(self, calls: Sequence[Call]) -> None:
        """See Bell."""
        if calls:
            task = asyncio.get_running_loop().create_task(self._ring(calls[:MOST]))
            self._ringing.add(task)
            task.add_done_callback(self._ringing.discard)

    async def wait(self, seconds: float) -> Call | None:
        """See Bell. Looks more rarely than without Redis, which tells of everything that is new."""
        seconds = LOOK if seconds else 0.05
        began = time.monotonic()
        if began >= self._again:
            try:
                async with asyncio.timeout(seconds + ANSWER):
                    queue = await self._open()
                    job = await queue.dequeue(timeout=seconds)
                    if job is not None:
                        await queue.finish(job, job.status)
                    await self._sweep(queue)
                self._found()
                return Call(**job.kwargs) if job is not None and job.kwargs else None
            except (RedisError, OSError, TimeoutError) as problem:
                self._lost(problem)
        await asyncio.sleep(max(0.0, seconds - (time.monotonic() - began)))
        return None

    async def aclose(self) -> None:
        """See Bell. What is being told is told first."""
        if self._ringing:
            await asyncio.wait(self._ringing, timeout=ANSWER)
        for task in self._ringing:
            task.cancel()
        if self._queue is not None:
            await self._queue.disconnect()
        await self._redis.aclose()

    async def _ring(self, calls: Sequence[Call]) -> None:
        if time.monotonic() < self._again:
            return
        try:
            async with asyncio.timeout(ANSWER + len(calls) / 100):
                queue = await self._open()
                for call in calls:
                    await queue.enqueue(_message(call))
            self._found()
        except (RedisError, OSError, TimeoutError) as problem:
            self._lost(problem)
        except StoreUnavailable as problem:
            log.warning("what is free could not be told: %s", problem)

    async def _open(self) -> RedisQueue:
        if self._queue is None:
            self._queue = RedisQueue(self._redis, name=await queue_name(self._store))
        return self._queue

    async def _sweep(self, queue: RedisQueue) -> None:
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP
            await queue.sweep(lock=SWEEP, abort=0.1)

    def _lost(self, problem: Exception) -> None:
        self._again = time.monotonic() + LOOK
        if not self._down:
            self._down = True
            log.warning("Redis (FHIR_REDIS_URL) cannot be reached, so workers look for jobs themselves: %s", type(problem).__name__)

    def _found(self) -> None:
        if self._down:
            self._down = False
            log.warning("Redis (FHIR_REDIS_URL) is reached again; workers are told of jobs there")


def _message(call: Call) -> Job:
    return Job("part", key=f"{call.job}/{call.part}", kwargs=call._asdict(), timeout=0, retries=1, ttl=-1)


async def queue_name(store: ResourceStore) -> str:
    """The name of the store's queue: several stores may share a Redis. Raises StoreUnavailable."""
    record = await store.record(KIND, KIND)
    if record is not None:
        return record.value.decode()
    try:
        await store.commit((), records=[RecordChange(KIND, KIND, f"fhir-jobs-{secrets.token_hex(8)}".encode(), ABSENT)])
    except Conflict:
        log.debug("another process has named the queue")
    return await queue_name(store)


class Caller:
    """Stands in a server process for those who work elsewhere (FHIR_JOBS=workers)."""

    def __init__(self, queue: Queue, store: ResourceStore) -> None:
        self._queue = queue
        self.counts = Counts(store)

    def wake(self, job: str) -> None:
        """There is a new job."""
        self._queue.ring([Call(job, 0)])
