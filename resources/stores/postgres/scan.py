"""A scan of several types: one run of pages a type, each on its own index, merged in order of position.

One statement for several types would have PostgreSQL choose between sorting all of them for each page and walking over all others.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from heapq import heapify, heappop, heapreplace

from resources.store import Version
from resources.stores import events
from resources.stores.postgres.read import BATCH, BYTES, Reader

Pages = Callable[[int], Awaitable[list[Version]]]
"""The next versions above a position; none at the end."""


async def scan(
    reader: Reader, types: Sequence[str], until: int, after: int, shard: tuple[int, int]
) -> AsyncGenerator[list[Version], None]:
    """What `ResourceStore.scan` promises."""
    runs = [_run(_pages(reader, type, until, shard), after) for type in (dict.fromkeys(types) or (None,))]
    if not types or events.TYPE in types:
        runs.append(_run(lambda place: reader.scan_events(until, place, shard), after))
    part, size = list[Version](), 0
    async for version in _merged(runs):
        part.append(version)
        size += len(version.body or b"")
        if len(part) == BATCH or size >= 2 * BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _pages(reader: Reader, type: str | None, until: int, shard: tuple[int, int]) -> Pages:
    return lambda place: reader.scan(type, until, place, shard)


async def _run(pages: Pages, after: int) -> AsyncIterator[Version]:
    while page := await pages(after):
        for version in page:
            yield version
        after = page[-1].position


async def _merged(runs: Sequence[AsyncIterator[Version]]) -> AsyncIterator[Version]:
    heads: list[tuple[int, int, Version]] = []
    for number, run in enumerate(runs):
        first = await anext(run, None)
        if first is not None:
            heads.append((first.position, number, first))
    heapify(heads)
    while heads:
        _, number, version = heads[0]
        yield version
        following = await anext(runs[number], None)
        if following is None:
            heappop(heads)
        else:
            heapreplace(heads, (following.position, number, following))
