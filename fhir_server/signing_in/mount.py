"""HTTP for the endpoints of `smart_auth`: requests become plain values, within bounds, and answers HTTP again."""

import logging
from collections.abc import Mapping
from functools import partial
from http.cookies import SimpleCookie
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fhir_server.context import Context
from fhir_server.protection.addresses import Addresses
from fhir_server.protection.limits import Limits
from fhir_server.rest.bodies import read_body
from fhir_server.rest.errors import as_fhir_error
from fhir_server.rest.negotiation import FHIR_JSON
from resources.outcomes import FhirError, error, operation_outcome
from smart_auth.errors import OAuthError, invalid_request
from smart_auth.pages.rendering import error_page
from smart_auth.service import Service
from smart_auth.web import NO_STORE, Fields, WebRequest, WebResponse, WebRoute, as_json

_log = logging.getLogger("fhir_server")

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 500
_AUTHORIZE = "/oauth/authorize"
_FILES = "/oauth/static/"
"""Below this, files that belong to pages: not counted as requests of their own."""

_CODES = {401: "login", 403: "forbidden", 404: "not-found", 405: "not-supported"}
"""Status -> the code of an issue."""

_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "


def mounted(row: WebRoute, service: Service, ctx: Context) -> Route:
    """The row of `smart_auth/routes.py` as a route of the web framework."""
    addresses = Addresses(ctx.settings.proxies, ctx.settings.proxy_header)

    async def endpoint(request: Request) -> Response:
        try:
            address = addresses.of(request.scope)
            if not row.path.startswith(_FILES):
                authorize = row.path == _AUTHORIZE
                await ctx.limits.oauth(address, form=row.page and row.method == "POST" and not authorize, authorize=authorize)
            answer = await row.endpoint(service, await _asked(request, row, address, ctx.limits))
        except OAuthError as refusal:
            answer = refused(refusal, service, page=row.page, fhir=row.fhir)
        except FhirError as refusal:
            answer = _failed(refusal, service, row)
        except Exception as failure:
            answer = _failed(as_fhir_error(failure, row.path, request.headers.get("x-request-id", "")[:64]), service, row)
        return sent(answer, service)

    return Route(row.path, endpoint, methods=[row.method])


def refused(refusal: OAuthError, service: Service, *, page: bool = False, fhir: bool = False) -> WebResponse:
    """What is wrong, as an OperationOutcome (`fhir`), a page for people, or OAuth's JSON (RFC 6749, 5.2)."""
    if fhir:
        code = _CODES.get(refusal.status, "invalid")
        return _outcome(error(refusal.status, code, refusal.description, **refusal.headers))
    if page:
        return error_page(service, refusal)
    told = {"error": refusal.error, "error_description": refusal.description}
    return as_json(told, refusal.status, {**NO_STORE, **refusal.headers})


def _failed(failure: FhirError, service: Service, row: WebRoute) -> WebResponse:
    """What is no error of OAuth's: the store is down, the body is too long, or worse."""
    if row.fhir:
        return _outcome(failure)
    name = (
        "temporarily_unavailable"
        if failure.status in (429, 503, 507)
        else "server_error"
        if failure.status >= 500
        else "invalid_request"
    )
    return refused(OAuthError(name, failure.issues[0].text, failure.status, failure.headers), service, page=row.page)


def _outcome(failure: FhirError) -> WebResponse:
    return WebResponse(failure.status, operation_outcome(failure.issues), FHIR_JSON, {**NO_STORE, **failure.headers})


async def _asked(request: Request, row: WebRoute, address: str, limits: Limits) -> WebRequest:
    headers = {name: value for name, value in request.headers.items()}
    body = await _body(request, headers, row.most) if row.method != "GET" else b""
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    form = _pairs(body.decode("utf-8", "replace")) if body and content_type == _FORM else ()
    return WebRequest(
        method=request.method,
        path=request.url.path,
        query=_pairs(request.url.query),
        form=form,
        headers=headers,
        cookies=_cookies(headers),
        body=body,
        address=address,
        names=dict(request.path_params),
        stranger=partial(limits.stranger, address),
    )


async def _body(request: Request, headers: Mapping[str, str], most: int) -> bytes:
    try:
        return await read_body(request.receive, headers, most)
    except FhirError as refusal:
        if refusal.status != 413:
            raise
    raise error(413, "too-long", f"The body is longer than {most} bytes, the most that this address takes; no setting changes that")


def _pairs(text: str) -> Fields:
    try:
        return tuple(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"))
    except ValueError:
        raise invalid_request(f"more than {_MOST_FIELDS} parameters, or parameters that are not UTF-8") from None


def _cookies(headers: Mapping[str, str]) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(headers.get("cookie", "")).items()}
    except Exception:  # a header that is none: http.cookies raises several kinds
        _log.debug("a Cookie header could not be read")
        return {}


def sent(answer: WebResponse, service: Service) -> Response:
    """The answer over HTTP, with the headers that hold for all pages."""
    response = Response(answer.body, answer.status, media_type=None)
    if answer.body or answer.status == 200:
        response.headers["Content-Type"] = answer.content_type
    for name, value in answer.headers.items():
        response.headers[name] = value
    if answer.content_type.startswith("text/html"):
        targets = " ".join(("'self'", *answer.form_targets))
        response.headers["Content-Security-Policy"] = f"{_POLICY}form-action {targets}; frame-ancestors 'none'"
    for cookie in answer.cookies:
        if cookie.value:
            response.set_cookie(
                cookie.name, cookie.value, max_age=cookie.seconds or None, path=cookie.path, secure=service.urls.secure,
                httponly=True, samesite="lax",
            )  # fmt: skip
        else:
            response.delete_cookie(cookie.name, path=cookie.path, secure=service.urls.secure, httponly=True, samesite="lax")
    return response
