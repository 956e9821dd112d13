"""Access tokens of another authorization server (`FHIR_AUTH_ISSUER`): JWTs checked by its keys (RFC 9068), or asked for by introspection
(RFC 7662).

A JWT counts until it expires: whoever needs it to end earlier lets the server ask (`FHIR_AUTH_INTROSPECTION`).
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from smart_auth.access import Access
from smart_auth.outside.claims import Mapped, audiences, context_id, text, values
from smart_auth.outside.fetching import Refused, fetched, read_object, unavailable
from smart_auth.outside.issuer import LONGEST, Issuer, Untrusted, is_instant
from smart_auth.scopes import MOST, Scopes, parse_scopes
from smart_auth.tokens import digest

_log = logging.getLogger("fhir_server")

NAMES: Final = {
    "scope": ("scope", "scp"),
    "patient": ("patient",),
    "encounter": ("encounter",),
    "client": ("client_id", "azp", "cid", "appid"),
    "name": ("name",),
}
"""What an access token says -> the claims that say it at common issuers, the first that is there."""

_TYPES = ("at+jwt", "application/at+jwt", "jwt")
_OF_ID_TOKENS = ("nonce", "at_hash", "c_hash")
_MOST_KEPT = 10_000
_AT_ONCE = 32
"""Introspections: made-up tokens must not flood the issuer."""
_LONGEST_SUBJECT = 255
_SECOND = 1_000_000

Claims = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trust:
    """What of an issuer's tokens counts here. `audiences`: one of them must be the token's `aud`. `introspection` is the URL to ask at ("":
    tokens are JWTs), with `client`'s id and secret; an answer counts for `seconds`. `names` as NAMES."""

    audiences: tuple[str, ...]
    mapped: Mapped
    introspection: str = ""
    client: tuple[str, str] = ("", "")
    seconds: int = 10
    names: "dict[str, tuple[str, ...]] | None" = None

    def of(self, what: str) -> tuple[str, ...]:
        """The claims that may say it."""
        return (self.names or NAMES)[what]


class OutsideTokens:
    """Looks tokens up (smart_auth.tokens.Tokens). One for the process."""

    def __init__(self, issuer: Issuer, trust: Trust, clock: Callable[[], int]) -> None:
        self.issuer, self._trust, self._clock = issuer, trust, clock
        self._known: OrderedDict[str, tuple[Access | None, int]] = OrderedDict()
        self._asking = asyncio.Semaphore(_AT_ONCE)

    async def find(self, token: str) -> Access | None:
        """What the token stands for; None for one that does not count. Raises IssuerUnavailable (503)."""
        if len(token) > LONGEST:
            return None
        now, key = self._clock(), digest(token)
        known = self._known.get(key)
        if known is not None and now < known[1]:
            return known[0]
        access = await (self._asked(token) if self._trust.introspection else self._read(token))
        self._keep(key, access, now)
        return access

    def forget(self, hashed: str) -> None:
        """Drop what is kept of a token with this digest."""
        self._known.pop(hashed, None)

    def _keep(self, key: str, access: Access | None, now: int) -> None:
        """For how long an answer is known: an introspection's for a few seconds, a JWT's until it expires, no token's longer than it is
        good. That a JWT is none is worth a moment only: its key may be published the next."""
        short = now + (self._trust.seconds if self._trust.introspection else 1) * _SECOND
        if access is None:
            until = short
        else:
            until = min(short, access.expires) if self._trust.introspection else access.expires
        self._known[key] = access, until
        self._known.move_to_end(key)
        if len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)

    async def _read(self, token: str) -> Access | None:
        try:
            claims = await self.issuer.verified(token, types=_TYPES)
        except Untrusted as why:
            _log.debug("an access token of the issuer does not count: %s", why)
            return None
        if any(name in claims for name in _OF_ID_TOKENS) or claims.get("token_use", "access") != "access":
            return None  # it tells an app who signed in, and is no key to this server
        return self._access(claims) if self._is_for_us(claims) else None

    async def _asked(self, token: str) -> Access | None:
        url, form = self._trust.introspection, {"token": token, "token_type_hint": "access_token"}
        try:
            async with self._asking:
                body, _ = await fetched(url, form=form, auth=self._trust.client)
        except Refused as refusal:  # we are refused, not the token
            raise unavailable(f"introspection is refused: {refusal}") from None
        claims = read_object(body, url)
        expires = claims.get("exp")
        if claims.get("active") is not True or claims.get("iss", self.issuer.url) != self.issuer.url:
            return None
        if not is_instant(expires) or expires * _SECOND <= self._clock():
            return None
        return self._access(claims) if self._is_for_us(claims) else None

    def _is_for_us(self, claims: Claims) -> bool:
        return not audiences(claims).isdisjoint(self._trust.audiences)

    def _access(self, claims: Claims) -> Access | None:
        subject = text(claims, "sub") or text(claims, *self._trust.of("client"))
        if not 0 < len(subject) <= _LONGEST_SUBJECT:
            return None
        mapped, issued = self._trust.mapped, claims.get("iat")
        return Access(
            subject=subject,
            client=text(claims, *self._trust.of("client"))[:_LONGEST_SUBJECT],
            scopes=self._scopes(claims).text,
            expires=int(claims["exp"] * _SECOND),
            issued=int(issued * _SECOND) if is_instant(issued) else 0,
            role=mapped.role(claims),
            patient=context_id(claims, self._trust.of("patient")[0], "Patient"),
            encounter=context_id(claims, self._trust.of("encounter")[0], "Encounter"),
            fhir_user=mapped.reference(claims),
            user_name=text(claims, *self._trust.of("name"))[:_LONGEST_SUBJECT],
        )

    def _scopes(self, claims: Claims) -> Scopes:
        return parse_scopes(" ".join(values(claims, *self._trust.of("scope"))[:MOST]))
