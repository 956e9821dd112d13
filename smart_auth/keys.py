"""The keys that sign id_tokens: made when they are first needed, by one process; rotated; the old ones told until no token needs them.

One record for each algorithm holds its keys, the newest first. A private key is sealed with FHIR_SECRET, its public half is in the clear.
"""

import asyncio
import logging
from functools import lru_cache
from typing import Any, Final, Literal, cast

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey

from resources.store import ABSENT, Conflict, RecordChange
from smart_auth.happenings import Happening
from smart_auth.sealing import WrongSecret
from smart_auth.service import Service

KIND = "signing-keys"
Algorithm = Literal["RS256", "ES256", "ES384"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = ("RS256", "ES256", "ES384")
"""What an id_token can be signed with; RS256 where a client asks for nothing (OpenID Connect Registration 1.0, 2)."""

RSA_BITS: Final = 2_048
TOLD: Final = (86_400 + 60) * 1_000_000
"""Microseconds for which a key that is no longer used is told: no token is good for longer, whatever FHIR_TOKEN_TTL is."""
_CURVES = {"ES256": "P-256", "ES384": "P-384"}


class StoredKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """One key. `public` is its JWK, `sealed` the private JWK. `made`, and `until` from which on it is told no more (0: it is in use),
    are microseconds since the epoch."""

    kid: str
    public: dict[str, Any]
    sealed: bytes
    made: int
    until: int = 0


class Ring(msgspec.Struct, frozen=True):
    """The keys of one algorithm, the one in use first."""

    keys: tuple[StoredKey, ...]


_log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Ring).decode


async def sign(service: Service, claims: dict[str, Any], algorithm: Algorithm) -> str:
    """A signed token with these claims. Raises StoreUnavailable; WrongSecret where FHIR_SECRET is not the one of the key."""
    stored = (await ring(service, algorithm)).keys[0]
    try:
        private = service.sealer.open(stored.sealed, _belongs_to(stored.kid))
    except WrongSecret:
        _log.error("the key %s was sealed with another FHIR_SECRET: set that one again, or run fhir-server keys rotate", stored.kid)
        raise
    header = {"alg": algorithm, "kid": stored.kid, "typ": "JWT"}
    return jwt.encode(header, claims, _opened(private, algorithm), algorithms=[algorithm])


async def public_keys(service: Service) -> list[dict[str, Any]]:
    """The public keys (RFC 7517) that tokens may be signed with, those of RS256 first. Raises StoreUnavailable."""
    await ring(service, "RS256")
    now = service.clock()
    return [key.public for _, key in await stored_keys(service) if not key.until or now < key.until]


async def ring(service: Service, algorithm: Algorithm) -> Ring:
    """The keys of the algorithm; they are made if there are none yet, once for all processes. Raises StoreUnavailable."""
    while True:
        record = await service.store.record(KIND, algorithm)
        if record is not None:
            return _decode(record.value)
        made = Ring((await new_key(service, algorithm),))
        happening = _happening(f"the first key for {algorithm} was made", made.keys[0])
        try:
            await service.commit(RecordChange(KIND, algorithm, _encode(made), ABSENT), happening=happening)
        except Conflict:  # another process was first: its key counts
            continue
        return made


async def rotate(service: Service, algorithm: Algorithm, by: str) -> StoredKey:
    """Put a new key before the others of the algorithm; the one in use until now is told until its last token has expired.

    `by`: who did it, for the audit. Works without the old private keys, so also after FHIR_SECRET was changed. Raises StoreUnavailable.
    """
    made = await new_key(service, algorithm)
    while True:
        record = await service.store.record(KIND, algorithm)
        now = service.clock()
        until = now + TOLD
        old = _decode(record.value).keys if record is not None else ()
        kept = tuple(
            key if key.until else msgspec.structs.replace(key, until=until) for key in old if not key.until or now < key.until
        )
        change = RecordChange(KIND, algorithm, _encode(Ring((made, *kept))), ABSENT if record is None else record.revision)
        try:
            await service.commit(change, happening=_happening(f"the key for {algorithm} was rotated", made, by))
        except Conflict:
            continue
        return made


async def stored_keys(service: Service) -> list[tuple[Algorithm, StoredKey]]:
    """All keys, those in use first among the ones of an algorithm. Raises StoreUnavailable."""
    records = {record.key: record for record in await service.store.records(KIND)}
    return [(name, key) for name in ALGORITHMS if name in records for key in _decode(records[name].value).keys]


async def new_key(service: Service, algorithm: Algorithm) -> StoredKey:
    """A key that is nowhere yet. It is made in a thread: an RSA key takes a tenth of a second and more."""
    return await asyncio.to_thread(_made, service, algorithm)


def _made(service: Service, algorithm: Algorithm) -> StoredKey:
    key: Key
    if algorithm == "RS256":
        key = RSAKey.generate_key(RSA_BITS)
    else:
        key = ECKey.generate_key(cast(Literal["P-256", "P-384"], _CURVES[algorithm]))
    kid = key.thumbprint()
    public = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": algorithm}
    sealed = service.sealer.seal(_encode(key.as_dict(private=True)), _belongs_to(kid))
    return StoredKey(kid, public, sealed, service.clock())


@lru_cache(maxsize=8)
def _opened(private: bytes, algorithm: Algorithm) -> Key:
    """Kept, because it is checked when it is read, which takes as long as many signatures."""
    jwk = msgspec.json.decode(private)
    return RSAKey.import_key(jwk) if algorithm == "RS256" else ECKey.import_key(jwk)


def _belongs_to(kid: str) -> str:
    return f"{KIND}/{kid}"


def _happening(text: str, key: StoredKey, by: str = "fhir-server") -> Happening:
    return Happening("keys", f"{text}: {key.kid}", subject=by)
