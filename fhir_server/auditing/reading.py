"""AuditEvents as they are in a store, also where a row of it is spoilt: what cannot be read is told of and passed over."""

from collections.abc import AsyncIterator, Callable

from resources.store import ResourceStore, StoreUnavailable, Version

STEP = 500
"""Positions that are read one by one once something could not be read: as many as a store reads at a time, or fewer."""

Spoilt = Callable[[int, str], None]
"""Told (position, what was the matter) of each position that cannot be read."""


async def readable(store: ResourceStore, after: int, until: int, spoilt: Spoilt) -> AsyncIterator[list[Version]]:
    """The AuditEvents after one position up to another, in lists, in order. Raises StoreUnavailable."""
    place = after
    while place < until:
        try:
            async for part in store.scan(["AuditEvent"], until=until, after=place):
                yield part
                place = part[-1].position
            return
        except StoreUnavailable:
            raise
        except Exception:  # whatever a spoilt row makes of reading it: which one it is comes out below
            end = min(place + STEP, until)
        for position in range(place + 1, end + 1):
            try:
                found = [
                    version async for part in store.scan(["AuditEvent"], until=position, after=position - 1) for version in part
                ]
            except StoreUnavailable:
                raise
            except Exception as problem:
                spoilt(position, type(problem).__name__)
                continue
            if found:
                yield found
        place = end
