"""Requests to an issuer that the operator trusts: bounded in time and size, without redirects. No stranger chooses the URL."""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from resources.store import StoreUnavailable
from smart_auth.client_keys.jwks_uri import loopback

_log = logging.getLogger("fhir_server")

SECONDS = 5.0
"""A request takes no longer, from the look-up of the name to the last byte."""
LARGEST = 262_144
"""Bytes of an answer."""


class IssuerUnavailable(StoreUnavailable):
    """The issuer, or what it publishes, cannot be had now: 503. Nobody is let in meanwhile."""

    def __init__(self) -> None:
        super().__init__("The server that says who somebody is cannot be reached or asked now; try again shortly")


def unavailable(why: str) -> IssuerUnavailable:
    """What to raise. The reason goes to the log of whoever runs this server: strangers need not know of our neighbours."""
    _log.error("an issuer cannot be used: %s", why)
    return IssuerUnavailable()


class Refused(Exception):
    """The issuer has answered a request with an error. `error` is its code (RFC 6749, 5.2), "" where it says none."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(f"{status} {error}".rstrip())
        self.status, self.error = status, error


def check_url(url: str, what: str) -> None:
    """Make sure that it is https, or http on this machine. Raises ValueError with a sentence."""
    parts = urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and loopback(parts.hostname or ""))
    if not (safe and parts.hostname and parts.username is None and not parts.fragment and url.isascii() and url.isprintable()):
        raise ValueError(f"{what} must be a URL that begins with https:// (or http:// on this machine)")


async def fetched(
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    bearer: str = "",
) -> tuple[bytes, str]:
    """The body of a GET (or, with `form`, of a POST), and its Cache-Control. Raises IssuerUnavailable; Refused for a status of 4xx."""
    host = urlsplit(url).hostname
    headers = {"Accept": "application/json", **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
    try:
        async with (
            asyncio.timeout(SECONDS),
            httpx.AsyncClient(verify=_certificates(), follow_redirects=False, trust_env=False, timeout=SECONDS) as client,
            client.stream("GET" if form is None else "POST", url, data=form, auth=auth, headers=headers) as answer,
        ):
            body = bytearray()
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > LARGEST:
                    raise unavailable(f"{host} answers more than {LARGEST} bytes")
    except (TimeoutError, httpx.TimeoutException):  # both have the same limit: either may be first
        raise unavailable(f"{host} did not answer within {SECONDS:.0f} seconds") from None
    except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as failure:
        raise unavailable(f"{host} cannot be reached: {type(failure).__name__}") from None
    if 400 <= answer.status_code < 500:
        raise Refused(answer.status_code, _error(bytes(body)))
    if answer.status_code != 200:
        raise unavailable(f"{host} answers {answer.status_code}")
    return bytes(body), answer.headers.get("cache-control", "")


def read_object(body: bytes, url: str) -> dict[str, Any]:
    """The JSON object that a body is. Raises IssuerUnavailable."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise unavailable(f"{urlsplit(url).hostname} answers something that is no JSON object")
    return found


def _error(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    error = found.get("error", "") if isinstance(found, dict) else ""
    return error if isinstance(error, str) and len(error) <= 64 and error.isascii() and error.isprintable() else ""


@cache
def _certificates() -> ssl.SSLContext:
    return ssl.create_default_context()
