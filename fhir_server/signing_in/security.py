"""What the CapabilityStatement says of sign-in: rest.security with the addresses of SMART App Launch 1.0
(https://hl7.org/fhir/smart-app-launch/1.0.0/conformance/#declaring-support-for-oauth2-endpoints)."""

import logging
from typing import Any

from fhir_server.context import Context
from smart_auth.openid.discovery import oauth_uris
from smart_auth.outside.discovery import oauth_uris as outside_uris
from smart_auth.outside.fetching import IssuerUnavailable
from smart_auth.outside.tokens import OutsideTokens

_log = logging.getLogger("fhir_server")

_EXTENSION = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
_NAMES = {
    "authorization_endpoint": "authorize",
    "token_endpoint": "token",
    "introspection_endpoint": "introspect",
    "revocation_endpoint": "revoke",
    "registration_endpoint": "register",
    "management_endpoint": "manage",
}
"""A name in the document smart-configuration -> the same in the extension."""


async def rest_security(ctx: Context) -> dict[str, Any]:
    """CapabilityStatement.rest.security; the addresses are those of the document smart-configuration. Where another authorization server's
    tokens count, and it cannot be reached, there are none."""
    uris = await _uris(ctx)
    inner = [{"url": short, "valueUri": uris[name]} for name, short in _NAMES.items() if name in uris]
    return {
        "extension": [{"url": _EXTENSION, "extension": inner}],
        "cors": True,
        "service": [
            {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                        "code": "SMART-on-FHIR",
                        "display": "SMART-on-FHIR",
                    }
                ],
                "text": "OAuth 2.0 with SMART App Launch 2.2 and 1.0, and with SMART Backend Services",
            }
        ],
    }


async def _uris(ctx: Context) -> dict[str, str]:
    if not isinstance(ctx.tokens, OutsideTokens):
        return oauth_uris(ctx.settings.base.removesuffix("/fhir"), ctx.settings)
    try:
        return await outside_uris(ctx.tokens)
    except IssuerUnavailable as failure:
        _log.warning("the CapabilityStatement names no addresses for sign-in: %s", failure)
        return {}
