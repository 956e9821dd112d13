"""Where apps sign in if not here: SMART's document names the endpoints of the issuer whose tokens count.

https://hl7.org/fhir/smart-app-launch/STU2.2/conformance.html
"""

from functools import partial
from typing import Any, Final

from smart_auth.outside.tokens import OutsideTokens
from smart_auth.service import Service
from smart_auth.web import WebRequest, WebResponse, WebRoute, as_json

_CACHED: Final = {"Cache-Control": "public, max-age=300"}
_TOLD: Final = (
    "issuer", "jwks_uri", "authorization_endpoint", "token_endpoint", "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported", "registration_endpoint", "scopes_supported", "response_types_supported",
    "grant_types_supported", "introspection_endpoint", "revocation_endpoint", "code_challenge_methods_supported", "capabilities",
    "management_endpoint",
)  # fmt: skip
"""Members of the issuer's own metadata that SMART's document has."""
_PERMISSIONS: Final = ("permission-patient", "permission-user", "permission-v1", "permission-v2")
_URIS: Final = (
    "authorization_endpoint",
    "token_endpoint",
    "introspection_endpoint",
    "revocation_endpoint",
    "registration_endpoint",
)


def routes(tokens: OutsideTokens) -> tuple[WebRoute, ...]:
    """All addresses that this server has for sign-in where another authorization server does it."""
    endpoint = partial(_smart_configuration, tokens)
    return (WebRoute("GET", "/fhir/.well-known/smart-configuration", endpoint, cors=True),)


async def oauth_uris(tokens: OutsideTokens) -> dict[str, str]:
    """The issuer's addresses for apps, by their names in its metadata. Raises IssuerUnavailable."""
    found = await tokens.issuer.metadata()
    return {name: found[name] for name in _URIS if isinstance(found.get(name), str)}


async def _smart_configuration(tokens: OutsideTokens, service: Service, request: WebRequest) -> WebResponse:
    """GET [base]/.well-known/smart-configuration. Raises IssuerUnavailable (503)."""
    found = await tokens.issuer.metadata()
    told: dict[str, Any] = {name: found[name] for name in _TOLD if name in found}
    return as_json({"capabilities": _PERMISSIONS} | told, headers=_CACHED)
