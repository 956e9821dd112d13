"""How often something may happen, and counting it: in this process, or in a Redis that several processes share."""

import logging
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from limits.aio.storage import RedisStorage
    from redis.asyncio import ConnectionPool

_log = logging.getLogger("fhir_server")

_RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour)", re.ASCII)
_SECONDS = {"second": 1, "minute": 60, "hour": 3_600}

MOST_KEYS = 100_000
"""Callers that are counted at once; beyond that the ones not seen for longest are forgotten."""

TIMEOUT = 0.25
"""Seconds that Redis may take before a process counts for itself."""

PAUSE = 5.0
"""Seconds before Redis is asked again after it could not be reached."""


class Rate(NamedTuple):
    """At most `most` within any `seconds`."""

    most: int
    seconds: int


def rate(text: str) -> Rate | None:
    """`600/minute` -> Rate(600, 60), `off` -> None. Raises ValueError for anything else."""
    if text == "off":
        return None
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError("a limit is a number per second, minute or hour, such as 600/minute, or off")
    return Rate(int(match[1]), _SECONDS[match[2]])


class Counter(Protocol):
    """Counts what callers do, over a window that slides: the count of the window before this one fades as this one goes on."""

    async def hit(self, key: str, limit: Rate, cost: int) -> int:
        """Count `cost` for `key`: 0; or, where that is more than the limit, count nothing: the seconds after which to try again."""

    async def aclose(self) -> None:
        """Let go of connections."""


class _Window:
    __slots__ = ("before", "now", "number")

    def __init__(self, number: int) -> None:
        self.number, self.before, self.now = number, 0, 0


class InMemory:
    """Counts in this process. (The storage in memory of `limits` looks at all keys whenever it counts: 0.8 ms with 10,000.)"""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: OrderedDict[tuple[str, Rate], _Window] = OrderedDict()

    async def hit(self, key: str, limit: Rate, cost: int) -> int:
        """See Counter.hit."""
        number, within = divmod(self._clock(), limit.seconds)
        window = self._window((key, limit), int(number))
        left = 1 - within / limit.seconds
        if window.now + window.before * left + cost > limit.most:
            return _wait(window, limit, cost, left)
        window.now += cost
        return 0

    async def aclose(self) -> None:
        """Nothing is held."""

    def _window(self, key: tuple[str, Rate], number: int) -> _Window:
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(number)
            if len(self._windows) > MOST_KEYS:
                self._windows.popitem(last=False)
            return window
        if window.number != number:
            self._windows.move_to_end(key)
            window.before = window.now if window.number == number - 1 else 0
            window.now, window.number = 0, number
        return window


def _wait(window: _Window, limit: Rate, cost: int, left: float) -> int:
    """Whole seconds until `cost` fits: while the window before fades, or else when this one has begun to."""
    room = limit.most - cost - window.now
    if room >= 0 and window.before:
        return max(1, math.ceil((left - room / window.before) * limit.seconds))
    fading = 1 - (limit.most - cost) / window.now if window.now else 0
    return max(1, math.ceil((left + fading) * limit.seconds))


class InRedis:
    """Counts in Redis; in this process while that cannot be reached, which is logged when it begins and when it ends. No request fails
    because of it."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._clock = url, clock
        self._instead = InMemory()
        self._storage: RedisStorage | None = None
        self._pool: ConnectionPool | None = None
        self._again = 0.0
        self._down = False

    async def hit(self, key: str, limit: Rate, cost: int) -> int:
        """See Counter.hit."""
        if self._clock() >= self._again:
            from redis.exceptions import RedisError

            try:
                wait = await self._ask(key, limit, cost)
            except (RedisError, OSError, TimeoutError) as problem:
                self._lost(problem)
            else:
                self._found()
                return wait
        return await self._instead.hit(key, limit, cost)

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        if self._pool is not None:
            await self._pool.disconnect()

    async def _ask(self, key: str, limit: Rate, cost: int) -> int:
        from limits import RateLimitItemPerSecond
        from limits.aio.strategies import SlidingWindowCounterRateLimiter

        counting = SlidingWindowCounterRateLimiter(self._open())
        item = RateLimitItemPerSecond(limit.most, limit.seconds, namespace="fhir")
        if await counting.hit(item, key, cost=cost):
            return 0
        stats = await counting.get_window_stats(item, key)
        return min(limit.seconds, max(1, math.ceil(stats.reset_time - time.time())))

    def _open(self) -> "RedisStorage":
        if self._storage is None:
            from limits.aio.storage import RedisStorage
            from redis.asyncio import ConnectionPool
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            self._pool = ConnectionPool.from_url(
                self._url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 1)
            )
            options: dict[str, Any] = {"connection_pool": self._pool}
            self._storage = RedisStorage(f"async+{self._url}", implementation="redispy", key_prefix="fhir-limits", **options)
        return self._storage

    def _lost(self, problem: Exception) -> None:
        self._again = self._clock() + PAUSE
        if not self._down:
            self._down = True
            _log.warning("Redis (FHIR_REDIS_URL) cannot be reached, so each server process counts requests for itself: %s", problem)

    def _found(self) -> None:
        if self._down:
            self._down = False
            _log.warning("Redis (FHIR_REDIS_URL) is reached again; requests are counted there")
