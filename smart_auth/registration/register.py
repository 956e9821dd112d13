"""POST /oauth/register: dynamic client registration (RFC 7591), as far as FHIR_REGISTRATION allows.

Whoever registers gets an app, which users have to allow like any other. A service that acts for itself (client_credentials, system/
scopes) is only registered with the operator's token (`fhir-server token --scope 'system/*.cruds'`): an access token of a user, whoever it
is, is in the hands of an app, and no app makes itself more than users allow it.
"""

from typing import Any, Final

import msgspec

from resources.store import Conflict
from smart_auth.access import OPERATOR, Access
from smart_auth.clients import Client, ClientType, kept, new_id, new_secret, opened_in, told
from smart_auth.errors import OAuthError
from smart_auth.happenings import Happening
from smart_auth.registration.metadata import GRANTS, Metadata, method_of, read_metadata, unfit
from smart_auth.scopes import MOST, Scopes, parse_scopes
from smart_auth.server.bearer import bearer, has_bearer, insufficient
from smart_auth.service import Service
from smart_auth.web import WebRequest, WebResponse, as_json

DEFAULT_SCOPE: Final = (
    "openid fhirUser profile launch launch/patient launch/encounter offline_access online_access patient/*.cruds user/*.cruds"
)
"""What an app may ask for that does not say; what it gets is for the user to say, and at most what the user's role allows."""
MOST_AN_HOUR: Final = 100
"""Clients that anybody may register, all together."""
_SECOND: Final = 1_000_000
_HOUR: Final = 3_600 * _SECOND
_ECHOED_ELSEWHERE: Final = frozenset(("jwks", "redirect_uris", "jwks_uri", "scope", "token_endpoint_auth_method", "client_name"))


async def register(service: Service, request: WebRequest) -> WebResponse:
    """201 with what was registered, and the secret, once. Raises OAuthError, StoreUnavailable."""
    operator = await _allowed(service, request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise unfit("send the metadata as application/json")
    read = read_metadata(request.body, allowed=service.remote_keys.allowed)
    type, scopes = _type(read), _scopes(service, read)
    if operator is None and (type == "backend" or any(scope.level == "system" for scope in scopes.resources)):
        raise unfit("services with system/ scopes are registered by the operator of this server")
    _check_fit(type, read, scopes)
    client, secret = _client(service, read, type, scopes)
    if operator is None:
        client = msgspec.structs.replace(client, opened=service.clock() // _HOUR)
    by = operator.subject if operator is not None else "anybody"
    happening = told(f"the client {client.name} registered itself", client, by, request.address)
    await (_keep_anybodys(service, client, happening) if operator is None else service.commit(kept(client), happening=happening))
    return as_json(_answer(client, secret), 201)


async def _allowed(service: Service, request: WebRequest) -> Access | None:
    """The operator's token that the request comes with, None where it comes without one and needs none. Raises OAuthError."""
    how = service.settings.registration
    if how == "closed":
        raise OAuthError("access_denied", "clients are added by the operator of this server: fhir-server client add", 403)
    if how == "open" and not has_bearer(request):
        return None
    access = await bearer(service, request)
    if (access.client, access.subject, access.role) != (OPERATOR, OPERATOR, "") or "system/*.cruds" not in access.scopes.split():
        text = "clients are registered with the token that fhir-server token --scope system/*.cruds prints"
        raise await insufficient(service, request, access, text)
    return access


async def _keep_anybodys(service: Service, client: Client, happening: Happening) -> None:
    """Keep a client that nobody answers for. Raises OAuthError 429 where too many were registered in its hour."""
    try:
        if await service.commit_within(MOST_AN_HOUR, opened_in(client.opened), kept(client), happening):
            return
        seconds = 3_600 - service.clock() // _SECOND % 3_600
    except Conflict:
        seconds = 1
    raise OAuthError("temporarily_unavailable", "too many clients were registered; try later", 429, {"Retry-After": str(seconds)})


def _type(read: Metadata) -> ClientType:
    method = method_of(read)
    if "client_credentials" in read.grant_types:
        if method != "private_key_jwt" or read.grant_types != ["client_credentials"]:
            raise unfit("client_credentials needs private_key_jwt, and excludes other grant_types")
        return "backend"
    if set(read.grant_types) - set(GRANTS) or (read.grant_types and "authorization_code" not in read.grant_types):
        raise unfit(f"grant_types are {' and '.join(GRANTS)}, or client_credentials alone")
    return "public" if method == "none" else "confidential"


def _scopes(service: Service, read: Metadata) -> Scopes:
    if read.scope.count(" ") >= MOST:
        raise unfit(f"scope has more than {MOST} parts")
    scopes = parse_scopes(read.scope or DEFAULT_SCOPE)
    types = service.directory.types()
    known = [scope for scope in scopes.resources if scope.type == "*" or scope.type in types]
    return Scopes(tuple(known), scopes.words)


def _check_fit(type: ClientType, read: Metadata, scopes: Scopes) -> None:
    if not scopes.text:
        raise unfit("scope names nothing that there is here")
    if any((scope.level == "system") != (type == "backend") for scope in scopes.resources):
        raise unfit("an app has patient/ and user/ scopes, a service with client_credentials has system/ scopes")
    if type == "backend" and (scopes.words or not scopes.resources):
        raise unfit("a service with client_credentials has system/ scopes only")
    if type != "backend" and not read.redirect_uris:
        raise OAuthError("invalid_redirect_uri", "redirect_uris is missing: where the user comes back to")
    if type == "backend" and (read.redirect_uris or read.initiate_login_uri):
        raise unfit("a service with client_credentials has no redirect_uris")
    if not read.client_name:
        raise unfit("client_name is missing: what users are shown")
    if any(word.partition("?")[0] == "smart/orchestrate_launch" for word in scopes.words):
        raise unfit("smart/orchestrate_launch is given by the operator of this server only")


def _client(service: Service, read: Metadata, type: ClientType, scopes: Scopes) -> tuple[Client, str]:
    method = method_of(read)
    secret, hashed = new_secret() if method in ("client_secret_basic", "client_secret_post") else ("", None)
    others = {name: value for name, value in msgspec.to_builtins(read).items() if name not in _ECHOED_ELSEWHERE}
    client = Client(
        id=new_id(),
        name=read.client_name.strip(),
        type=type,
        scopes=scopes.text,
        auth_method=method,
        redirect_uris=tuple(dict.fromkeys(read.redirect_uris)),
        launch_uri=read.initiate_login_uri,
        secrets=() if hashed is None else (hashed,),
        jwks=read.jwks,
        jwks_uri=read.jwks_uri,
        created=service.clock(),
        registered=others,
    )
    return client, secret


def _answer(client: Client, secret: str) -> dict[str, Any]:
    """RFC 7591, 3.2.1: what was registered, whatever was asked for."""
    backend = client.type == "backend"
    answer: dict[str, Any] = {
        **client.registered,
        "client_id": client.id,
        "client_id_issued_at": client.created // _SECOND,
        "client_name": client.name,
        "scope": client.scopes,
        "token_endpoint_auth_method": client.auth_method,
        "grant_types": client.registered.get("grant_types") or (["client_credentials"] if backend else list(GRANTS)),
    }
    if not backend:
        answer |= {"redirect_uris": client.redirect_uris, "response_types": ["code"]}
    if secret:
        answer |= {"client_secret": secret, "client_secret_expires_at": 0}
    if client.jwks is not None:
        answer["jwks"] = client.jwks
    if client.jwks_uri:
        answer["jwks_uri"] = client.jwks_uri
    return answer
