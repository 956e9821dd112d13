"""Recovery codes: ten for when the second factor is lost, each good once, shown once, kept as hashes (80 random bits need no salt)."""

import hmac
import secrets
from typing import Final

from smart_auth.tokens import digest
from smart_auth.users import User

CODES: Final = 10
_LETTERS = "abcdefghjkmnpqrstuvwxyz023456789"
"""32 letters and digits that are not mistaken for each other."""
_LENGTH = 16


def renewed(user: User) -> tuple[User, tuple[str, ...]]:
    """The user with new codes in place of the old ones, and the codes as they are shown: `abcd-efgh-jkmn-pqrs`."""
    plain = ["".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)) for _ in range(CODES)]
    shown = tuple("-".join(code[i : i + 4] for i in range(0, _LENGTH, 4)) for code in plain)
    return user.having(recovery=tuple(map(digest, plain))), shown


def used(user: User, code: str) -> User | None:
    """The user without this code, if it is one that is left; else None. It counts once the user is stored."""
    hashed, left = digest(code), list(user.recovery)
    for each in user.recovery:
        if hmac.compare_digest(each, hashed):
            left.remove(each)
    return user.having(recovery=tuple(left)) if len(left) < len(user.recovery) else None
