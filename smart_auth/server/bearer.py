"""Whoever calls an endpoint of the authorization server with an access token (RFC 6750)."""

from typing import Final

from smart_auth.access import Access
from smart_auth.errors import OAuthError, sayable
from smart_auth.happenings import Happening
from smart_auth.service import Service
from smart_auth.web import WebRequest

REALM: Final = 'Bearer realm="oauth"'
_LONGEST: Final = 100
"""Characters of a path that a record of it repeats."""


def has_bearer(request: WebRequest) -> bool:
    """Whether the request comes with a bearer token, good or not."""
    return request.headers.get("authorization", "").partition(" ")[0].lower() == "bearer"


async def bearer(service: Service, request: WebRequest) -> Access:
    """What the access token of the Authorization header stands for. Raises OAuthError 401 invalid_token, which is recorded as the call of
    somebody unknown; StoreUnavailable."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip() if has_bearer(request) else ""
    access = await service.tokens.find(token) if token else None
    if access is not None:
        return access
    text, challenge = "an access token is needed: Authorization: Bearer TOKEN", REALM
    if token:
        text, challenge = "the access token is unknown, has expired or was revoked", f'{REALM}, error="invalid_token"'
    await request.stranger()
    await service.commit(happening=Happening("token", refused(request, text), "4", address=request.address))
    raise OAuthError("invalid_token", text, 401, {"WWW-Authenticate": challenge})


async def insufficient(service: Service, request: WebRequest, access: Access, description: str) -> OAuthError:
    """403, recorded: the token is good, but not for this. Raises StoreUnavailable."""
    about = (f"client/{access.client}",)
    text = refused(request, description)
    await service.commit(happening=Happening("token", text, "4", access.subject, access.client, request.address, about))
    return OAuthError("insufficient_scope", description, 403, {"WWW-Authenticate": f'{REALM}, error="insufficient_scope"'})


def refused(request: WebRequest, why: str) -> str:
    """That a call was refused, for the audit: where, and why."""
    return f"{sayable(request.method, 20)} {sayable(request.path, _LONGEST)} was refused: {why}"
