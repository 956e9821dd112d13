"""Users stored over the state in which they were read, also while somebody signs in as them."""

from collections.abc import Awaitable, Callable
from typing import Final

from resources.store import Conflict
from smart_auth.service import Service
from smart_auth.users import User, find_user

_TRIES: Final = 20


async def stored_over(service: Service, read: User, commit: Callable[[User], Awaitable[None]]) -> None:
    """`commit`, given the user as it was read; and again, given it as it is now, where it has only been signed in as meanwhile. (Each
    sign-in changes the user's record: whoever knows the password could keep its owner from changing it.)

    What ends sessions has to look for them each time. Raises Conflict where anything else has changed, StoreUnavailable."""
    user = read
    for _ in range(_TRIES):
        try:
            return await commit(user)
        except Conflict:
            now = await find_user(service.store, read.name)
            if now is None or _apart_from_sign_in(now) != _apart_from_sign_in(read):
                raise
            user = now
    raise Conflict("record")


def _apart_from_sign_in(user: User) -> User:
    return user.having(revision=0, signed_in=0)
