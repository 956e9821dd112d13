"""What probes of containers, and Prometheus, ask a worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from fhir_server.context import Context
from fhir_server.jobs.runner import Runner
from resources.store import StoreUnavailable

PLAIN, METRICS = "text/plain; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8"

TIME = 5.0
"""Seconds that a request may take to arrive."""


@asynccontextmanager
async def answering(ctx: Context, runner: Runner, host: str, port: int) -> AsyncIterator[None]:
    """Answer `/livez`, `/readyz` and `/metrics` meanwhile; port 0: nothing is answered. Raises OSError where the port cannot be had."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(TIME):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.partition("\r\n")[0].split(" ", 2)
            status, type, text = await _told(ctx, runner, path) if method == "GET" else (HTTPStatus.METHOD_NOT_ALLOWED, PLAIN, "")
            body = text.encode()
            lines = (
                f"HTTP/1.1 {status.value} {status.phrase}",
                f"Content-Type: {type}",
                f"Content-Length: {len(body)}",
                "Connection: close",
            )
            writer.write("\r\n".join((*lines, "", "")).encode() + body)
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    if not port:
        yield
        return
    async with await asyncio.start_server(answer, host, port, limit=16_384):
        yield


async def _told(ctx: Context, runner: Runner, path: str) -> tuple[HTTPStatus, str, str]:
    if path == "/livez":
        alive = runner.alive()
        return (
            (HTTPStatus.OK, PLAIN, "ok\n") if alive else (HTTPStatus.SERVICE_UNAVAILABLE, PLAIN, "nothing is worked on any more\n")
        )
    if path not in ("/readyz", "/metrics"):
        return HTTPStatus.NOT_FOUND, PLAIN, "there is /livez, /readyz and /metrics\n"
    try:
        if path == "/readyz":
            await ctx.store.read("Patient", "-")
            return HTTPStatus.OK, PLAIN, "ok\n"
        lines = await runner.counts.metrics(ctx.clock())
    except StoreUnavailable as problem:
        return HTTPStatus.SERVICE_UNAVAILABLE, PLAIN, f"{problem}\n"
    return HTTPStatus.OK, METRICS, "\n".join((ctx.metrics.render(), *lines, ""))
