"""The jobs of a process: what they are, and what works on them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from fhir_server.context import Context
from fhir_server.exporting.kind import EXPORT
from fhir_server.importing.kind import IMPORT
from fhir_server.jobs.bell import Working
from fhir_server.jobs.runner import Runner
from fhir_server.jobs.work import Kind
from fhir_server.views.bulk.kind import KIND as VIEWS
from fhir_server.views.bulk.kind import VIEW_EXPORT

if TYPE_CHECKING:
    from fhir_server.jobs.queue import Queue

KINDS: Mapping[str, Kind] = {"export": EXPORT, "import": IMPORT, VIEWS: VIEW_EXPORT}


@asynccontextmanager
async def working(ctx: Context) -> AsyncIterator[Working]:
    """In a server process: work on jobs meanwhile, or tell those processes of them that do (FHIR_JOBS=workers)."""
    if ctx.settings.jobs == "workers":
        from fhir_server.jobs.queue import Caller

        async with aclosing(_queue(ctx)) as queue:
            yield Caller(queue, ctx.store)
        return
    async with _running(Runner(ctx, ctx.files, KINDS)) as runner:
        yield runner


@asynccontextmanager
async def worker(ctx: Context) -> AsyncIterator[Runner]:
    """In a process of its own: work on as many parts at a time as the settings say."""
    async with _running(Runner(ctx, ctx.files, KINDS, slots=ctx.settings.worker_parts, bell=_queue(ctx))) as runner:
        yield runner


@asynccontextmanager
async def _running(runner: Runner) -> AsyncIterator[Runner]:
    runner.start()
    try:
        yield runner
    finally:
        await runner.stop()


def _queue(ctx: Context) -> "Queue":
    """What tells workers of jobs. Its libraries are loaded only where it is used."""
    from fhir_server.jobs.queue import Queue

    return Queue(ctx.settings.redis_url, ctx.store)
