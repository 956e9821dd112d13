"""/oauth/userinfo by GET or POST (OpenID Connect Core 1.0, 5.3): who the user of an access token is."""

from smart_auth.access import Access
from smart_auth.errors import OAuthError
from smart_auth.openid.id_token import claims_of
from smart_auth.scopes import parse_scopes
from smart_auth.service import Service
from smart_auth.users import find_user
from smart_auth.web import WebRequest, WebResponse, as_json

_REALM = 'Bearer realm="oauth"'


async def userinfo(service: Service, request: WebRequest) -> WebResponse:
    """200 with `sub`, and with what else the token's scopes allow. Raises OAuthError 401, 403 (RFC 6750, 3.1), StoreUnavailable."""
    access = await _access(service, request)
    scopes = parse_scopes(access.scopes)
    if "openid" not in scopes.words:
        challenge = {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="openid"'}
        raise OAuthError("insufficient_scope", "the access token was granted without openid", 403, challenge)
    user = await find_user(service.store, access.subject)
    if user is None or user.disabled:
        raise _invalid("there is no such user any more")
    return as_json(await claims_of(service, user, scopes))


async def _access(service: Service, request: WebRequest) -> Access:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise OAuthError("invalid_request", "send Authorization: Bearer and an access token", 401, {"WWW-Authenticate": _REALM})
    access = await service.tokens.find(token.strip())
    if access is None:
        raise _invalid("the access token is unknown, has expired or was revoked")
    return access


def _invalid(text: str) -> OAuthError:
    return OAuthError("invalid_token", text, 401, {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'})
