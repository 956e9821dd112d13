"""Requests to the authorization server that none of its rows takes: another method (405), or an address that is none of its own (404)."""

from collections import defaultdict
from collections.abc import Sequence

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fhir_server.signing_in.mount import refused, sent
from smart_auth.errors import OAuthError, sayable
from smart_auth.service import Service
from smart_auth.web import WebRoute

_BELOW = "/oauth/"
"""What is below belongs to the authorization server."""


def elsewhere(rows: Sequence[WebRoute], service: Service) -> list[Route]:
    """The routes that come after those of the rows, for whatever method: 405 with `Allow`, or 404, as each row tells what is wrong."""
    taken: dict[str, list[WebRoute]] = defaultdict(list)
    for row in rows:
        taken[row.path].append(row)
    routes = [Route(path, _Refusing(same, service)) for path, same in taken.items()]
    if any(path.startswith(_BELOW) for path in taken):
        routes.append(Route(f"{_BELOW}{{rest:path}}", _Refusing((), service)))
    return routes


class _Refusing:
    """An ASGI application. `rows` are those of the address, none where there is nothing."""

    def __init__(self, rows: Sequence[WebRoute], service: Service) -> None:
        self._service = service
        self._allowed = ", ".join(row.method for row in rows)
        self._fhir = any(row.fhir for row in rows)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        page = "text/html" in request.headers.get("accept", "")
        answer = refused(self._refusal(request.method), self._service, page=page, fhir=self._fhir)
        await sent(answer, self._service)(scope, receive, send)

    def _refusal(self, method: str) -> OAuthError:
        if self._allowed:
            text = f"this address takes {self._allowed}, not {sayable(method, 20)}"
            return OAuthError("invalid_request", text, 405, {"Allow": self._allowed.replace("GET", "GET, HEAD")})
        where = f"{self._service.urls.base}/.well-known/smart-configuration"
        return OAuthError("invalid_request", f"there is nothing at this address; {where} names those that apps need", 404)
