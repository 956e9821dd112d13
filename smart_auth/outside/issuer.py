"""An issuer of tokens: what it publishes about itself, kept for a while, and whether a JWT is by it.

OpenID Connect Discovery 1.0 (4), RFC 8414 (3), RFC 7517, RFC 8725 (best practices for JWT).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeGuard

from joserfc import jwk, jws
from joserfc.errors import JoseError
from msgspec.json import decode

from smart_auth.client_keys.jwks import Algorithms, Jwk, UnusableKeys, fitting, material, read_published
from smart_auth.outside.fetching import IssuerUnavailable, Refused, check_url, fetched, read_object, unavailable

ALGORITHMS: Final[Algorithms] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
}
"""Those that count: no `none`, nothing with a shared secret."""

LEEWAY: Final = 10
"""Seconds by which an issuer's clock may be ahead of ours (nbf, iat)."""
LONGEST: Final = 16_384
"""Characters of a JWT."""
_KEPT: Final = 3_600_000_000
_RETRY: Final = 10_000_000
"""Microseconds for which documents are kept; after which they are fetched again because of a key that is not known, or a failure."""

Claims = dict[str, Any]


class Untrusted(Exception):
    """Why a JWT does not count: a few words for a log, with nothing of its content."""


class _Document:
    """One document that is fetched when it is wanted, and kept. One fetch at a time; after a failure none for a while."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock, self._lock = clock, asyncio.Lock()
        self._value: Any = None
        self._at, self._failed = -_KEPT, -_RETRY

    async def get(self, fetch: Callable[[], Any], *, newer: bool = False) -> Any:
        """What `fetch` gave last; `newer`: not what is older than a few seconds. Raises IssuerUnavailable."""
        kept = _RETRY if newer else _KEPT
        async with self._lock:
            now = self._clock()
            if now - self._at < kept:
                return self._value
            if now - self._failed < _RETRY:
                raise IssuerUnavailable
            try:
                self._value = await fetch()
            except IssuerUnavailable:
                self._failed = now
                raise
            self._at = now
            return self._value


class Issuer:
    """One issuer, by its identifier: a URL, compared character for character. `clock` gives microseconds. Nothing is fetched before it is
    needed, so a server starts although its issuer is down."""

    def __init__(self, url: str, clock: Callable[[], int]) -> None:
        self.url, self._clock = url, clock
        self._metadata, self._keys = _Document(clock), _Document(clock)

    async def metadata(self) -> Claims:
        """What the issuer says about itself. Raises IssuerUnavailable, also where it calls itself otherwise (RFC 8414, 3.3)."""
        found: Claims = await self._metadata.get(self._fetch_metadata)
        return found

    async def endpoint(self, name: str) -> str:
        """The URL of `token_endpoint` and the like. Raises IssuerUnavailable where it publishes none that is safe."""
        url = (await self.metadata()).get(name)
        if not isinstance(url, str):
            raise unavailable(f"{self.url} publishes no {name}")
        try:
            check_url(url, name)
        except ValueError as problem:
            raise unavailable(str(problem)) from None
        return url

    async def verified(self, token: str, *, types: tuple[str, ...]) -> Claims:
        """The claims of a JWT that this issuer signed and that is good now (signature, iss, exp, nbf, iat). `types` are what its header may
        say it is (typ), where it says so. Whom it is for (aud) is for the caller to check. Raises Untrusted, IssuerUnavailable."""
        header = _header(token)
        if str(header.get("typ", types[0])).lower() not in types:
            raise Untrusted("it is a JWT of another kind")
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise Untrusted("its algorithm is not one that counts")
        if kid is not None and not isinstance(kid, str):
            raise Untrusted("its kid is no text")
        key = await self._key(algorithm, kid)
        try:
            payload = jws.deserialize_compact(token, jwk.import_key(material(key)), algorithms=[algorithm]).payload
            claims = decode(payload)
        except (JoseError, ValueError, TypeError, RecursionError):
            raise Untrusted("its signature is wrong, or it is no JWT") from None
        if not isinstance(claims, dict):
            raise Untrusted("its claims are no object")
        self._check(claims)
        return claims

    def _check(self, claims: Claims) -> None:
        now = self._clock() / 1_000_000
        if claims.get("iss") != self.url:
            raise Untrusted("it is another issuer's")
        if not is_instant(claims.get("exp")) or claims["exp"] <= now:
            raise Untrusted("it has expired, or never does")
        for name in ("nbf", "iat"):
            if name in claims and (not is_instant(claims[name]) or claims[name] > now + LEEWAY):
                raise Untrusted("it is not good yet")

    async def _key(self, algorithm: str, kid: str | None) -> Jwk:
        for newer in (False, True):  # a key that is not known may be a new one
            found = fitting(await self._keys.get(self._fetch_keys, newer=newer), algorithm, kid, ALGORITHMS)
            if found is not None:
                return found
        raise Untrusted("its key is not one that the issuer publishes")

    async def _fetch_keys(self) -> list[Jwk]:
        url = await self.endpoint("jwks_uri")
        try:
            return read_published((await fetched(url))[0])
        except (UnusableKeys, Refused) as problem:
            raise unavailable(f"{self.url} publishes no keys: {problem}") from None

    async def _fetch_metadata(self) -> Claims:
        root = self.url.removesuffix("/")
        url = f"{root}/.well-known/openid-configuration"
        try:
            body, _ = await fetched(url)
        except Refused:
            scheme, _, rest = root.partition("://")
            host, slash, path = rest.partition("/")
            url = f"{scheme}://{host}/.well-known/oauth-authorization-server{slash}{path}"
            try:
                body, _ = await fetched(url)
            except Refused as refusal:
                raise unavailable(f"{self.url} does not say where its endpoints are: {refusal}") from None
        found = read_object(body, url)
        if found.get("issuer") != self.url:
            raise unavailable(f"{self.url} calls itself otherwise; the setting must be exactly what it says as `issuer`")
        return found


def _header(token: str) -> Claims:
    if len(token) > LONGEST or token.count(".") != 2:
        raise Untrusted("it is no JWT")
    try:
        header = jws.extract_compact(token.encode("ascii")).headers()
    except (JoseError, ValueError, TypeError, RecursionError):
        raise Untrusted("it is no JWT") from None
    if "crit" in header or "b64" in header:
        raise Untrusted("it asks for extensions")
    return dict(header)


def is_instant(value: object) -> TypeGuard[int | float]:
    """Whether it is a NumericDate (RFC 7519, 2) that can be reckoned with: seconds since the epoch."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12
