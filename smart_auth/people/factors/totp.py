"""One-time passwords by time (RFC 6238): six digits, 30 seconds, SHA-1, because that is what every authenticator app can do."""

import hmac
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import pyotp

from smart_auth.errors import OAuthError
from smart_auth.sealing import WrongSecret
from smart_auth.service import Service
from smart_auth.users import User

_log = logging.getLogger(__name__)

SECONDS: Final = 30
CHANGED: Final = (
    "Codes cannot be checked any more, because a secret of this server was changed. Use a recovery code or a passkey, or ask whoever runs"
    " the server to take your second factor away."
)
_WINDOW = 1
"""Slots before and after the current one that count, for clocks that differ."""


def new_secret() -> str:
    """160 random bits in base 32."""
    return pyotp.random_base32()


def with_secret(service: Service, user: User, secret: str, slot: int) -> User:
    """The user with this secret, of which the code of the slot is used up."""
    sealed = urlsafe_b64encode(service.sealer.seal(secret.encode(), _belongs(user))).decode()
    return user.having(totp=sealed, totp_last=slot)


def used(service: Service, user: User, code: str) -> User | None:
    """The user with the code used up, if it is right and neither it nor a later one was used before; else None. It counts once the user
    is stored. Raises OAuthError 503 where the secret was sealed with another FHIR_SECRET."""
    if not user.totp:
        return None
    try:
        secret = service.sealer.open(urlsafe_b64decode(user.totp), _belongs(user)).decode()
    except WrongSecret:
        _log.error(
            "a one-time password cannot be checked: it was set up under another FHIR_SECRET; see `fhir-server user mfa --remove`"
        )
        raise OAuthError("server_error", CHANGED, 503) from None
    slot = matching(service, secret, code, after=user.totp_last)
    return user.having(totp_last=slot) if slot else None


def matching(service: Service, secret: str, code: str, *, after: int = 0) -> int:
    """The slot above `after` whose code this is, or 0."""
    now, found = service.clock() // 1_000_000 // SECONDS, 0
    made = pyotp.TOTP(secret)
    for slot in range(now - _WINDOW, now + _WINDOW + 1):
        same = hmac.compare_digest(made.generate_otp(slot).encode(), code.encode("utf-8", "replace"))
        if same and slot > after:
            found = slot
    return found


def picture(service: Service, user: User, secret: str) -> str:
    """A QR code for authenticator apps, as an address of an image."""
    import segno

    return segno.make(_uri(service, user, secret), error="m").svg_data_uri(scale=5, border=4, light="#fff", dark="#000")


def _uri(service: Service, user: User, secret: str) -> str:
    return pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name=service.settings.sign_in_name.replace(":", " "))


def _belongs(user: User) -> str:
    return f"user/{user.name}/totp"
