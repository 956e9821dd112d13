"""POST /oauth/introspect: what an access token stands for (RFC 7662; https://hl7.org/fhir/smart-app-launch/STU2.2/token-introspection.html).

For whoever has an access token of their own, or proves to be a client with a secret or key. Tokens of every client are told about: whoever
asks about one has it. What is no access token that is good now is answered with `{"active": false}`, and with nothing else.
"""

from dataclasses import replace
from typing import Any, Final

from smart_auth.access import Access
from smart_auth.errors import BASIC, OAuthError, invalid_client, invalid_request
from smart_auth.happenings import Happening
from smart_auth.openid.id_token import claims_of
from smart_auth.scopes import parse_scopes
from smart_auth.server.bearer import REALM, bearer, has_bearer
from smart_auth.server.client_authentication import authenticate
from smart_auth.server.token import form_of
from smart_auth.service import Service
from smart_auth.users import find_user
from smart_auth.web import WebRequest, WebResponse, as_json

_SECOND: Final = 1_000_000


async def introspect(service: Service, request: WebRequest) -> WebResponse:
    """200 with what the token stands for. Raises OAuthError, StoreUnavailable."""
    form = form_of(request)
    subject, client = await _caller(service, request, form)
    token = form.get("token", "")
    if not token:
        raise invalid_request("token is missing")
    access = await service.tokens.find(token)
    answer = {"active": False} if access is None else await _told(service, access)
    await service.commit(happening=_happening(access, subject, client, request.address))
    return as_json(answer)


async def _caller(service: Service, request: WebRequest, form: dict[str, str]) -> tuple[str, str]:
    """Who asks: user (or the client itself) and client."""
    if has_bearer(request):
        access = await bearer(service, request)
        return access.subject, access.client
    try:
        client = await authenticate(service, request, form)
        if client.auth_method == "none":
            raise invalid_client("this needs an access token, or a client with a secret or a key")
    except OAuthError as refusal:
        if refusal.status != 401:
            raise
        raise replace(
            refusal, headers={"WWW-Authenticate": f"{BASIC}, {REALM}"}
        ) from None  # an access token would do too (RFC 7662, 2.1)
    return client.id, client.id


def _happening(access: Access | None, subject: str, client: str, address: str) -> Happening:
    """That somebody asked about a token, and whose it is."""
    if access is None:
        return Happening("token", "introspection of what is no token that is good now", "4", subject, client, address)
    about = (f"client/{access.client}", *((f"user/{access.subject}",) if access.role else ()))
    text = f"introspection of a token of {access.client_name or access.client}"
    patient = f"Patient/{access.patient}" if access.patient else ""
    return Happening("token", text, "0", subject, client, address, about, patient)


async def _told(service: Service, access: Access) -> dict[str, Any]:
    told: dict[str, Any] = {
        "active": True,
        "token_type": "Bearer",
        "scope": access.scopes,
        "client_id": access.client,
        "iss": service.urls.issuer,
        "aud": service.urls.base,
        "sub": access.subject,
        "exp": access.expires // _SECOND,
        "iat": access.issued // _SECOND,
    }
    context = {name: value for name, value in (("patient", access.patient), ("encounter", access.encounter)) if value}
    return {**access.extra, **told, **context, **await _of_user(service, access)}


async def _of_user(service: Service, access: Access) -> dict[str, Any]:
    """Whom the token was granted by, as the id_token says it."""
    user = await find_user(service.store, access.subject) if access.role else None
    if user is None:
        return {}
    claims = await claims_of(service, user, parse_scopes(access.scopes))
    told = {"username": user.name, "sub": claims["sub"]}
    return told | ({"fhirUser": claims["fhirUser"]} if "fhirUser" in claims else {})
