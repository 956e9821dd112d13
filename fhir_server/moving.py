"""Moving everything from one store to another: history, positions and AuditEvents as they are, and all records (`fhir-server move`).

What is there already is not copied again, so an interrupted move goes on; at the end both stores are read in step and compared to
the byte.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from resources.store import ANY, Record, RecordChange, ResourceStore, Version

BATCH = 500
"""Versions in one commit of the target."""


class Foreign(Exception):
    """The target holds something that the source does not; the text says what."""


@dataclass(slots=True)
class Moved:
    """What came of a move: versions copied now, versions compared by type, a digest of all of them, the addresses that differ; and the
    records that are there."""

    copied: int = 0
    records: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    digest: str = ""
    differences: list[str] = field(default_factory=list)


Progress = Callable[[str, int, int], None]
"""Told (what is being done, position reached, position at the end)."""

SHOWN = 100
"""Most differences that are listed."""


async def move(source: ResourceStore, target: ResourceStore, progress: Progress) -> Moved:
    """Copy what the target lacks, then compare both. Raises Foreign, StoreUnavailable."""
    moved = Moved()
    await _same_root(source, target)
    end = await source.position()
    async for part in source.outbox(after=await target.position(), limit=BATCH):
        await target.adopt(part)
        moved.copied += len(part)
        progress("copying", part[-1].position, max(end, part[-1].position))
    moved.records = await copy_records(source, target)
    await _compare(source, target, moved, progress)
    await _compare_records(source, target, moved)
    return moved


async def copy_records(source: ResourceStore, target: ResourceStore) -> int:
    """Make the records of the target those of the source: clients, users, grants, keys, checkpoints of the audit. Returns how many."""
    total = 0
    for kind in await source.record_kinds():
        async for part in _records(source, kind):
            total += len(part)
            await target.commit((), records=[RecordChange(r.kind, r.key, r.value, ANY, r.tags, r.expires) for r in part])
    for kind in await target.record_kinds():
        async for part in _records(target, kind):
            gone = [RecordChange(r.kind, r.key, None) for r in part if await source.record(r.kind, r.key) is None]
            if gone:
                await target.commit((), records=gone)
    return total


async def _compare_records(source: ResourceStore, target: ResourceStore, moved: Moved) -> None:
    for kind in await source.record_kinds():
        async for part in _records(source, kind):
            for mine in part:
                theirs = await target.record(mine.kind, mine.key)
                if theirs is None or (mine.value, mine.tags, mine.expires) != (theirs.value, theirs.tags, theirs.expires):
                    moved.differences.append(f"record {mine.kind}")


async def _records(store: ResourceStore, kind: str) -> AsyncIterator[list[Record]]:
    """The records of a kind, in parts."""
    after = ""
    while part := await store.records(kind, after=after, limit=BATCH):
        yield part
        after = part[-1].key


async def _same_root(source: ResourceStore, target: ResourceStore) -> None:
    """Raises Foreign unless the newest that the target has is what the source has at that position."""
    position = await target.position()
    if not position:
        return
    mine, theirs = await _at(target, position), await _at(source, position)
    if mine is None or theirs is None or mine != theirs:
        name = f"{mine.type}/{mine.id}" if mine else f"position {position}"
        raise Foreign(f"The target holds something else already ({name} is not what the source has there): name an empty one.")


async def _at(store: ResourceStore, position: int) -> Version | None:
    async for part in store.outbox(after=position - 1, limit=1):
        return part[0]
    return None


async def _compare(source: ResourceStore, target: ResourceStore, moved: Moved, progress: Progress) -> None:
    """Read both up to where the target ends, and note what differs."""
    end = await target.position()
    digest = blake2b(digest_size=16)
    there = _each(target, end)
    async for mine in _each(source, end):
        theirs = await anext(there, None)
        if mine != theirs:
            moved.differences.append(f"{mine.type}/{mine.id} version {mine.version}")
            if len(moved.differences) >= SHOWN:
                break
        moved.compared[mine.type] += 1
        digest.update(_line(mine))
        if mine.position % BATCH == 0:
            progress("comparing", mine.position, end)
    else:
        if (more := await anext(there, None)) is not None:
            moved.differences.append(f"{more.type}/{more.id} version {more.version} is in the target only")
    moved.digest = digest.hexdigest()


async def _each(store: ResourceStore, until: int) -> AsyncIterator[Version]:
    async for part in store.outbox(after=0, limit=BATCH):
        for version in part:
            if version.position > until:
                return
            yield version


def _line(version: Version) -> bytes:
    head = f"{version.type}/{version.id} {version.version} {version.instant} {version.method} {version.position} "
    return head.encode() + (version.body if version.body is not None else b"-") + b"\n"
