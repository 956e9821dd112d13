"""Refresh tokens (RFC 6749, 6), each good for one use: the answer brings the next one (RFC 9700, 2.2.2).

One that is used again is in two hands, so it ends everything that the authorization gave. A refresh token is good for all that was granted,
also where an access token was asked for with less.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from resources.store import Conflict, Record, RecordChange
from smart_auth.clients import find_client
from smart_auth.errors import OAuthError, invalid_client, invalid_grant, invalid_request, invalid_scope, sayable
from smart_auth.issuing.authorization import REFRESH, REUSE_NOTICED, find_authorization, revoke_authorization
from smart_auth.issuing.tokens import Refresh, issue_for, person_of, token_response
from smart_auth.narrowing import covered
from smart_auth.people.sessions import still_there
from smart_auth.scopes import MOST, Scopes, fault, parse_scopes
from smart_auth.server.client_authentication import Proof
from smart_auth.service import Service
from smart_auth.tokens import digest
from smart_auth.users import User
from smart_auth.web import WebResponse

_LONGEST = 128
_REFUSED: Final = "the refresh token is unknown, was used or revoked, has expired, or is another client's"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Refresh).decode


async def refresh(service: Service, proof: Proof, form: Mapping[str, str], address: str) -> WebResponse:
    """The answer to grant_type=refresh_token. Raises OAuthError, StoreUnavailable."""
    record = await _found(service, form)
    held = _decode(record.value)
    if held.client != proof.client.id:
        raise invalid_grant(_REFUSED)
    if held.used:
        raise await _reused(service, held, address)
    authorization = await find_authorization(service, held.grant)
    user = await person_of(service, authorization)
    if authorization is None or user is None or not await _still_signed_in(service, held, user):
        raise invalid_grant(_REFUSED)
    narrowed = _narrowed(form.get("scope", ""), parse_scopes(authorization.scopes))
    issued = issue_for(service, proof.client, user, authorization, narrowed=narrowed, address=address)
    if not issued.access.scopes:
        raise invalid_scope("nothing of what was granted is allowed any more")
    value = _encode(msgspec.structs.replace(held, used=True))
    until = min(record.expires, service.clock() + REUSE_NOTICED)
    spent = RecordChange(REFRESH, record.key, value, record.revision, record.tags, until)
    try:
        await service.commit(spent, *issued.changes, *proof.records, happening=issued.happening)
    except Conflict as lost:
        if lost.index > len(issued.changes):
            raise invalid_client("the client assertion was used before") from None
        raise await _reused(service, held, address) from None
    return token_response(service, issued)


async def holder(service: Service, form: Mapping[str, str]) -> Proof:
    """The public client that the refresh token was given to: such a client need not say who it is (RFC 6749, 6; fhirclient.js does not).

    Raises OAuthError where the token is unknown, or its client has to prove itself; StoreUnavailable."""
    held = _decode((await _found(service, form)).value)
    client = await find_client(service.store, held.client)
    if client is None or client.auth_method != "none":
        raise invalid_client("the client has to prove who it is")
    return Proof(client)


async def _found(service: Service, form: Mapping[str, str]) -> Record:
    plain = form.get("refresh_token", "")
    if not plain:
        raise invalid_request("refresh_token is missing")
    record = await service.store.record(REFRESH, digest(plain)) if len(plain) <= _LONGEST else None
    if record is None:
        raise invalid_grant(_REFUSED)
    return record


async def _reused(service: Service, held: Refresh, address: str) -> OAuthError:
    await revoke_authorization(service, held.grant, by=held.client, why="its refresh token was used twice", address=address)
    return invalid_grant(_REFUSED)


async def _still_signed_in(service: Service, held: Refresh, user: User) -> bool:
    """Whether the sign-in is still there with which the token ends (online_access)."""
    return not held.session or await still_there(service, held.session, user)


def _narrowed(asked: str, granted: Scopes) -> Scopes | None:
    """The scopes that are asked for; None for all that was granted. Raises OAuthError where they go beyond it."""
    if not asked.strip():
        return None
    if asked.count(" ") >= MOST:
        raise invalid_scope(f"scope has more than {MOST} parts")
    scopes = parse_scopes(asked)
    if not covered(scopes, granted):
        raise invalid_scope(f"{_beyond(scopes, granted)}; leave scope out for all that was granted")
    return scopes


def _beyond(scopes: Scopes, granted: Scopes) -> str:
    """The first part that was not granted, and that it was not."""
    if scopes.unknown:
        return f"{sayable(scopes.unknown[0], 80)}: {fault(scopes.unknown[0])}"
    words = [word for word in scopes.words if word not in granted.words]
    parts = [scope.text for scope in scopes.resources if not granted.cover(scope)]
    return f"{sayable((*words, *parts)[0], 80)}: the user has not granted it"
