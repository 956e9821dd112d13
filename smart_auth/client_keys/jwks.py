"""JWK Sets of clients (RFC 7517): which are taken, and which key an assertion is to be checked with.

SMART asks for RS384 and ES384 (https://hl7.org/fhir/smart-app-launch/STU2.2/client-confidential-asymmetric.html#registering-a-client).
"""

from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from joserfc import jwk
from joserfc.errors import JoseError

Jwk = dict[str, Any]
Algorithms = Mapping[str, tuple[str, str | None]]
"""Algorithm of a signature -> type and curve of its key."""

ALGORITHMS: Final[Algorithms] = {"RS384": ("RSA", None), "ES384": ("EC", "P-384")}
"""Those of an assertion."""

LARGEST = 65_536
"""Bytes of a JWK Set."""
MOST_KEYS = 50
LONGEST_KID = 256
SMALLEST_RSA, LARGEST_RSA = 2_048, 8_192
"""Bits. Larger keys make a check slow."""

_CURVES = ("P-256", "P-384")
_SECRET = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


class UnusableKeys(ValueError):
    """Why a JWK Set is not taken; one sentence for whoever registers it."""


def read_jwks(document: bytes) -> list[Jwk]:
    """The keys of a JWK Set, every one of them usable. For what is registered. Raises UnusableKeys."""
    keys = _keys(document)
    for number, key in enumerate(keys):
        problem = _problem(key)
        if problem:
            raise UnusableKeys(f"key {number} of the JWK Set {problem}")
    names = [(key["kty"], key["kid"]) for key in keys if "kid" in key]
    if len(set(names)) < len(names):
        raise UnusableKeys("two keys of the JWK Set have the same kid and kty")
    if not keys:
        raise UnusableKeys("the JWK Set has no key")
    return keys


def read_published(document: bytes) -> list[Jwk]:
    """The usable keys of a JWK Set that a client publishes, where others may stand beside them. Raises UnusableKeys for a set with a
    private or symmetric key: whoever publishes one has lost it."""
    return [key for key in _keys(document) if not _problem(key)]


def fitting(keys: list[Jwk], algorithm: str, kid: str | None, known: Algorithms = ALGORITHMS) -> Jwk | None:
    """The one key that a signature by `algorithm` (one of those `known`), said to be by `kid`, is checked with; None where there is none
    or more than one."""
    kty, curve = known[algorithm]
    found = [
        key
        for key in keys
        if key["kty"] == kty
        and (curve is None or key["crv"] == curve)
        and key.get("alg", algorithm) == algorithm
        and (kid is None or key.get("kid") == kid)
    ]
    return found[0] if len(found) == 1 else None


def material(key: Jwk) -> Jwk:
    """The public key alone, without what the set says of its use."""
    return {name: key[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in key}


def _keys(document: bytes) -> list[Jwk]:
    if len(document) > LARGEST:
        raise UnusableKeys(f"the JWK Set is larger than {LARGEST} bytes")
    try:
        read = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError):
        raise UnusableKeys("the JWK Set is no JSON") from None
    keys = read.get("keys") if isinstance(read, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise UnusableKeys("a JWK Set is a JSON object with a list of objects, keys")
    if len(keys) > MOST_KEYS:
        raise UnusableKeys(f"the JWK Set has more than {MOST_KEYS} keys")
    for number, key in enumerate(keys):
        if key.get("kty") == "oct" or any(name in key for name in _SECRET):
            raise UnusableKeys(f"key {number} of the JWK Set is secret: only public keys of RSA and EC are registered")
    return keys


def _problem(key: Jwk) -> str:
    """Why a key cannot be used ("" if it can)."""
    if key.get("kty") not in ("RSA", "EC"):
        return "is of a type other than RSA and EC"
    if key["kty"] == "EC" and key.get("crv") not in _CURVES:
        return "is on a curve other than P-256 and P-384"
    if not isinstance(key.get("kid", ""), str) or len(key.get("kid", "")) > LONGEST_KID:
        return f"has a kid that is no text of at most {LONGEST_KID} characters"
    if key.get("use", "sig") != "sig" or "verify" not in _operations(key):
        return "is not for signatures"
    return _unreadable(key)


def _operations(key: Jwk) -> list[object]:
    operations = key.get("key_ops", ["verify"])
    return operations if isinstance(operations, list) else []


def _unreadable(key: Jwk) -> str:
    if key["kty"] == "RSA" and not SMALLEST_RSA <= (bits := _bits(key.get("n"))) <= LARGEST_RSA:
        return f"has {bits} bits; {SMALLEST_RSA} to {LARGEST_RSA} are taken"
    try:
        public = jwk.import_key({name: key[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in key}).raw_value
    except (JoseError, ValueError, TypeError, AttributeError, OverflowError):
        return "cannot be read"
    if not isinstance(public, RSAPublicKey | EllipticCurvePublicKey):
        return "is no public key"
    return ""


def _bits(modulus: object) -> int:
    """The size of an RSA key; 0 for what is none."""
    try:
        return int.from_bytes(urlsafe_b64decode(f"{modulus}==")).bit_length()
    except ValueError:
        return 0
