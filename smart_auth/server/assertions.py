"""Clients that prove themselves by a signed assertion: `private_key_jwt`, with RS384 or ES384 (RFC 7523;
https://hl7.org/fhir/smart-app-launch/STU2.2/client-confidential-asymmetric.html#authenticating-to-the-token-endpoint)."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import msgspec
from joserfc import jwk, jws
from joserfc.errors import JoseError

from resources.store import ABSENT, RecordChange
from smart_auth.client_keys.jwks import ALGORITHMS, LONGEST_KID, Jwk, fitting, material
from smart_auth.client_keys.jwks_uri import Unreachable
from smart_auth.clients import Client, find_client
from smart_auth.errors import OAuthError, invalid_client
from smart_auth.service import Service
from smart_auth.tokens import digest

KIND = "client-assertion"
TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_LIFE, LEEWAY = 300, 5
"""Seconds: how far ahead `exp` may be, and how much clocks may differ."""
REPLAYED = "the client assertion was used before: its jti counts once"

_LONGEST = 8_192
_LONGEST_JTI = 255
_WRONG = "the client assertion is by an unknown client or key, or its signature is wrong"
_TYPES = ("jwt", "client-authentication+jwt")

_log = logging.getLogger(__name__)

_registry = jws.JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
_registry.max_header_length = 4_096


async def proved_by_assertion(service: Service, form: Mapping[str, str]) -> tuple[Client, tuple[RecordChange, ...]]:
    """The client whose assertion the form carries, and the record that must be committed to use the assertion up: ABSENT is expected, so
    of several uses one succeeds. Raises OAuthError invalid_client."""
    if form.get("client_assertion_type") != TYPE:
        raise invalid_client(f"client_assertion_type must be {TYPE}")
    assertion = form.get("client_assertion", "")
    header, claims = _read(assertion)
    _check_header(header)
    client = await find_client(service.store, _subject(claims, form))
    if client is None or client.auth_method != "private_key_jwt":
        raise invalid_client(_WRONG)
    if not await _genuine(service, client, header, assertion):
        raise invalid_client(_WRONG)
    expires = _check_claims(service, claims)
    record = RecordChange(KIND, digest(f"{client.id} {claims['jti']}"), b"", ABSENT, expires=expires)
    if await service.store.record(KIND, record.key) is not None:
        raise invalid_client(REPLAYED)
    return client, (record,)


def claimed_by(assertion: str) -> str:
    """Whose assertion it says to be, "" where it says nothing that can be read. As yet unproved."""
    try:
        subject = _read(assertion)[1].get("sub")
    except OAuthError:
        return ""
    return subject if isinstance(subject, str) else ""


def _read(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, as yet unproved."""
    if not assertion or len(assertion) > _LONGEST or not assertion.isascii():
        raise invalid_client(f"client_assertion must be a signed JWT of at most {_LONGEST} characters")
    try:
        read = jws.extract_compact(assertion.encode(), registry=_registry)
        header, claims = read.headers(), msgspec.json.decode(read.payload)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise invalid_client("client_assertion is no signed JWT in compact form") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise invalid_client("client_assertion is no signed JWT in compact form")
    return header, claims


def _check_header(header: Mapping[str, Any]) -> None:
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise invalid_client(f"the client assertion must be signed with {' or '.join(ALGORITHMS)}")
    if not isinstance(header.get("typ", "JWT"), str) or header.get("typ", "JWT").lower() not in _TYPES:
        raise invalid_client("the typ of the client assertion must be JWT")
    if kid is not None and (not isinstance(kid, str) or len(kid) > LONGEST_KID):
        raise invalid_client(f"the kid of the client assertion must be a text of at most {LONGEST_KID} characters")
    if "crit" in header or "b64" in header:
        raise invalid_client("the client assertion has critical header parameters, and none is known here")


def _subject(claims: Mapping[str, Any], form: Mapping[str, str]) -> str:
    issuer, subject = claims.get("iss"), claims.get("sub")
    if not isinstance(issuer, str) or issuer != subject or not issuer:
        raise invalid_client("iss and sub of the client assertion must both be the client_id")
    if form.get("client_id", issuer) != issuer:
        raise invalid_client("client_id is another one than in the client assertion")
    return issuer


async def _genuine(service: Service, client: Client, header: Mapping[str, Any], assertion: str) -> bool:
    """Whether the client has signed it: with a registered key, or the one that has taken its place where the client publishes them."""
    key = await _key(service, client, header)
    if key is None or _signed(assertion, key):
        return key is not None
    other = await _key(service, client, header, wrong=key) if client.jwks_uri else None
    return other is not None and _signed(assertion, other)


async def _key(service: Service, client: Client, header: Mapping[str, Any], wrong: Jwk | None = None) -> Jwk | None:
    """The key that the signature is checked with, of those registered only: what the header brings along counts for nothing."""
    algorithm, kid = header["alg"], header.get("kid")
    if "jku" in header and (not client.jwks_uri or header["jku"] != client.jwks_uri):
        raise invalid_client("the jku of the client assertion is not the registered jwks_uri")
    if not client.jwks_uri:
        return fitting((client.jwks or {}).get("keys", []), algorithm, kid)
    try:
        return await service.remote_keys.find(client.jwks_uri, algorithm, kid, wrong=wrong)
    except Unreachable as why:
        _log.warning("the keys of the client %s could not be fetched from its jwks_uri: %s", client.id, why)
        raise invalid_client("the keys at the registered jwks_uri could not be read") from None


def _signed(assertion: str, key: Jwk) -> bool:
    try:
        jws.deserialize_compact(assertion, jwk.import_key(material(key)), registry=_registry)
    except (JoseError, ValueError, TypeError):
        return False
    return True


def _check_claims(service: Service, claims: Mapping[str, Any]) -> int:
    """The instant in microseconds from which on the assertion cannot be used any more."""
    now = service.clock() / 1_000_000
    audience = claims.get("aud")
    if service.urls.token not in (audience if isinstance(audience, list) else (audience,)):
        raise invalid_client("the aud of the client assertion must be the URL of the token endpoint")
    expires = _date(claims, "exp")
    if expires is None:
        raise invalid_client("the client assertion has no exp")
    if expires + LEEWAY <= now:
        raise invalid_client("the client assertion has expired")
    if expires > now + LONGEST_LIFE + LEEWAY:
        raise invalid_client(f"the exp of the client assertion is more than {LONGEST_LIFE} seconds ahead")
    if any((_date(claims, name) or 0) > now + LEEWAY for name in ("nbf", "iat")):
        raise invalid_client("the client assertion is from the future (nbf, iat)")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_JTI:
        raise invalid_client(f"the client assertion needs a jti, a text of at most {_LONGEST_JTI} characters")
    return int((expires + LEEWAY) * 1_000_000)


def _date(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519, 2); None where there is none. Raises OAuthError for what is no number."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise invalid_client(f"the {name} of the client assertion must be a number of seconds")
    return value
