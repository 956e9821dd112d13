"""The id_token (https://openid.net/specs/openid-connect-core-1_0.html#IDToken) with SMART's `fhirUser`, and the claims of userinfo."""

from collections.abc import Mapping
from typing import Any, cast

from smart_auth.clients import Client
from smart_auth.keys import ALGORITHMS, Algorithm, sign
from smart_auth.openid.subjects import subject_of
from smart_auth.scopes import Scopes
from smart_auth.service import Service
from smart_auth.users import User

_SECOND = 1_000_000


def algorithm_of(client: Client) -> Algorithm:
    """What the client's id_tokens are signed with: what it registered, else RS256 (OpenID Connect Registration 1.0, 2)."""
    asked = client.registered.get("id_token_signed_response_alg")
    return cast(Algorithm, asked) if asked in ALGORITHMS else "RS256"


async def claims_of(service: Service, user: User, scopes: Scopes) -> dict[str, Any]:
    """What an app with these scopes may know of the user: `sub`, with fhirUser or profile whom the user is as an absolute URL, with profile
    the name. Raises StoreUnavailable."""
    claims: dict[str, Any] = {"sub": await subject_of(service, user.name)}
    url = fhir_user_url(service, user)
    if url and "fhirUser" in scopes.words:
        claims["fhirUser"] = url
    if "profile" in scopes.words:
        claims["name"] = user.shown
        if url:
            claims["profile"] = url  # what SMART App Launch 1.0 called it
    return claims


def fhir_user_url(service: Service, user: User) -> str:
    """The URL of the user's Patient, Practitioner, RelatedPerson or Person; "" for none."""
    return f"{service.urls.base}/{user.fhir_user}" if user.fhir_user else ""


async def id_token(
    service: Service, client: Client, claims: Mapping[str, Any], *, nonce: str, auth_time: int, methods: tuple[str, ...]
) -> str:
    """A signed token that tells `client` who has signed in. `auth_time` is in microseconds. Raises StoreUnavailable, WrongSecret."""
    now = service.clock() // _SECOND
    told = {
        "iss": service.urls.issuer,
        "aud": client.id,
        "iat": now,
        "exp": now + service.settings.token_ttl,
        "auth_time": auth_time // _SECOND,
        "amr": list(methods),
        **claims,
    }
    if nonce:
        told["nonce"] = nonce
    return await sign(service, told, algorithm_of(client))
