"""What the CapabilityStatement says of sign-in: rest.security with the addresses of SMART App Launch 1.0
(https://hl7.org/fhir/smart-app-launch/1.0.0/conformance/#declaring-support-for-oauth2-endpoints)."""

from typing import Any

from smart_auth.openid.discovery import oauth_uris
from smart_auth.settings import SignInSettings

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


def rest_security(issuer: str, settings: SignInSettings) -> dict[str, Any]:
    """CapabilityStatement.rest.security; the addresses are those of the document smart-configuration."""
    uris = oauth_uris(issuer, settings)
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
