"""`fhir-server worker`."""

import asyncio
import signal
from typing import Annotated

import typer

from fhir_server.cli.options import DataDir
from fhir_server.cli.show import err, escaped, fail
from fhir_server.config import Settings, load_settings
from fhir_server.data_folder import prepare


def worker(
    parts: Annotated[
        int | None, typer.Option(help="Parts of jobs to work on at a time (FHIR_WORKER_PARTS).", show_default="1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port for /livez, /readyz and /metrics, on FHIR_HOST (FHIR_WORKER_PORT).", show_default="none"),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error (FHIR_LOG_LEVEL).", show_default="info")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Work on exports, imports and other jobs until stopped (Ctrl+C or SIGTERM), in place of the server.

    Run any number, on any machine, with the settings of the server: the same store, the same files (FHIR_FILES_URL),
    FHIR_JOBS=workers and FHIR_REDIS_URL. What a worker leaves undone when it is stopped, another one goes on with at once; when
    it is killed, within half a minute.
    """
    settings = load_settings({"worker_parts": parts, "worker_port": port, "log_level": log_level, "data_dir": data_dir})
    if settings.jobs != "workers":
        fail("FHIR_JOBS=server: the server works on jobs itself; give FHIR_JOBS=workers to it and to workers, and FHIR_REDIS_URL")
    prepare(settings)
    asyncio.run(_work(settings))


async def _work(settings: Settings) -> None:
    from fhir_server.app import calm_collector, open_context
    from fhir_server.jobs.health import answering
    from fhir_server.jobs.wiring import worker as working
    from fhir_server.observability import configure_logging, log_lost_failure

    configure_logging(settings.log_level)
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(log_lost_failure)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with open_context(settings, feeding=False) as ctx, working(ctx) as runner:
        try:
            async with answering(ctx, runner, settings.host, settings.worker_port):
                calm_collector()
                err.print(f"[bold]Working[/] on jobs of {escaped(settings.documents)}, {settings.worker_parts} parts at a time.")
                await stopping.wait()
        except OSError as problem:
            fail(f"cannot listen on {settings.host}:{settings.worker_port} (FHIR_WORKER_PORT): {problem.strerror}")
