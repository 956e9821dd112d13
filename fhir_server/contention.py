"""Writers that want the same thing at the same time: whoever loses the race looks again and repeats, a bounded number of times."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Hashable
from typing import TypeVar
from weakref import WeakValueDictionary

from resources.outcomes import error
from resources.store import Conflict

T = TypeVar("T")

TRIES = 20
_PAUSE = 0.002

_turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()


async def repeated(attempt: Callable[[], Awaitable[T]], reasons: Collection[str], turn: Hashable) -> T:
    """The result of `attempt`, repeated while the store refuses it with a Conflict for one of `reasons`.

    `attempt` must look at the store anew each time. After a lost race, the losers of this process with the same `turn` go one after
    another, so that many of them do not defeat each other; those of other processes are met with short random pauses. Raises FhirError 409
    (with Retry-After) after 20 tries, and any other Conflict.
    """
    try:
        return await attempt()
    except Conflict as clash:
        if clash.reason not in reasons:
            raise
    lock = _turns.get(turn)
    if lock is None:
        lock = _turns[turn] = asyncio.Lock()
    async with lock:
        for number in range(1, TRIES):
            try:
                return await attempt()
            except Conflict as clash:
                if clash.reason not in reasons:
                    raise
            await asyncio.sleep(_PAUSE * min(number, 8) * secrets.randbelow(1000) / 1000)
    text = f"Others keep changing the same resource: {TRIES} attempts lost the race. Repeat the request a little later"
    raise error(409, "conflict", text, **{"Retry-After": "1"})
