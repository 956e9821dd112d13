"""Adopting what another store holds (`adopt` of the stores): every kind of store from every other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from contracts.store_harness import ADOPTING, EVENT, KINDS, Setting, change, collect, removal, setting
from msgspec.structs import replace

from resources.store import ResourceStore, Version

PAIRS = [(source, target) for source in ADOPTING for target in ADOPTING if "memory" in (source, target) or source == target]


@asynccontextmanager
async def opened(name: str, place: Setting) -> AsyncIterator[ResourceStore]:
    store = KINDS[name].make(place)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def fill(store: ResourceStore) -> list[Version]:
    """Some history of some resources, with events in between, one of them put by somebody; returns all of it."""
    await store.commit([change("1"), change("2")], events=[EVENT, EVENT])
    await store.commit([change("1", "b")], events=[EVENT])
    await store.commit([removal("2")])
    await store.commit([change("2", "again"), change("1", type="Practitioner")], events=[EVENT])
    await store.commit([change(f"event-{await store.position() + 1}", type="AuditEvent")])
    return await collect(store.outbox(after=0))


def pair(tmp_path: Path, source: str, target: str) -> tuple[Path, Path]:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    return tmp_path / "from", tmp_path / "to"


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_what_is_adopted_is_the_same_to_the_byte(tmp_path: Path, source: str, target: str) -> None:
    """Versions, deletions, events, their order and positions; and writing goes on after them."""
    here, there = pair(tmp_path, source, target)

    async def test(one: Setting, other: Setting) -> None:
        async with opened(source, one) as old, opened(target, other) as new:
            everything = await fill(old)
            half = everything[: len(everything) // 2]
            await new.adopt(half)
            assert await new.position() == half[-1].position
            await new.adopt([v for v in everything if v.position > half[-1].position])
            assert await collect(new.outbox(after=0)) == everything
            assert await new.read("Patient", "2") == await old.read("Patient", "2")
            assert await new.history("Patient", "1") == await old.history("Patient", "1")
            event = next(v for v in everything if v.type == "AuditEvent")
            assert await new.read("AuditEvent", event.id) == event
            [written] = await new.commit([change("1", "c")], events=[EVENT])
            assert (written.version.version, written.version.position) == (3, everything[-1].position + 1)

    with setting(source, here) as one, setting(target, there) as other:
        asyncio.run(test(one, other))


@pytest.mark.parametrize("kind", ADOPTING)
def test_what_does_not_follow_is_refused_whole(tmp_path: Path, kind: str) -> None:
    """A version out of order or with a gap before it leaves the store as it was."""
    here, there = pair(tmp_path, "memory", kind)

    async def test(one: Setting, other: Setting) -> None:
        async with opened("memory", one) as old, opened(kind, other) as new:
            everything = await fill(old)
            for wrong in (
                [everything[1], everything[0]],
                [everything[0], replace(everything[1], version=2)],
                [v for v in everything if v.version > 1],
            ):
                with pytest.raises(ValueError, match="follow"):
                    await new.adopt(wrong)
                assert await new.position() == 0
            await new.adopt(everything)
            with pytest.raises(ValueError, match="follow"):
                await new.adopt(everything[-1:])

    with setting("memory", here) as one, setting(kind, there) as other:
        asyncio.run(test(one, other))
