"""What ties a form to the browser that it was sent to: cookies, tokens against forged requests (CSRF), the Origin of a request.

Before sign-in the token is a seal of the browser's own random cookie, after it a random text of the session. With https the cookies'
names begin with `__Host-`, so that no neighbouring host can set them.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from typing import Final
from urllib.parse import urlsplit

from smart_auth.errors import OAuthError
from smart_auth.service import Service
from smart_auth.web import Cookie, WebRequest

BROWSER: Final = "fhir-browser"
SESSION: Final = "fhir-session"
DEVICE: Final = "fhir-device"

_RANDOM = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def cookie_name(service: Service, name: str) -> str:
    """What the cookie is called on this server."""
    return f"__Host-{name}" if service.urls.secure else name


def cookie_of(service: Service, request: WebRequest, name: str) -> str:
    """What the browser sent, or ""."""
    return request.cookies.get(cookie_name(service, name), "")


def cookie(service: Service, name: str, value: str, seconds: int = 0) -> Cookie:
    """A cookie to set (or, with "", to take away)."""
    return Cookie(cookie_name(service, name), value, seconds)


def known_browser(service: Service, request: WebRequest) -> str:
    """The random value that this browser was given before, or ""."""
    value = cookie_of(service, request, BROWSER)
    return value if _RANDOM.fullmatch(value) else ""


def sealed_text(service: Service, text: str, use: str) -> str:
    """A text that only this server can have made of `text`, for one use."""
    return urlsafe_b64encode(service.sealer.seal(text.encode(), use)).decode().rstrip("=")


class Form:
    """The token that a form for a browser without a session carries, and the cookie that goes with it."""

    def __init__(self, service: Service, request: WebRequest) -> None:
        known = known_browser(service, request)
        value = known or secrets.token_urlsafe(32)
        self.csrf = sealed_text(service, value, "csrf")
        self.cookies = () if known else (cookie(service, BROWSER, value),)


def check_browser(service: Service, request: WebRequest) -> None:
    """Make sure that a form without a session was sent by the browser that it was made for. Raises OAuthError 403."""
    known = known_browser(service, request)
    check_form(service, request, sealed_text(service, known, "csrf") if known else "")


def check_form(service: Service, request: WebRequest, expected: str) -> None:
    """Make sure that the form carries this token ("": none is good) and comes from a page of this server. Raises OAuthError 403."""
    given = dict(request.form).get("csrf", "")
    same = hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
    if not (expected and same and from_here(service, request)):
        raise OAuthError(
            "forbidden", "This page is no longer current. Go back, load it again, and make sure that cookies are on.", 403
        )


def from_here(service: Service, request: WebRequest) -> bool:
    """Whether the browser, where it says so, says that a page of this server sent the request."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if origin is not None and origin not in origins(service):
        return False
    return site is None or site in ("same-origin", "none")


def origins(service: Service) -> frozenset[str]:
    """The origins of this server."""
    parts = [urlsplit(url) for url in (service.urls.issuer, *service.urls.bases)]
    return frozenset(f"{each.scheme}://{each.netloc}" for each in parts)
