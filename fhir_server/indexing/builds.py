"""A type's index filled from the store: where there is none yet, where somebody deleted it, or beside the live one."""

from collections.abc import Callable

from fhir_server.indexing.added import Added
from fhir_server.indexing.writer import Writer
from resources.store import ResourceStore
from search.indexes.elastic.indices import Indices, Scan, State

NOTED = 20
"""Lists of the store's scan after which it is noted how far the index has come, so that the next one can go on from there."""

REMEMBERED, USUAL = "24h", "1h"
"""How long an index remembers deletions while it is built, and afterwards: a build may send versions older than a deletion."""

Progress = Callable[[int], None]


def _unwatched(_: int) -> None:
    """Nobody looks."""


async def build(
    store: ResourceStore, indices: Indices, writer: Writer, added: Added, type: str, *, watch: Progress = _unwatched
) -> None:
    """Have searches find all documents of a type that has no searchable index.

    The new index is fed from its first moment on, and only then filled from a snapshot; both may bring the same document, and the newer
    version stays. A build that ended half-way goes on where it was. `watch` is told how many documents each list had.
    """
    state = (await indices.states()).get(type, State())
    if state.live is not None:
        return
    index = state.fed
    if index is None:
        index = await added.make(type)
    await fill(store, indices, writer, type, index, watch=watch)
    if (await indices.states()).get(type, State()).live in (None, index):
        await indices.expose({type: index})
    else:  # somebody was faster while this process stood still
        await indices.delete(index)


async def fill(
    store: ResourceStore,
    indices: Indices,
    writer: Writer,
    type: str,
    index: str,
    *,
    noted: bool = False,
    watch: Progress = _unwatched,
) -> int:
    """Write all documents of the type, as they were at one position (returned), to the index; go on where an earlier call stopped.

    `noted`: that it is complete is noted even where it took no time.
    """
    scan = await indices.noted(index)
    if not scan.until:
        scan = Scan(until=await store.position())
    number = 0
    if not scan.complete:
        async for versions in store.scan([type], until=scan.until, after=scan.scanned):
            await writer.write(versions, index=index, newer_only=True)
            watch(len(versions))
            number += 1
            scan = Scan(scan.until, versions[-1].position)
            if number % NOTED == 0:  # a small index is filled sooner than this could be noted
                await indices.remember_deletions(index, REMEMBERED)
                await indices.note(index, scan)
    if number >= NOTED or noted:
        await indices.note(index, Scan(scan.until, scan.until, complete=True))
    if number >= NOTED:
        await indices.remember_deletions(index, USUAL)
    await indices.refresh_index(index)
    return scan.until
