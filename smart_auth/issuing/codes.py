"""Authorization codes (RFC 6749, 4.1; RFC 7636): given to the app's redirect URI, worth tokens once, within a minute.

A code is spent by whoever presents it, rightly or not, and is kept until its tokens are no more: used again, it ends them
(RFC 6749, 4.1.2).
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec

from resources.store import ABSENT, Conflict, RecordChange
from smart_auth.clients import Client
from smart_auth.errors import OAuthError, invalid_client, invalid_grant, invalid_request
from smart_auth.issuing.authorization import CODE, REUSE_NOTICED, Authorization, find_authorization, revoke_authorization
from smart_auth.issuing.authorization import KIND as AUTHORIZATION
from smart_auth.issuing.tokens import Issued, issue_for, person_of, token_response
from smart_auth.openid.id_token import claims_of, id_token
from smart_auth.scopes import parse_scopes
from smart_auth.server.client_authentication import Proof
from smart_auth.service import Service
from smart_auth.tokens import digest
from smart_auth.users import User
from smart_auth.web import WebResponse

LASTS: Final = 60_000_000
"""Microseconds within which a code has to be redeemed."""
VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}", re.ASCII)
CHALLENGE: Final = re.compile(r"[A-Za-z0-9\-_]{43}", re.ASCII)
"""An S256 challenge is 32 bytes in base64url (RFC 7636, 4.2)."""
_LONGEST = 128
_REFUSED = "the code is unknown, was used, has expired, or is not for this client, redirect_uri and code_verifier"


class Code(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a code is bound to. `until`: microseconds since the epoch."""

    grant: str
    client: str
    redirect_uri: str
    challenge: str
    until: int
    nonce: str = ""
    used: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Code).decode


def new_code(code: Code) -> tuple[str, RecordChange]:
    """A code to give out, and what has to be committed before."""
    plain = secrets.token_urlsafe(32)
    return plain, RecordChange(CODE, digest(plain), _encode(code), ABSENT, _tags(code), code.until)


async def redeem(service: Service, proof: Proof, form: Mapping[str, str], address: str) -> WebResponse:
    """The answer to grant_type=authorization_code. Raises OAuthError, StoreUnavailable."""
    plain, verifier = form.get("code", ""), form.get("code_verifier", "")
    if not plain:
        raise invalid_request("code is missing")
    record = await service.store.record(CODE, digest(plain)) if len(plain) <= _LONGEST else None
    if record is None:
        raise invalid_grant(_REFUSED)
    code = _decode(record.value)
    spent = RecordChange(CODE, record.key, _encode(msgspec.structs.replace(code, used=True)), record.revision, _tags(code))
    authorization = await find_authorization(service, code.grant)
    user = await person_of(service, authorization)
    if code.used or authorization is None or user is None or not _fits(service, code, proof.client, form, verifier):
        await _end(service, code, spent, proof.client, address)
        raise invalid_grant(_REFUSED)
    issued = issue_for(service, proof.client, user, authorization, address=address)
    told = await _told(service, proof.client, user, authorization, code)
    until = min(issued.authorization.expires, service.clock() + REUSE_NOTICED)
    spent = msgspec.structs.replace(spent, expires=until)
    try:
        await service.commit(spent, *issued.changes, *proof.records, happening=issued.happening)
    except Conflict as lost:
        raise await _lost(service, code, proof, lost, 1 + len(issued.changes), address) from None
    return token_response(service, issued, id_token=told)


def _tags(code: Code) -> tuple[str, ...]:
    return (f"grant:{code.grant}", f"client:{code.client}")


def _fits(service: Service, code: Code, client: Client, form: Mapping[str, str], verifier: str) -> bool:
    return (
        service.clock() < code.until
        and hmac.compare_digest(code.client.encode(), client.id.encode())
        and hmac.compare_digest(code.redirect_uri.encode(), form.get("redirect_uri", "").encode())
        and VERIFIER.fullmatch(verifier) is not None
        and hmac.compare_digest(code.challenge, challenge_of(verifier))
    )


def challenge_of(verifier: str) -> str:
    """The S256 code_challenge of a code_verifier (RFC 7636, 4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


async def _end(service: Service, code: Code, spent: RecordChange, client: Client, address: str) -> None:
    """Spend a code that was presented wrongly or again, with all that came of it."""
    if not code.used:
        ended = RecordChange(AUTHORIZATION, code.grant, None)
        try:
            await service.commit(msgspec.structs.replace(spent, expires=code.until), ended)
        except Conflict:  # it was redeemed at this moment
            await _revoke_used(service, code, client, address)
    else:
        await _revoke_used(service, code, client, address)


async def _revoke_used(service: Service, code: Code, client: Client, address: str) -> None:
    await revoke_authorization(service, code.grant, by=client.id, why="its code was used again", address=address)


async def _lost(service: Service, code: Code, proof: Proof, lost: Conflict, mine: int, address: str) -> OAuthError:
    """What to say where the commit was refused: the assertion was used, or else the code, by another request at the same moment."""
    if lost.index >= mine:
        return invalid_client("the client assertion was used before")
    await _revoke_used(service, code, proof.client, address)
    return invalid_grant(_REFUSED)


async def _told(service: Service, client: Client, user: User, authorization: Authorization, code: Code) -> str:
    """The id_token, "" where openid was not granted."""
    scopes = parse_scopes(authorization.scopes)
    if "openid" not in scopes.words:
        return ""
    claims = await claims_of(service, user, scopes)
    return await id_token(
        service, client, claims, nonce=code.nonce, auth_time=authorization.auth_time, methods=authorization.methods
    )


__all__ = ("CHALLENGE", "LASTS", "Code", "Issued", "challenge_of", "new_code", "redeem")
