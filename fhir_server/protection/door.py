"""The outermost layer: what holds for every answer, whoever made it. Headers for browsers, and which scripts may call (CORS).

- https://fetch.spec.whatwg.org/#http-cors-protocol
- https://hl7.org/fhir/smart-app-launch/STU2.2/app-launch.html#considerations-for-cross-origin-resource-sharing-cors-support
"""

from collections.abc import Callable, Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fhir_server.config import Settings
from smart_auth.web import WebRoute

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SENT = (
    "Accept", "Authorization", "Baggage", "Cache-Control", "Content-Encoding", "Content-Type", "Idempotency-Key", "If-Match",
    "If-Modified-Since", "If-None-Exist", "If-None-Match", "Prefer", "Purpose-Of-Use", "Purpose-Of-Use-Reason", "Sentry-Trace",
    "Traceparent", "Tracestate", "X-Correlation-Id", "X-Purpose-Of-Use", "X-Purpose-Of-Use-Reason", "X-Request-Id", "X-Requested-With",
)  # fmt: skip
"""Headers that a script may send."""
READ = (
    "Content-Location", "ETag", "Last-Modified", "Location", "Retry-After", "WWW-Authenticate", "X-Progress", "X-Request-Id",
)  # fmt: skip
"""Headers of an answer that a script may read, besides those that it always may."""
REMEMBERED = 3_600
"""Seconds for which a browser need not ask again."""

HSTS = 31_536_000
"""Seconds for which a browser that came over https comes back by it only."""

# Not "no-referrer": browsers would not say where a form of ours comes from (Origin: null).
# No Cross-Origin-Opener-Policy: an app that has its user sign in in a pop-up window must be told of its end.
_ALWAYS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
]
_UNLESS_SAID: list[tuple[bytes, bytes]] = [
    (b"cache-control", b"no-store"),
    # What is no page of ours must not act as one, whatever a browser takes it for: a Binary may hold HTML.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
]


class Door:
    """An ASGI application around `inner`. `prefix` is the path of the FHIR base, `rows` are those of the authorization server.

    Scripts may call the FHIR interface and the rows marked `cors`, with bearer tokens: cookies never count there, so no origin is given
    credentials, and `*` gives nothing away. Pages are never theirs to read.
    """

    def __init__(self, inner: ASGIApp, settings: Settings, prefix: str, rows: Sequence[WebRoute]) -> None:
        self._inner, self._prefix = inner, prefix
        self._crossed = _paths(rows)
        self._always = list(_ALWAYS)
        if settings.base.startswith("https://"):
            self._always.append((b"strict-transport-security", b"max-age=%d" % HSTS))
        self._cors = _cors(inner, settings.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request, or the lifespan."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._complete(message)
            await send(message)

        inner = self._cors if self._by_script(scope) else self._inner
        await inner(scope, receive, sending)

    def _by_script(self, scope: Scope) -> bool:
        """Whether a script of some web page asks for what scripts may ask for."""
        if not any(name == b"origin" for name, _ in scope["headers"]):
            return False
        path = scope["path"]
        return path.startswith(self._prefix + "/") or path == self._prefix or self._crossed(path)

    def _complete(self, message: Message) -> None:
        headers = message["headers"] = [*message["headers"], *self._always]
        said = {name for name, _ in headers}
        headers += [pair for pair in _UNLESS_SAID if pair[0] not in said]


def _cors(inner: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    if not origins:
        return inner
    return CORSMiddleware(
        inner, allow_origins=origins, allow_methods=METHODS, allow_headers=SENT, expose_headers=READ, max_age=REMEMBERED
    )


def _paths(rows: Sequence[WebRoute]) -> Callable[[str], bool]:
    """Whether a path is one of the rows that scripts may call."""
    open = [compile_path(row.path)[0] for row in rows if row.cors]
    return lambda path: any(pattern.match(path) for pattern in open)
