"""One load process: takes tasks from a pipe, carries each out as one request, and tells what became of it.

`LocalServer` runs the same interactions that the HTTP interface runs, on the store itself; `RemoteServer` posts to a FHIR server.
"""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from fhir_server.config import Settings
from fhir_server.loading.answers import Answer, Problem, issues_of, read, refused
from resources.outcomes import FhirError

WAIT = 600.0
"""Seconds that a server may take for one Bundle."""

PATIENCE = 120.0
"""Seconds for which a Bundle is tried again that has to wait for the search index."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A FHIR server to post to: its base URL, and headers for every request."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()


class Server(Protocol):
    """Where requests go."""

    async def open(self) -> None:
        """Begin. Raises what keeps it from beginning, in words for people."""

    async def post(self, body: bytes, key: str, singles: bool) -> Answer:
        """Carry out a Bundle; `key` is its Idempotency-Key ("": none). `singles`: it is made of single resources, which need not be
        written in one transaction."""


class LocalServer:
    """The store of these settings, opened in this process. `first`: what is loaded is indexed in the end, where there was nothing of its
    type."""

    def __init__(self, settings: Settings, stack: AsyncExitStack, *, first: bool = False) -> None:
        self._settings, self._stack, self._first = settings, stack, first

    async def open(self) -> None:
        """Open the store. Raises StoreUnavailable."""
        from fhir_server.app import open_context
        from fhir_server.loading.portion import Portions

        self._ctx = await self._stack.enter_async_context(open_context(self._settings))
        self._portions = Portions(self._ctx, first=self._first)

    async def post(self, body: bytes, key: str, singles: bool) -> Answer:
        """Carry out a Bundle, single resources as a portion of an import; again where a search index outside the store has to catch up
        first, for up to PATIENCE seconds."""
        from fhir_server.messages import FhirRequest, Identity
        from fhir_server.perform import answer

        until = time.monotonic() + PATIENCE
        headers = {"prefer": "return=minimal", "content-type": "application/fhir+json"}
        if key:
            headers["idempotency-key"] = key
        if singles and (told := await self._portions.store(body, key)) is not None:
            return told
        request = FhirRequest("POST", "", body=body, headers=headers, base=self._ctx.settings.base)
        while True:
            try:
                result = await answer(self._ctx, Identity("load", "load"), request)
                break
            except FhirError as refusal:
                if (
                    self._ctx.feed is None
                    or refusal.status != 503
                    or "Retry-After" not in refusal.headers
                    or time.monotonic() > until
                ):
                    return refused(refusal.status, refusal.issues)
                await asyncio.sleep(1)
        return read(b"".join(result.body), await self._ctx.store.position())


class RemoteServer:
    """A server behind a URL."""

    def __init__(self, remote: Remote, stack: AsyncExitStack) -> None:
        self._remote, self._stack = remote, stack

    async def open(self) -> None:
        """Make the client; connects with the first request."""
        import httpx

        client = httpx.AsyncClient(headers=list(self._remote.headers), timeout=httpx.Timeout(WAIT, connect=10.0))
        self._client = await self._stack.enter_async_context(client)

    async def post(self, body: bytes, key: str, singles: bool) -> Answer:
        """Post a Bundle to the base URL."""
        import httpx

        headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json", "Prefer": "return=minimal"}
        if key:
            headers["Idempotency-Key"] = key
        try:
            response = await self._client.post(self._remote.url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Answer(0, (Problem(None, f"{self._remote.url} does not answer: {error or type(error).__name__}"),), True, True)
        if response.is_success:
            return read(response.content, 0)
        return refused(response.status_code, issues_of(response.content, response.text[:200] or response.reason_phrase))


def work(connection: Connection, target: Settings | Remote, first: bool = False) -> None:
    """The process's main function. First sends None once it is ready, or a sentence why it cannot be; then an Answer a task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that reads the files decides when to stop
    asyncio.run(_work(connection, target, first))


async def _work(connection: Connection, target: Settings | Remote, first: bool) -> None:
    async with AsyncExitStack() as stack:
        server: Server = RemoteServer(target, stack) if isinstance(target, Remote) else LocalServer(target, stack, first=first)
        try:
            await server.open()
        except Exception as error:  # told to whoever started the load, in its own words
            connection.send(f"{error}" or type(error).__name__)
            return
        connection.send(None)
        while (told := await asyncio.to_thread(connection.recv)) is not None:
            connection.send(await server.post(connection.recv_bytes(), *told))
