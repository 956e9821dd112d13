"""Passkeys (https://www.w3.org/TR/webauthn-2/): made and asked for by the browser, checked by the webauthn library.

Challenges are kept in the session's note and taken out by the first answer, right or wrong. The library takes a while to load, so that
is done when the first passkey is.
"""

import json
import logging
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from smart_auth.people.browser import origins
from smart_auth.service import Service
from smart_auth.tokens import digest
from smart_auth.users import Passkey, User
from smart_auth.web import WebRequest

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

_log = logging.getLogger(__name__)

MOST: Final = 10
"""Passkeys of one user."""
LONGEST: Final = 16_384
"""Characters of a browser's answer."""


def site(service: Service, request: WebRequest) -> tuple[str, str]:
    """The host that passkeys are bound to, and the origin that answers must come from: the issuer's, unless the browser knows this server
    by another of its names."""
    scheme, _, issuer = service.urls.issuer.partition("://")
    origin = f"{scheme}://{request.headers.get('host', '')}"
    if origin not in origins(service):
        origin = f"{scheme}://{issuer}"
    return urlsplit(origin).hostname or "", origin


def possible(service: Service, request: WebRequest) -> bool:
    """Whether browsers make passkeys for this server: not where it is known by a number instead of a name."""
    host, _ = site(service, request)
    return not (host.replace(".", "").isdigit() or ":" in host)


def new_challenge() -> str:
    """256 random bits, base64url."""
    return secrets.token_urlsafe(32)


def creation(service: Service, request: WebRequest, user: User, challenge: str) -> str:
    """What the browser needs for a new passkey (PublicKeyCredentialCreationOptions), as JSON."""
    from webauthn import generate_registration_options, options_to_json
    from webauthn.helpers.structs import AuthenticatorSelectionCriteria, ResidentKeyRequirement, UserVerificationRequirement

    selection = AuthenticatorSelectionCriteria(
        resident_key=ResidentKeyRequirement.DISCOURAGED, user_verification=UserVerificationRequirement.PREFERRED
    )
    options = generate_registration_options(
        rp_id=site(service, request)[0],
        rp_name=service.settings.sign_in_name,
        user_name=user.name,
        user_id=digest(user.name)[:32].encode(),
        user_display_name=user.shown,
        challenge=_bytes(challenge),
        authenticator_selection=selection,
        exclude_credentials=_known(user),
    )
    return options_to_json(options)


def created(service: Service, request: WebRequest, user: User, challenge: str, answer: str, label: str) -> User | None:
    """The user with the passkey that the browser made; None where the answer is not good."""
    from webauthn import verify_registration_response

    host, origin = site(service, request)
    try:
        done = verify_registration_response(
            credential=_read(answer), expected_challenge=_bytes(challenge), expected_rp_id=host, expected_origin=origin
        )
    except Exception as failure:
        _tell(failure)
        return None
    id = _text(done.credential_id)
    if any(each.id == id for each in user.passkeys) or len(user.passkeys) >= MOST:
        return None
    name = "".join(c for c in label.strip()[:50] if c.isprintable()) or f"Passkey {len(user.passkeys) + 1}"
    made = Passkey(id, _text(done.credential_public_key), done.sign_count, name, service.clock())
    return user.having(passkeys=(*user.passkeys, made))


def request_options(service: Service, request: WebRequest, user: User, challenge: str) -> str:
    """What the browser needs to use one of the user's passkeys (PublicKeyCredentialRequestOptions), as JSON."""
    from webauthn import generate_authentication_options, options_to_json

    options = generate_authentication_options(
        rp_id=site(service, request)[0], challenge=_bytes(challenge), allow_credentials=_known(user)
    )
    return options_to_json(options)


def used(service: Service, request: WebRequest, user: User, challenge: str, answer: str) -> User | None:
    """The user with the passkey's counter moved on, if one of the user's passkeys has signed this challenge; else None. A counter that
    does not grow is a copied passkey (7.2, number 21)."""
    from webauthn import verify_authentication_response
    from webauthn.helpers import parse_authentication_credential_json

    host, origin = site(service, request)
    try:
        credential = parse_authentication_credential_json(_read(answer))
        known = next(each for each in user.passkeys if each.id == _text(credential.raw_id))
        done = verify_authentication_response(
            credential=credential,
            expected_challenge=_bytes(challenge),
            expected_rp_id=host,
            expected_origin=origin,
            credential_public_key=_bytes(known.key),
            credential_current_sign_count=known.count,
        )
    except Exception as failure:
        _tell(failure)
        return None
    moved = Passkey(known.id, known.key, done.new_sign_count, known.label, known.added)
    return user.having(passkeys=tuple(moved if each is known else each for each in user.passkeys))


def _read(answer: str) -> dict[str, Any]:
    """The browser's answer as an object. Raises ValueError, RecursionError."""
    found = json.loads(answer) if len(answer) <= LONGEST else None
    if not isinstance(found, dict):
        raise ValueError("no object, or too long")
    return found


def _tell(failure: Exception) -> None:
    """Whatever the library stumbles over in a stranger's bytes, the passkey is not good; what it was is told to whoever debugs."""
    _log.debug("a passkey was not accepted: %s", type(failure).__name__)


def _known(user: User) -> "list[PublicKeyCredentialDescriptor]":
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

    return [PublicKeyCredentialDescriptor(id=_bytes(each.id)) for each in user.passkeys]


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
