"""Secrets that must be read again (private keys, the secrets of one-time passwords), encrypted before they are stored.

Whoever has the database but not FHIR_SECRET cannot read them. AES-SIV: safe without a nonce, and bound to what the secret belongs to.
"""

from hashlib import sha512

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV


class WrongSecret(Exception):
    """It was sealed with another FHIR_SECRET, or changed."""


class Sealer:
    """Seals and opens with one secret, the same on all servers that share a store."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESSIV(sha512(b"sealed records\x00" + secret).digest())

    def seal(self, plain: bytes, belongs_to: str) -> bytes:
        """The secret in a form that can be stored; it opens with the same `belongs_to` only (`user/anna/totp`)."""
        return self._cipher.encrypt(plain, [belongs_to.encode()])

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        """The secret again. Raises WrongSecret."""
        try:
            return self._cipher.decrypt(sealed, [belongs_to.encode()])
        except (InvalidTag, ValueError):
            raise WrongSecret(f"{belongs_to} was sealed with another FHIR_SECRET, or was changed") from None
