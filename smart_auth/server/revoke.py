"""POST /oauth/revoke: a client gives back a token (RFC 7009).

The end of a refresh token is the end of all that the user has granted with it, its access tokens too; an access token ends alone.
"""

import msgspec

from resources.store import RecordChange
from smart_auth.access import Access
from smart_auth.clients import Client
from smart_auth.errors import OAuthError, invalid_request
from smart_auth.happenings import Happening
from smart_auth.issuing.authorization import REFRESH, revoke_authorization
from smart_auth.issuing.tokens import Refresh
from smart_auth.server.client_authentication import authenticate
from smart_auth.server.token import form_of
from smart_auth.service import Service
from smart_auth.tokens import KIND, digest
from smart_auth.web import NO_STORE, WebRequest, WebResponse

_LONGEST = 512
_read_refresh = msgspec.json.Decoder(Refresh).decode


async def revoke(service: Service, request: WebRequest) -> WebResponse:
    """200, for a token that there never was too; a hint of its type is not needed. Raises OAuthError, StoreUnavailable."""
    form = form_of(request)
    client = await authenticate(service, request, form)
    token = form.get("token", "")
    if not token:
        raise invalid_request("token is missing")
    if len(token) <= _LONGEST and not await _revoked_access(service, client, token, request.address):
        await _revoke_refresh(service, client, token, request.address)
    return WebResponse(200, b"", "application/json", NO_STORE)


async def _revoked_access(service: Service, client: Client, token: str, address: str) -> bool:
    """Whether it was an access token; it is none any more."""
    access = await service.tokens.find(token)
    if access is None:
        return False
    _check_own(client, access.client)
    happening = Happening(
        "revoke",
        f"{client.name} gave back an access token",
        subject=access.subject,
        client=client.id,
        address=address,
        about=(f"client/{client.id}",),
        patient=_patient(access),
    )
    await service.commit(RecordChange(KIND, digest(token), None), happening=happening)
    service.tokens.forget(digest(token))
    return True


async def _revoke_refresh(service: Service, client: Client, token: str, address: str) -> None:
    record = await service.store.record(REFRESH, digest(token))
    if record is None:
        return
    held = _read_refresh(record.value)
    _check_own(client, held.client)
    await revoke_authorization(service, held.grant, by=client.id, why=f"{client.name} gave back its refresh token", address=address)


def _patient(access: Access) -> str:
    return f"Patient/{access.patient}" if access.patient else ""


def _check_own(client: Client, owner: str) -> None:
    if owner != client.id:
        raise OAuthError("invalid_grant", "the token was issued to another client")
