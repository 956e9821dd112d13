"""POST /oauth/token (RFC 6749, 3.2): tokens for a code, for a refresh token, or for a backend service."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

from resources.store import Conflict
from smart_auth.errors import OAuthError, invalid_request
from smart_auth.happenings import Happening
from smart_auth.issuing.codes import redeem
from smart_auth.issuing.refreshing import holder, refresh
from smart_auth.server.backend import client_credentials
from smart_auth.server.client_authentication import Proof, prove
from smart_auth.service import Service
from smart_auth.web import WebRequest, WebResponse

Grant = Callable[[Service, Proof, Mapping[str, str], str], Awaitable[WebResponse]]

FORM: Final = "application/x-www-form-urlencoded"
GRANTS: Final[Mapping[str, Grant]] = MappingProxyType(
    {"authorization_code": redeem, "refresh_token": refresh, "client_credentials": client_credentials}
)
"""grant_type -> what answers."""
_WHO: Final = {"client_id", "client_secret", "client_assertion", "client_assertion_type"}
"""Parameters by which a client says who it is."""
_LONGEST = 8_192
"""Characters of a parameter; a client assertion and a long list of scopes are the longest."""


async def token(service: Service, request: WebRequest) -> WebResponse:
    """The token response. Raises OAuthError, StoreUnavailable."""
    form = form_of(request)
    kind = form.get("grant_type", "")
    if not kind:
        raise invalid_request("grant_type is missing")
    grant = GRANTS.get(kind)
    if grant is None:
        raise OAuthError("unsupported_grant_type", f"grant_type is one of {', '.join(GRANTS)}")
    proof = None
    try:
        says_who = "authorization" in request.headers or _WHO & {name for name, value in form.items() if value}
        proof = await prove(service, request, form) if says_who or grant is not refresh else await holder(service, form)
        if proof.client.type == "backend" and grant is not client_credentials:
            raise OAuthError("unauthorized_client", "this client may only ask for tokens of its own (client_credentials)")
        return await grant(service, proof, form, request.address)
    except OAuthError as refusal:
        if proof is not None:  # a client that is refused itself is recorded where it proves itself
            if proof.client.auth_method == "none":  # anybody can say to be it
                await request.stranger()
            await _refused(service, proof, f"tokens were refused ({kind}): {refusal.error}", request.address)
        raise


async def _refused(service: Service, proof: Proof, text: str, address: str) -> None:
    """Record the refusal, and use up the assertion that came with it: whoever saw it on its way has no use of it."""
    client = proof.client.id
    what = Happening("token", text, "4", client, client, address)
    try:
        await service.commit(*proof.records, happening=what)
    except Conflict:  # it was used already
        await service.commit(happening=what)


def form_of(request: WebRequest) -> dict[str, str]:
    """The parameters of a form, each there once; what stands in the URL does not count. Raises OAuthError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise invalid_request(f"send the parameters as {FORM}")
    form = request.single(of=request.form)
    if any(len(value) > _LONGEST for value in form.values()):
        raise invalid_request(f"a parameter is longer than {_LONGEST} characters")
    return form
