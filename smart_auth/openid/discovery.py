"""The documents by which apps find everything: SMART's, OpenID Connect's (Discovery 1.0, 3) and OAuth's (RFC 8414).

https://hl7.org/fhir/smart-app-launch/STU2.2/conformance.html
"""

from typing import Any, Final

from smart_auth.app_state import endpoints as app_state
from smart_auth.brands import endpoint as brands
from smart_auth.keys import ALGORITHMS, public_keys
from smart_auth.service import Service
from smart_auth.settings import SignInSettings
from smart_auth.web import WebRequest, WebResponse, as_json

_CACHED: Final = {"Cache-Control": "public, max-age=300"}

CAPABILITIES: Final = (
    "launch-ehr",
    "launch-standalone",
    "authorize-post",
    "client-public",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-style",
    "context-ehr-patient",
    "context-ehr-encounter",
    "context-standalone-patient",
    "context-standalone-encounter",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
)
SCOPES: Final = (
    "openid", "fhirUser", "profile", "launch", "launch/patient", "launch/encounter", "offline_access", "online_access", "patient/*.cruds",
    "patient/*.rs", "patient/*.read", "patient/*.write", "user/*.cruds", "user/*.rs", "user/*.read", "user/*.write", "system/*.cruds",
    "system/*.rs", "system/*.read",
)  # fmt: skip
GRANT_TYPES: Final = ("authorization_code", "refresh_token", "client_credentials")
ASSERTED: Final = ("RS384", "ES384")
"""What client assertions may be signed with."""
ENDPOINTS: Final = {
    "authorization_endpoint": "/oauth/authorize",
    "token_endpoint": "/oauth/token",
    "jwks_uri": "/oauth/jwks",
    "introspection_endpoint": "/oauth/introspect",
    "revocation_endpoint": "/oauth/revoke",
    "management_endpoint": "/account",
}


def oauth_uris(issuer: str, settings: SignInSettings) -> dict[str, str]:
    """The addresses of what this server has for apps, by their names in SMART's document; the CapabilityStatement says the same."""
    registration = {} if settings.registration == "closed" else {"registration_endpoint": "/oauth/register"}
    return {name: f"{issuer}{path}" for name, path in (ENDPOINTS | registration).items()}


def _metadata(service: Service) -> dict[str, Any]:
    """What all three documents say."""
    return {
        "issuer": service.urls.issuer,
        **oauth_uris(service.urls.issuer, service.settings),
        "scopes_supported": SCOPES,
        "response_types_supported": ("code",),
        "response_modes_supported": ("query",),
        "grant_types_supported": GRANT_TYPES,
        "code_challenge_methods_supported": ("S256",),
        "token_endpoint_auth_methods_supported": ("client_secret_basic", "client_secret_post", "private_key_jwt", "none"),
        "token_endpoint_auth_signing_alg_values_supported": ASSERTED,
        "authorization_response_iss_parameter_supported": True,
    }


async def smart_configuration(service: Service, request: WebRequest) -> WebResponse:
    """GET [base]/.well-known/smart-configuration: JSON, whatever Accept says."""
    optional = {**app_state.advertised(service.urls.issuer), **brands.advertised(service.urls, service.settings)}
    return as_json({**_metadata(service), "capabilities": CAPABILITIES, **optional}, headers=_CACHED)


async def authorization_server(service: Service, request: WebRequest) -> WebResponse:
    """GET /.well-known/oauth-authorization-server (RFC 8414)."""
    return as_json(_metadata(service), headers=_CACHED)


async def openid_configuration(service: Service, request: WebRequest) -> WebResponse:
    """GET /.well-known/openid-configuration."""
    return as_json(
        {
            **_metadata(service),
            "userinfo_endpoint": f"{service.urls.issuer}/oauth/userinfo",
            "subject_types_supported": ("public",),
            "id_token_signing_alg_values_supported": ALGORITHMS,
            "claims_supported": (
                "iss", "sub", "aud", "exp", "iat", "nonce", "auth_time", "amr", "fhirUser", "profile", "name",
            ),
            "prompt_values_supported": ("none", "login", "consent", "select_account"),
            "claims_parameter_supported": False,
            "request_parameter_supported": False,
            "request_uri_parameter_supported": False,
        },
        headers=_CACHED,
    )  # fmt: skip


async def jwks(service: Service, request: WebRequest) -> WebResponse:
    """GET /oauth/jwks: the public keys that id_tokens are signed with (RFC 7517). Raises StoreUnavailable."""
    return as_json({"keys": await public_keys(service)}, headers=_CACHED)
