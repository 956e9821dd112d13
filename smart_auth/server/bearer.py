"""Whoever calls an endpoint of the authorization server with an access token (RFC 6750)."""

from typing import Final

from smart_auth.access import Access
from smart_auth.errors import OAuthError
from smart_auth.service import Service
from smart_auth.web import WebRequest

REALM: Final = 'Bearer realm="oauth"'


def has_bearer(request: WebRequest) -> bool:
    """Whether the request comes with a bearer token, good or not."""
    return request.headers.get("authorization", "").partition(" ")[0].lower() == "bearer"


async def bearer(service: Service, request: WebRequest) -> Access:
    """What the access token of the Authorization header stands for. Raises OAuthError 401 invalid_token, StoreUnavailable."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip() if has_bearer(request) else ""
    if not token:
        raise OAuthError(
            "invalid_token", "an access token is needed: Authorization: Bearer TOKEN", 401, {"WWW-Authenticate": REALM}
        )
    access = await service.tokens.find(token)
    if access is None:
        challenge = {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
        raise OAuthError("invalid_token", "the access token is unknown, has expired or was revoked", 401, challenge)
    return access


def insufficient(description: str) -> OAuthError:
    """403: the token is good, but not for this."""
    return OAuthError("insufficient_scope", description, 403, {"WWW-Authenticate": f'{REALM}, error="insufficient_scope"'})
