"""The FHIR interface as a bare ASGI application: HTTP in, a FhirRequest to `perform`, the answer out.

It stands in front of the web framework, so that a read costs no more than it must.
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Literal

from fhir_server.context import Context
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.perform import perform, record_refusal
from fhir_server.protection.addresses import Addresses
from fhir_server.randomness import random_bytes
from fhir_server.rest.bodies import binary_of, read_body
from fhir_server.rest.errors import as_fhir_error
from fhir_server.rest.hosts import Hosts
from fhir_server.rest.identity import identify
from fhir_server.rest.memory import LARGE, give_back
from fhir_server.rest.negotiation import check_content, is_fhir, only_other_formats, output
from fhir_server.rest.protocol import URL_BYTES, URL_WAS_CUT
from fhir_server.rest.responses import Send, of_error, respond
from fhir_server.rest.routing import Receive, Route
from fhir_server.rest.streaming import send_stream
from resources.outcomes import FhirError, bad_request, error

_log = logging.getLogger("fhir_server.requests")

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32_768
MAX_PATH = 2_048

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9.\-_]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?", re.ASCII)

Scope = MutableMapping[str, Any]


class Edge:
    """Answers every request below `prefix` ("/fhir"). One for the process."""

    def __init__(self, ctx: Context, prefix: str = "/fhir") -> None:
        self._ctx, self._prefix = ctx, prefix
        self._hosts = Hosts(ctx.settings)
        self._addresses = Addresses(ctx.settings.proxies, ctx.settings.proxy_header)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        started = time.perf_counter()
        metrics = self._ctx.metrics
        metrics.running += 1
        headers = _headers(scope["headers"])
        headers["x-request-id"] = request_id = _request_id(headers)
        base = self._ctx.settings.base_url or base_of(scope["scheme"], headers.get("host", ""), self._prefix)
        label, pretty, accept_encoding, body, seat = "none", False, headers.get("accept-encoding", ""), None, ""
        try:
            query = scope["query_string"].decode("latin-1")
            path = scope["raw_path"].decode("latin-1")[len(self._prefix) :].strip("/")
            request = FhirRequest(scope["method"], path, query, b"", headers, base)
            who = await self._who(scope, request)
            seat = self._ctx.limits.enter(who)
            route, request = await self._route(scope, who, request)
            label = route.label
            pretty = await self._output(who, route, request)
            body = self._body(route, request, receive)
            result = await perform(self._ctx, who, route, request, body)
        except FhirError as failure:
            result = of_error(failure)
        except Exception as failure:
            result = of_error(as_fhir_error(failure, label, request_id))
        try:
            if result.stream is None:
                await respond(send, result, base=base, request_id=request_id, pretty=pretty, accept_encoding=accept_encoding)
            else:
                told = {"method": scope["method"], "base": base, "request_id": request_id, "accept_encoding": accept_encoding}
                await send_stream(send, receive, result, **told, interaction=label)
        except RuntimeError as failure:  # the client has closed the connection
            _log.warning("the answer could not be sent: %s", failure, extra={"interaction": label, "request": request_id})
        finally:
            metrics.running -= 1
            self._ctx.limits.leave(seat)
            if body is not None and body.size > LARGE:
                asyncio.get_running_loop().call_soon(give_back)
            self._account(scope["method"], label, result, time.perf_counter() - started, request_id)

    async def _who(self, scope: Scope, request: FhirRequest) -> Identity:
        """The caller. Raises FhirError: 401, and records that; 429, which is not recorded: nothing was seen, and a flood must not fill
        the record."""
        address = self._addresses.of(scope)
        if self._ctx.settings.auth == "off":
            who = Identity(address=address)
        else:
            try:
                who = await identify(self._ctx.tokens, request.headers, address)
            except FhirError as refusal:
                nobody = Identity(address=address, anonymous=True)
                await self._ctx.limits.request(nobody)
                await record_refusal(self._ctx, nobody, None, request, refusal)
                raise
        await self._ctx.limits.request(who)
        return who

    async def _route(self, scope: Scope, who: Identity, request: FhirRequest) -> tuple[Route[Context], FhirRequest]:
        """The row that a request leads to, and the request with the parts that its path names. Raises FhirError, and records that."""
        try:
            self._limits(scope, request.path, request.query)
            self._hosts.check(request.headers.get("host", ""), request.headers.get("origin", ""))
            route, type, id, version, operation = self._ctx.routes.find(request.method, request.path)
        except FhirError as refusal:
            await record_refusal(self._ctx, who, None, request, refusal)
            raise
        return route, request.having(type=type, id=id, version=version, operation=operation)

    async def _output(self, who: Identity, route: Route[Context], request: FhirRequest) -> bool:
        """Whether the answer is to be indented. Raises FhirError 406 for a format that is not offered; that is recorded too."""
        try:
            accept = request.headers.get("accept", "")
            held = request.type == "Binary" and route.interaction in ("read", "vread") and only_other_formats(request.query, accept)
            return not (route.any_format or held) and output(request.query, accept)
        except FhirError as refusal:
            await record_refusal(self._ctx, who, route, request, refusal)
            raise

    def _limits(self, scope: Scope, path: str, query: str) -> None:
        headers, most = scope["headers"], self._ctx.settings.max_query_length
        if len(query) > most or (query and URL_WAS_CUT in scope):
            text = f"The query string is longer than {most} bytes (FHIR_MAX_QUERY_LENGTH)"
            if len(query) <= most:
                text = f"The URL is longer than {URL_BYTES} bytes"
            raise error(414, "too-long", f"{text}; send long searches with POST to [type]/_search")
        if len(path) > MAX_PATH:
            raise error(414, "too-long", f"The path is longer than {MAX_PATH} bytes")
        if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            raise error(431, "too-long", f"The request has more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them")

    def _body(self, route: Route[Context], request: FhirRequest, receive: Receive) -> "_Body | None":
        """The body of this request, unread; None if the row takes none (one that is sent all the same does not count)."""
        kind = route.body
        if kind == "none":
            return None
        limit = int(self._ctx.settings.max_query_length if kind == "form" else self._ctx.settings.max_body)
        sent = request.headers.get("content-type", "")
        if request.type == "Binary" and route.interaction in ("create", "update") and sent and not is_fhir(sent):
            return _Content(request, receive, limit)
        return _Body(kind, request.headers, receive, limit)

    def _account(self, method: str, label: str, result: FhirResult, seconds: float, request_id: str) -> None:
        self._ctx.metrics.observe(label, result.status, seconds)
        if result.status >= 500 or _log.isEnabledFor(logging.DEBUG):
            level = logging.ERROR if result.status >= 500 else logging.DEBUG
            extra = {"method": method[:16], "interaction": label, "status": result.status, "request": request_id}
            _log.log(level, "request", extra=extra | {"milliseconds": round(seconds * 1000, 2)})


def _headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers by name; the values of a repeated one joined with commas (RFC 9110, 5.3)."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    if len(headers) != len(raw):
        for name in headers:
            headers[name] = ", ".join(v.decode("latin-1") for n, v in raw if n.decode("latin-1") == name)
    return headers


def _request_id(headers: Mapping[str, str]) -> str:
    """The caller's X-Request-Id if it is one that can stand in logs and headers, else a new one."""
    given = headers.get("x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else random_bytes(8).hex()


@lru_cache(maxsize=256)
def base_of(scheme: str, host: str, prefix: str) -> str:
    """The base URL as the caller wrote it. A Host header that is no host becomes localhost, so that it reaches no link."""
    return f"{scheme}://{host if _HOST.fullmatch(host) else 'localhost'}{prefix}"


class _Body:
    """A request's body, read when it is called for. `size`: its bytes, 0 before."""

    def __init__(self, kind: Literal["fhir", "patch", "form"], headers: Mapping[str, str], receive: Receive, limit: int) -> None:
        self._kind, self._headers, self._receive, self._limit = kind, headers, receive, limit
        self.size = 0

    async def __call__(self) -> bytes:
        content_type = self._headers.get("content-type", "")
        if content_type:
            check_content(content_type, self._kind)
        body = await self._read()
        if body and not content_type:
            media = "application/x-www-form-urlencoded" if self._kind == "form" else "application/fhir+json"
            raise bad_request(f"The request has a body but no Content-Type; send Content-Type: {media}")
        self.size = len(body)
        return body

    async def _read(self) -> bytes:
        try:
            return await read_body(self._receive, self._headers, self._limit)
        except FhirError as refusal:
            if self._kind != "form" or refusal.status != 413:
                raise
            text = f"The form is longer than {self._limit} bytes (FHIR_MAX_QUERY_LENGTH); ask for less at once"
            raise error(413, "too-long", text) from None


class _Content(_Body):
    """The content of a Binary, which comes as the resource that holds it."""

    def __init__(self, request: FhirRequest, receive: Receive, limit: int) -> None:
        super().__init__("fhir", request.headers, receive, limit)
        self._id = request.id

    async def __call__(self) -> bytes:
        body = await self._read()
        self.size = len(body)
        return binary_of(self._headers, self._id, body)
