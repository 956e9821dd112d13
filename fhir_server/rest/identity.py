"""Who sends a request: the bearer token of its Authorization header (RFC 6750), looked up."""

from collections.abc import Mapping

from fhir_server.messages import Identity
from resources.outcomes import FhirError, error
from smart_auth.tokens import Tokens

REALM = 'Bearer realm="fhir"'


async def identify(tokens: Tokens, headers: Mapping[str, str], address: str) -> Identity:
    """The caller. Without an Authorization header `anonymous`.

    Raises FhirError 401 with WWW-Authenticate (RFC 6750, 3.1) for a token that is unknown, expired or revoked, or is none.
    """
    given = headers.get("authorization")
    if given is None:
        return Identity(address=address, anonymous=True)
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized("The Authorization header is none of this interface: send Authorization: Bearer and an access token")
    access = await tokens.find(token.strip())
    if access is None:
        raise unauthorized("The access token is unknown, has expired or was revoked: get a new one", "invalid_token")
    return Identity(access.subject, access.client, address, access)


def unauthorized(text: str, code: str = "") -> FhirError:
    """401. `code` is an error of RFC 6750; none where there was no token."""
    challenge = f'{REALM}, error="{code}"' if code else REALM
    return error(401, "login", text, **{"WWW-Authenticate": challenge})
