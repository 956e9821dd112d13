"""An index that somebody deleted never counts as empty: searches have it built again and wait, or say that it is being built."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from indexing.feed_harness import BASE, PARAMETERS, Place, Process, place, put, until
from services.running import service

from fhir_server.indexing import feed
from resources.store import Key
from search.index import Preparing
from search.parse import parse

CHAINS = {
    "Observation?subject:Patient.gender=male": ["o"],
    "Observation?subject:Patient.gender:not=female": ["o"],
    "Observation?subject:Patient.general-practitioner:Practitioner.active=true": ["o"],
    "Practitioner?_has:Patient:general-practitioner:gender=male": ["d"],
    "Observation?_sort=subject:Patient.gender": ["o"],
}


def run(test: Callable[[Place], Awaitable[None]]) -> None:
    async def within() -> None:
        async with place(service("elasticsearch")) as there:
            await test(there)

    asyncio.run(within())


async def filled(there: Place) -> Process:
    """A practitioner's patient and an observation of him, all indexed; inspections do not come in between."""
    process = await there.process()
    await put(there.store, "Practitioner", "d", active=True)
    await put(there.store, "Patient", "p", gender="male", generalPractitioner=[{"reference": "Practitioner/d"}])
    await put(there.store, "Observation", "o", subject={"reference": "Patient/p"})
    assert await process.index.caught_up(("Practitioner", "Patient", "Observation"))
    return process


async def searched(process: Process, text: str) -> list[str]:
    type, _, query = text.partition("?")
    parsed = parse(type, query, parameters=PARAMETERS, base_url=BASE, default_count=10)
    assert await process.index.caught_up((type,))
    return [key.id for key in (await process.index.search(parsed.query)).keys]


async def lose(process: Process, type: str) -> None:
    live = (await process.indices.states())[type].live
    assert live is not None
    await process.indices.delete(live)


async def included(process: Process, text: str) -> list[Key]:
    parsed = parse("Observation", text, parameters=PARAMETERS, base_url=BASE, default_count=10)
    return (await process.index.include([Key("Observation", "o")], parsed.includes, limit=10)).keys


def test_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it stands in a search: at the end of a chain, within one, behind a sort key, among what is included."""
    monkeypatch.setattr(feed, "INSPECTION", 600.0)

    async def test(there: Place) -> None:
        process = await filled(there)
        for text, expected in CHAINS.items():
            await lose(process, "Patient")
            assert await searched(process, text) == expected, text
        await lose(process, "Patient")
        assert await included(process, "_include=Observation:subject") == [Key("Patient", "p")]
        await lose(process, "Practitioner")
        assert await searched(process, "Observation?subject:Patient.general-practitioner:Practitioner.active=true") == ["o"]
        await lose(process, "Patient")
        queries: list[Any] = [
            parse(type, "", parameters=PARAMETERS, base_url=BASE, default_count=10).query for type in ("Group", "Patient")
        ]
        assert (await process.index.search_in_turn(queries, count=10)).keys == [Key("Patient", "p")]
        assert await searched(process, "Observation?subject:Group.code=x") == []
        assert await searched(process, "Observation?subject:Group.code:not=x") == []

    run(test)


def test_where_nobody_builds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the usual wait searches say so."""
    monkeypatch.setattr(feed, "INSPECTION", 600.0)

    async def test(there: Place) -> None:
        feeder = await filled(there)
        other = await there.process(wait=0.5)
        assert await searched(feeder, "Observation?subject:Patient.gender=male") == ["o"]
        await feeder.die()
        await other.feed.stop()
        await until(lambda: other.index.caught_up(("Observation", "Practitioner")))
        await lose(feeder, "Patient")
        for text in CHAINS:
            with pytest.raises(Preparing, match="index of Patient is being built"):
                await searched(other, text)
        with pytest.raises(Preparing, match="index of Patient is being built"):
            await included(other, "_include=Observation:subject")

    run(test)
