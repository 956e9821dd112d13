"""Passwords: Argon2id (RFC 9106), computed off the loop, a few at once; and which passwords may be chosen (NIST SP 800-63B, 5.1.1).

One hash takes FHIR_PASSWORD_MEMORY, so only WORKERS are computed at once, and no more than WAITING may wait for their turn.
"""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from smart_auth.errors import OAuthError
from smart_auth.settings import SignInSettings

WORKERS: Final = 2
WAITING: Final = 32
LONGEST: Final = 256
_PASSES, _LANES = 3, 1
"""RFC 9106 names 3 passes and 4 lanes for 64 MiB. One lane: the lanes would fight for the cores that serve requests, and cost more CPU
(162 instead of 199 ms here)."""

COMMON: Final = frozenset((Path(__file__).parent / "common_passwords.txt").read_text("utf-8").split())
"""The commonest of those that are long enough, written down by us: the published lists hold hundreds of thousands of passwords, nearly all
shorter than twelve characters, or come without a licence."""

_pool = ThreadPoolExecutor(WORKERS, "password")
_places = BoundedSemaphore(WORKERS + WAITING)


@cache
def hasher(memory: int) -> PasswordHasher:
    """Argon2id with this many MiB."""
    return PasswordHasher(time_cost=_PASSES, memory_cost=memory * 1024, parallelism=_LANES)


@cache
def _nobodys(memory: int) -> str:
    """A hash to compare with where there is no user, so that this takes as long."""
    return hasher(memory).hash(secrets.token_urlsafe(24))


def _verify(settings: SignInSettings, hashed: str, password: str) -> bool:
    chosen = hasher(settings.password_memory)
    try:
        return chosen.verify(hashed or _nobodys(settings.password_memory), password) and bool(hashed)
    except (Argon2Error, InvalidHashError):
        return False


def _prepared(password: str) -> str:
    """The same bytes however a keyboard composes characters (NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password[: LONGEST + 1])


async def verified(settings: SignInSettings, hashed: str, password: str) -> bool:
    """Whether the password is the hash's. `hashed` "" (nobody, or no password): as much work, and False. Raises OAuthError 503 where too
    many are waiting."""
    return await _computed(lambda: _verify(settings, hashed, _prepared(password))) and len(password) <= LONGEST


async def hashed(settings: SignInSettings, password: str) -> str:
    """The hash to store. Raises OAuthError 503 where too many are waiting."""
    return await _computed(lambda: hasher(settings.password_memory).hash(_prepared(password)))


def outdated(settings: SignInSettings, hashed: str) -> bool:
    """Whether the hash was made with other parameters than are set now."""
    return hasher(settings.password_memory).check_needs_rehash(hashed)


def problem(settings: SignInSettings, password: str, *names: str) -> str | None:
    """Why nobody of these names may choose this password (a sentence), or None if it is good."""
    if len(password) < settings.password_length:
        return f"The password is shorter than {settings.password_length} characters."
    if len(password) > LONGEST:
        return f"The password is longer than {LONGEST} characters."
    plain = _prepared(password).casefold()
    if any(name and plain in (name.casefold(), name.casefold()[::-1]) for name in names):
        return "The password is the user name or the e-mail address. Choose another one."
    if plain in COMMON or len(set(plain)) < 4:
        return "The password is one of the first that somebody would try. Choose another one."
    return None


Work = TypeVar("Work")


async def _computed(work: Callable[[], Work]) -> Work:
    if not _places.acquire(blocking=False):
        text = "Too many people sign in at this moment. Try again shortly."
        raise OAuthError("temporarily_unavailable", text, 503, {"Retry-After": "2"})
    try:
        return await asyncio.get_running_loop().run_in_executor(_pool, work)
    finally:
        _places.release()
