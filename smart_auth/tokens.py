"""Access tokens: 256 random bits, kept as their SHA-256 only (docs/adr/0017).

What was found is kept for a second in each process, so that a read does not ask the store again and a revocation counts everywhere within
that time.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

import msgspec

from resources.store import RecordChange, ResourceStore
from smart_auth.access import Access

KIND = "access-token"
KEPT = 1_000_000
"""Microseconds for which a token that was found counts without being looked up again."""
_MOST = 10_000
_LONGEST = 512

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Access).decode


def digest(token: str) -> str:
    """What is kept of a token, code or secret: its SHA-256 in hexadecimal digits. They are random, so no salt is needed."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def issue(access: Access) -> tuple[str, RecordChange]:
    """A new token, and what has to be committed before it is given out."""
    token = secrets.token_urlsafe(32)
    tags = [f"client:{access.client}", f"subject:{access.subject}"]
    if access.grant:
        tags.append(f"grant:{access.grant}")
    return token, RecordChange(KIND, digest(token), _encode(access), tags=tuple(tags), expires=access.expires)


class Tokens(Protocol):
    """Looks access tokens up: this server's own, or another authorization server's (smart_auth/outside/tokens.py). One a process."""

    async def find(self, token: str) -> Access | None:
        """What the token stands for; None for one that is unknown, expired or revoked. Raises StoreUnavailable."""

    def forget(self, hashed: str) -> None:
        """Drop what is kept of a token with this `digest`, so that its revocation counts here at once."""


class StoredTokens:
    """The tokens that this server gives out."""

    def __init__(self, store: ResourceStore, clock: Callable[[], int]) -> None:
        self._store, self._clock = store, clock
        self._known: OrderedDict[str, tuple[Access, int]] = OrderedDict()

    async def find(self, token: str) -> Access | None:
        """See Tokens.find."""
        if len(token) > _LONGEST:
            return None
        now, hashed = self._clock(), digest(token)
        known = self._known.get(hashed)
        if known is not None and now < known[1]:
            return known[0] if now < known[0].expires else None
        record = await self._store.record(KIND, hashed)
        if record is None:
            self._known.pop(hashed, None)
            return None
        access = _decode(record.value)
        self._known[hashed] = access, now + KEPT
        self._known.move_to_end(hashed)
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return access if now < access.expires else None

    def forget(self, hashed: str) -> None:
        """See Tokens.forget."""
        self._known.pop(hashed, None)
