"""One load process: takes tasks from a pipe, carries each out as one request, and tells what became of it.

`LocalServer` runs the same interactions that the HTTP interface runs, on the store itself; `RemoteServer` posts to a FHIR server.
"""

import asyncio
import signal
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from fhir_server.config import Settings
from resources.outcomes import FhirError, Issue, Severity

if TYPE_CHECKING:
    import httpx

WAIT = 600.0
"""Seconds that a server may take for one Bundle."""

PATIENCE = 120.0
"""Seconds for which a Bundle is tried again that has to wait for the search index."""

SHOWN = 5
"""Most problems that are told of one request."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A FHIR server to post to: its base URL, and headers for every request."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()


class Problem(NamedTuple):
    """`entry`: number of the Bundle's entry, None for the request as a whole."""

    entry: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request. `problems` empty: all is well. `whole`: nothing of it was done. `position`: the store's, 0 if unknown.

    `unavailable`: the store or server takes nothing now, so going on makes no sense.
    """

    done: int
    problems: tuple[Problem, ...] = ()
    whole: bool = False
    unavailable: bool = False
    position: int = 0


class Server(Protocol):
    """Where requests go."""

    async def post(self, body: bytes, key: str) -> Answer:
        """Carry out a Bundle; `key` is its Idempotency-Key ("": none)."""


class _Details(msgspec.Struct):
    text: str = ""


class _Issue(msgspec.Struct):
    severity: str = "error"
    diagnostics: str = ""
    details: _Details | None = None
    expression: list[str] = []


class _Outcome(msgspec.Struct):
    issue: list[_Issue] = []


class _Response(msgspec.Struct):
    status: str = ""
    outcome: _Outcome | None = None


class _Entry(msgspec.Struct):
    response: _Response | None = None


class _Bundle(msgspec.Struct):
    entry: list[_Entry] = []


_bundle = msgspec.json.Decoder(_Bundle)
_outcome = msgspec.json.Decoder(_Outcome)


class LocalServer:
    """The store of these settings, opened in this process."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings, self._stack = settings, stack

    async def open(self) -> None:
        """Open the store. Raises StoreUnavailable."""
        from fhir_server.app import open_context

        self._ctx = await self._stack.enter_async_context(open_context(self._settings))

    async def post(self, body: bytes, key: str) -> Answer:
        """Carry out a Bundle; again where a search index outside the store has to catch up first, for up to PATIENCE seconds."""
        from fhir_server.messages import FhirRequest, Identity
        from fhir_server.perform import answer

        until = time.monotonic() + PATIENCE
        headers = {"prefer": "return=minimal", "content-type": "application/fhir+json"}
        if key:
            headers["idempotency-key"] = key
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
                    return _refused(refusal.status, refusal.issues)
                await asyncio.sleep(1)
        return _read(b"".join(result.body), await self._ctx.store.position())


class RemoteServer:
    """A server behind a URL."""

    def __init__(self, remote: Remote, stack: AsyncExitStack) -> None:
        self._remote, self._stack = remote, stack

    async def open(self) -> None:
        """Make the client; connects with the first request."""
        import httpx

        client = httpx.AsyncClient(headers=list(self._remote.headers), timeout=httpx.Timeout(WAIT, connect=10.0))
        self._client = await self._stack.enter_async_context(client)

    async def post(self, body: bytes, key: str) -> Answer:
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
            return _read(response.content, 0)
        return _refused(response.status_code, _issues(response))


def work(connection: Connection, target: Settings | Remote) -> None:
    """The process's main function. First sends None once it is ready, or a sentence why it cannot be; then an Answer a task."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that reads the files decides when to stop
    asyncio.run(_work(connection, target))


async def _work(connection: Connection, target: Settings | Remote) -> None:
    async with AsyncExitStack() as stack:
        server: LocalServer | RemoteServer
        server = RemoteServer(target, stack) if isinstance(target, Remote) else LocalServer(target, stack)
        try:
            await server.open()
        except Exception as error:  # told to whoever started the load, in its own words
            connection.send(f"{error}" or type(error).__name__)
            return
        connection.send(None)
        while (key := await asyncio.to_thread(connection.recv)) is not None:
            connection.send(await server.post(connection.recv_bytes(), key))


def _read(body: bytes, position: int) -> Answer:
    """The answer to a Bundle that was carried out, entry by entry."""
    problems, done = [], 0
    for number, entry in enumerate(_bundle.decode(body).entry):
        response = entry.response or _Response()
        if response.status.startswith("2"):
            done += 1
        else:
            issues = [_issue(issue) for issue in response.outcome.issue] if response.outcome else []
            problems.append(Problem(number, _told(response.status, issues)))
    return Answer(done, tuple(problems), position=position)


def _refused(status: int, issues: Iterable[Issue]) -> Answer:
    errors = [issue for issue in issues if issue.severity in ("error", "fatal")]
    problems = [Problem(_entry_number(issue.expression), _told(str(status), [issue])) for issue in errors[:SHOWN]]
    if len(errors) > SHOWN:
        problems.append(Problem(None, f"and {len(errors) - SHOWN} more problems"))
    return Answer(0, tuple(problems) or (Problem(None, f"HTTP {status}"),), True, status in (401, 403, 429, 502, 503, 507))


def _told(status: str, issues: Iterable[Issue]) -> str:
    texts = [
        f"{issue.text} ({issue.expression})" if issue.expression else issue.text for issue in issues if issue.severity != "warning"
    ]
    return f"{status.split(' ')[0]} {'; '.join(texts[:SHOWN])}".strip()


def _entry_number(expression: str | None) -> int | None:
    start = "Bundle.entry["
    if expression is None or not expression.startswith(start):
        return None
    number = expression.removeprefix(start).partition("]")[0]
    return int(number) if number.isdigit() else None


def _issue(issue: _Issue) -> Issue:
    text = (issue.details.text if issue.details else "") or issue.diagnostics
    severity: Severity = "error" if issue.severity in ("error", "fatal") else "warning"
    return Issue(severity, "", text, issue.expression[0] if issue.expression else None)


def _issues(response: "httpx.Response") -> list[Issue]:
    try:
        return [_issue(issue) for issue in _outcome.decode(response.content).issue]
    except msgspec.DecodeError:
        return [Issue("error", "", response.text[:200] or response.reason_phrase)]
