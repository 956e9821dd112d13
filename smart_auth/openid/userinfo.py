"""/oauth/userinfo by GET or POST (OpenID Connect Core 1.0, 5.3): who the user of an access token is."""

from smart_auth.access import Access
from smart_auth.errors import OAuthError
from smart_auth.happenings import Happening
from smart_auth.openid.id_token import claims_of
from smart_auth.scopes import parse_scopes
from smart_auth.server.bearer import REALM, bearer, insufficient
from smart_auth.service import Service
from smart_auth.users import find_user
from smart_auth.web import WebRequest, WebResponse, as_json


async def userinfo(service: Service, request: WebRequest) -> WebResponse:
    """200 with `sub`, and with what else the token's scopes allow. Raises OAuthError 401, 403 (RFC 6750, 3.1), StoreUnavailable."""
    access = await bearer(service, request)
    scopes = parse_scopes(access.scopes)
    if "openid" not in scopes.words:
        raise await insufficient(service, request, access, "the access token was granted without openid")
    user = await find_user(service.store, access.subject)
    if user is None or user.disabled:
        challenge = {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
        raise OAuthError("invalid_token", "there is no such user any more", 401, challenge)
    claims = await claims_of(service, user, scopes)
    await service.commit(happening=_happening(access, request.address))
    return as_json(claims)


def _happening(access: Access, address: str) -> Happening:
    about = (f"user/{access.subject}", f"client/{access.client}")
    text = f"{access.client_name or access.client} was told who its user is"
    return Happening("token", text, subject=access.subject, client=access.client, address=address, about=about)
