"""The same on real engines: documents in MongoDB, found by Elasticsearch. A part of the roads; `whole` ones are walked embedded."""

from collections.abc import Iterator
from contextlib import ExitStack
from secrets import token_hex
from typing import Any

import pytest
from access import roads
from access.comparing import leaks
from access.population import OTHER, OWN, made_of, name
from access.worlds import World, everything, without_other
from services.mongo.database import database
from services.running import service

TYPES = ("Encounter",)
"""Each takes some seconds; any of `population.COMPARTMENT` can stand here, if what it refers to is stored (`_KEPT`)."""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, World]]:
    """One with both patients, one without the other, each with a database and indices of its own."""
    with ExitStack() as stack:
        made = []
        for content in (everything(), without_other()):
            engines: dict[str, Any] = {
                "store_url": stack.enter_context(database()),
                "search_url": service("elasticsearch"),
                "search_prefix": f"access{token_hex(4)}",
                "search_wait": 60.0,
            }
            wanted = [each for each in content if each["resourceType"] in _KEPT]
            world = World(tmp_path_factory.mktemp("engines"), wanted, **engines)
            stack.callback(world.close)
            made.append(world)
        yield made[0], made[1]


_KEPT = ("Patient", "Observation", "Encounter", "Provenance")
"""Types that are stored: each takes Elasticsearch an index."""


@pytest.mark.parametrize("type", TYPES)
def test_reading_tells_nothing_on_servers_of_their_own(type: str, worlds: tuple[World, World]) -> None:
    """Reads, batches and every third search answer as if there were no other patient."""
    asks = [*roads.reading(type), *roads.batching(type), *list(roads.searching(type))[::3]]
    assert leaks(asks, "patient", *worlds) == []


def test_writing_tells_nothing_on_servers_of_their_own(worlds: tuple[World, World]) -> None:
    """Writes at the other patient's document are answered as for one that never was, and leave it as it is."""
    other = f"Encounter/{name(OTHER, 'Encounter')}"
    before = worlds[0].get("everything", other)
    assert leaks(roads.writing("Encounter", made_of("Encounter", OWN)), "patient", *worlds) == []
    assert worlds[0].get("everything", other).body == before.body
