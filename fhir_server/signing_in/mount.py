"""HTTP for the endpoints of `smart_auth`: requests become plain values, within bounds, and answers HTTP again."""

import logging
from collections.abc import Mapping
from http.cookies import SimpleCookie
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fhir_server.context import Context
from fhir_server.protection.addresses import Addresses
from fhir_server.rest.bodies import read_body
from fhir_server.rest.errors import as_fhir_error
from resources.outcomes import FhirError
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
            answer = await row.endpoint(service, await _asked(request, row, address))
        except OAuthError as refusal:
            answer = error_page(service, refusal) if row.page else _refused(refusal)
        except FhirError as refusal:
            answer = _failed(refusal, service, row)
        except Exception as failure:
            answer = _failed(as_fhir_error(failure, row.path, request.headers.get("x-request-id", "")[:64]), service, row)
        return _sent(answer, service, row)

    return Route(row.path, endpoint, methods=[row.method])


def _failed(failure: FhirError, service: Service, row: WebRoute) -> WebResponse:
    """What is no error of OAuth's: the store is down, the body is too long, or worse."""
    name = (
        "temporarily_unavailable"
        if failure.status in (429, 503, 507)
        else "server_error"
        if failure.status >= 500
        else "invalid_request"
    )
    refusal = OAuthError(name, failure.issues[0].text, failure.status, failure.headers)
    return error_page(service, refusal) if row.page else _refused(refusal)


def _refused(refusal: OAuthError) -> WebResponse:
    return as_json(
        {"error": refusal.error, "error_description": refusal.description}, refusal.status, {**NO_STORE, **refusal.headers}
    )


async def _asked(request: Request, row: WebRoute, address: str) -> WebRequest:
    headers = {name: value for name, value in request.headers.items()}
    body = await read_body(request.receive, headers, row.most) if row.method != "GET" else b""
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
    )


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


def _sent(answer: WebResponse, service: Service, row: WebRoute) -> Response:
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
