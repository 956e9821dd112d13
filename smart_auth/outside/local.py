"""What is only there where people have passwords of this server."""

from smart_auth.errors import OAuthError
from smart_auth.service import Service
from smart_auth.web import Endpoint, WebRequest, WebResponse


def local(endpoint: Endpoint) -> Endpoint:
    """The endpoint, refused where people sign in at an outside provider only (FHIR_SIGN_IN=oidc)."""

    async def guarded(service: Service, request: WebRequest) -> WebResponse:
        if service.settings.sign_in == "oidc":
            raise OAuthError("access_denied", f"People sign in at {service.settings.oidc_name} here, not with a password.", 403)
        return await endpoint(service, request)

    return guarded
