"""Callers with other limits than a patient's record: what lies beyond them is as if it were not there."""

from collections.abc import Callable, Iterator

import pytest
from access import roads
from access.comparing import leaks
from access.population import Json, owners
from access.worlds import World, everything

ASKED = ("Observation", "Condition", "Patient", "Encounter", "Provenance")

_CATEGORIES = ("laboratory", "problem-list-item")


def _categories(document: Json) -> bool:
    """What `some categories` may see: of the own record, laboratory results and the problem list."""
    codes = [coding.get("code") for category in document.get("category", ()) for coding in category.get("coding", ())]
    return "one" in owners(document) and any(code in codes for code in _CATEGORIES)


def _of(*types: str) -> Callable[[Json], bool]:
    return lambda document: document["resourceType"] in types


VISIBLE = {"some categories": _categories, "some types": _of("Observation", "Patient"), "one type": _of("Observation")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All that there is."""
    world = World(tmp_path_factory.mktemp("whole"), everything())
    yield world
    world.close()


@pytest.fixture(scope="module", params=VISIBLE)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, World]]:
    """A caller, and a world that has nothing but what this caller may see."""
    visible = VISIBLE[request.param]
    content = [each for each in everything() if each["resourceType"] in ("Observation", "Condition", "Patient") and visible(each)]
    world = World(tmp_path_factory.mktemp("seen"), content)
    yield request.param, world
    world.close()


@pytest.mark.parametrize("type", ASKED)
def test_scopes_are_all_there_is(type: str, seen: tuple[str, World], whole: World) -> None:
    """[G3, G4] By every road that reads, answers are those of a store that has nothing but what the scopes give."""
    caller, without = seen
    asks = [ask for road in (roads.reading, roads.searching, roads.shaping, roads.batching) for ask in road(type)]
    assert leaks(asks, caller, whole, without, word="") == []


def test_what_is_of_no_type_is_within_the_scopes(seen: tuple[str, World], whole: World) -> None:
    """[G7] Searches of several types, compartments, $everything, $lastn and system history keep to the scopes too."""
    caller, without = seen
    assert leaks(roads.once(), caller, whole, without, word="") == []


@pytest.mark.parametrize(
    ("caller", "path", "ids"),
    [
        ("some categories", "Observation", {"one-laboratory", "one-ties"}),
        ("some categories", "Observation?category=laboratory", {"one-laboratory", "one-ties"}),
        ("some categories", "Observation?category=laboratory,survey", {"one-laboratory", "one-ties"}),
        ("some categories", "Observation?category=survey", set()),
        ("some categories", "Observation?category:not=laboratory", set()),
        ("some categories", "Condition", {"one-condition", "one-problem-list-item"}),
        ("one type", "Observation?category=survey", {"one-survey", "two-survey"}),
        ("some types", "Patient", {"one", "two"}),
    ],
)
def test_granular_scopes_give_exactly_what_matches(caller: str, path: str, ids: set[str], whole: World) -> None:
    """[G3] A search answers with those of its matches that a granted filter holds for, and with nothing else."""
    found = whole.get(caller, f"{path}{'&' if '?' in path else '?'}_count=100&_total=accurate").json()
    assert {entry["resource"]["id"] for entry in found.get("entry", ())} == ids
    assert found["total"] == len(ids)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("Observation/one-laboratory", 200),
        ("Condition/one-problem-list-item", 200),
        ("Observation/one-survey", 404),
        ("Observation/two-laboratory", 404),
        ("Condition/one-encounter-diagnosis", 404),
        ("Encounter/one-encounter", 403),
    ],
)
def test_granular_scopes_filter_reads(path: str, status: int, whole: World) -> None:
    """[G4] What matches a granted filter is read, everything else is not, and shows nothing but an OperationOutcome."""
    told = whole.get("some categories", path)
    assert told.status == status
    assert status == 200 or told.json()["resourceType"] == "OperationOutcome"
