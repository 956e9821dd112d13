"""AuditEvents as they are in a store, also where a row of it is spoilt: that is told of and passed over. What merely could not be read just
now is passed over by nobody (`resources.stores.bodies.is_spoilt`): nothing is signed or archived over it."""

from collections.abc import AsyncIterator, Callable

from resources.store import ResourceStore, Version
from resources.stores.bodies import is_spoilt

STEP = 500
"""Positions that are read one by one once something could not be read: as many as a store reads at a time, or fewer."""

Spoilt = Callable[[int, str], None]
"""Told (position, what was the matter) of each position that cannot be read."""


async def readable(store: ResourceStore, after: int, until: int, spoilt: Spoilt) -> AsyncIterator[list[Version]]:
    """The AuditEvents after one position up to another, in lists, in order. Raises StoreUnavailable, and whatever else has passed by the
    next time."""
    place = after
    while place < until:
        try:
            async for part in store.scan(["AuditEvent"], until=until, after=place):
                yield part
                place = part[-1].position
            return
        except Exception as problem:
            if not is_spoilt(problem):
                raise
            end = min(place + STEP, until)  # which one it is comes out below
        for position in range(place + 1, end + 1):
            try:
                found = [
                    version async for part in store.scan(["AuditEvent"], until=position, after=position - 1) for version in part
                ]
            except Exception as problem:
                if not is_spoilt(problem):
                    raise
                spoilt(position, type(problem).__name__)
                continue
            if found:
                yield found
        place = end
