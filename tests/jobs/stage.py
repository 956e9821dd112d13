"""A kind of jobs for tests: its parts write a line at a time, and wait where a test says so. And the parts of a server that jobs need."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from fhir_server.app import open_context
from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.files.contract import Files
from fhir_server.jobs import runner
from fhir_server.jobs.board import Board, Kept
from fhir_server.jobs.job import Job, Part
from fhir_server.jobs.work import Kind, Plan, Task, raw
from resources import instants

LINES = 5


class Stage:
    """Jobs whose parts have LINES lines each. `begun` are the parts that were begun, in order; what `before` (part, line) awaits comes
    before a line is written."""

    def __init__(self, parts: int = 3) -> None:
        self.parts = parts
        self.begun: list[tuple[str, int]] = []
        self.kind = Kind(self._plan, self._work, self._result)

    async def before(self, part: int, line: int) -> None:
        """Nothing, unless a test says otherwise."""

    async def _plan(self, task: Task) -> Plan:
        self.begun.append((task.job.id, 0))
        await self.before(0, 0)
        return Plan("plan", list(range(1, self.parts + 1)))

    async def _work(self, task: Task) -> Any:
        number = task.part.number
        self.begun.append((task.job.id, number))
        start = msgspec.json.decode(task.part.place, type=int | None) or 0
        for line in range(start, LINES):
            await self.before(number, line)
            async with task.files.writing(f"{task.job.id}/{number}.{line}", "text/plain") as file:
                await file.write(b"%d %d\n" % (number, line))
            await task.keep(line + 1)
        return number

    async def _result(self, ctx: Context, files: Files, job: Job, parts: Sequence[Part]) -> Any:
        return [msgspec.json.decode(part.result) for part in parts]


@asynccontextmanager
async def opened(folder: Path, skew: float = 0.0, **settings: Any) -> AsyncIterator[Context]:
    """A process's view of the store in a folder; its clock is `skew` seconds ahead."""
    chosen: dict[str, Any] = {"data_dir": folder, "auth": "off", "synchronous": "NORMAL", "jobs_lease": 300.0} | settings
    async with open_context(Settings(**chosen)) as ctx:
        clock = ctx.clock
        yield replace(ctx, clock=lambda: clock() + int(skew * 1e6))


@asynccontextmanager
async def steady() -> AsyncIterator[Callable[[], int]]:
    """A clock that goes only as the event loop does: where the machine stands still nobody's lease ends."""
    now, step = instants.now(), 0.01

    async def go() -> None:
        nonlocal now
        while True:
            await asyncio.sleep(step)
            now += int(step * 1e6)

    going = asyncio.create_task(go())
    try:
        yield lambda: now
    finally:
        going.cancel()


@asynccontextmanager
async def running(ctx: Context, stage: Stage, slots: int = 1) -> AsyncIterator[runner.Runner]:
    """Somebody who works."""
    one = runner.Runner(ctx, ctx.files, {"lines": stage.kind}, slots=slots)
    one.start()
    try:
        yield one
    finally:
        await one.stop()


async def begin(ctx: Context, id: str = "a", kind: str = "lines") -> str:
    """Keep a new job; its id."""
    now = ctx.clock()
    url = "http://127.0.0.1:8000/fhir/$lines"
    await Board(ctx.store).begin(Job(id, kind, "owner", url, raw(None), now, now + 3_600_000_000))
    return id


async def job_of(ctx: Context, id: str = "a") -> Kept:
    """The job."""
    kept = await Board(ctx.store).job(id)
    assert kept is not None
    return kept


async def until(met: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until something is so; `met` may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            found = met()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.01)


async def ended(ctx: Context, id: str = "a", seconds: float = 60.0) -> Job:
    """The job, once it is no longer under way."""

    async def over() -> bool:
        return (await job_of(ctx, id)).job.state != "running"

    await until(over, seconds)
    return (await job_of(ctx, id)).job


async def lines(ctx: Context, id: str = "a") -> list[str]:
    """What the job's files are called, without its folder."""
    return [file.name.partition("/")[2] for file in await ctx.files.names(id)]


def whole(parts: int) -> list[str]:
    """What a job of so many parts leaves."""
    return sorted(f"{part}.{line}" for part in range(1, parts + 1) for line in range(LINES))
