"""Instants: whole microseconds since 1970-01-01T00:00:00Z inside, FHIR `instant` text outside."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def instant_text(micros: int) -> str:
    """Microseconds since the epoch as a FHIR instant in UTC with milliseconds: `2026-02-23T09:00:00.000Z`."""
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
