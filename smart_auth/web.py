"""A request to the authorization server and its answer as plain values: the endpoints know no web framework (docs/architecture.md).

`fhir_server/signing_in.py` makes these of HTTP, within bounds on sizes, and sends the answers with the headers that hold for all pages.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from smart_auth.errors import invalid_request

if TYPE_CHECKING:
    from smart_auth.service import Service

Fields = tuple[tuple[str, str], ...]


async def uncounted() -> None:
    """Nothing is counted."""


@dataclass(frozen=True, slots=True)
class WebRequest:
    """`path` is decoded, without the root; `names` the parts of it that the route names. `query` and `form` are decoded (name, value)
    pairs in order, `headers` have lower-case names, `body` is the raw body. `address` is the caller's network address.
    `stranger` counts a call by nobody known, and is awaited before it is recorded; it raises where there were too many."""

    method: str
    path: str
    query: Fields = ()
    form: Fields = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    address: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    stranger: Callable[[], Awaitable[None]] = uncounted

    def single(self, *, of: Fields | None = None) -> dict[str, str]:
        """The fields of the form (POST) or the query (GET), by name. Raises OAuthError where one is repeated (RFC 6749, 3.1 and 3.2)."""
        pairs = of if of is not None else self.form if self.method == "POST" else self.query
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
            raise invalid_request(f"the parameter {''.join(c for c in twice[:32] if c.isalnum() or c in '_-')} is there twice")
        return found


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie to set (`value`) or to take away (""). Always HttpOnly and SameSite=Lax; Secure where the issuer is https."""

    name: str
    value: str
    seconds: int = 0
    path: str = "/"


@dataclass(frozen=True, slots=True)
class WebResponse:
    """An answer. `cors`: whether scripts of any origin may read it. `form_targets`: origins, besides our own, to which a form on the page
    may lead by redirects (Content-Security-Policy `form-action`)."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[Cookie, ...] = ()
    form_targets: tuple[str, ...] = ()


NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def as_json(value: object, status: int = 200, headers: Mapping[str, str] = NO_STORE) -> WebResponse:
    """A JSON answer; not to be kept by caches unless `headers` say otherwise."""
    return WebResponse(status, msgspec.json.encode(value), "application/json", headers)


def redirect(url: str, *cookies: Cookie) -> WebResponse:
    """303: the browser goes on with GET."""
    return WebResponse(303, headers={"Location": url, **NO_STORE}, cookies=cookies)


Endpoint = Callable[["Service", WebRequest], Awaitable[WebResponse]]
"""What answers at one address. Raises OAuthError (sent as JSON unless the row says otherwise), FhirError or StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class WebRoute:
    """One row of the table in `smart_auth/routes.py`. `path` is below the root and may name parts (`/oauth/clients/{id}`). `page`: for
    people in a browser, so an OAuthError becomes a page, not JSON; `fhir`: an OperationOutcome. `cors`: scripts of every origin may call it
    (cookies do not count)."""

    method: str
    path: str
    endpoint: Endpoint
    page: bool = False
    cors: bool = False
    fhir: bool = False
    most: int = 65_536
    """Bytes of a body."""
