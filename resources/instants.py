"""Instants: whole microseconds since 1970-01-01T00:00:00Z inside, FHIR `instant` text outside."""

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def instant_text(micros: int) -> str:
    """Microseconds since the epoch as a FHIR instant in UTC with milliseconds: `2026-02-23T09:00:00.000Z`."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{rest // 1000:03d}Z"


@lru_cache(maxsize=1_024)
def _second(seconds: int) -> str:
    """The text up to the whole second: what happens now happens in few of them."""
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
