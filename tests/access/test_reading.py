"""Nothing of the other patient, by any road that reads: the same answers with and without that patient's records in the store."""

from collections.abc import Iterator

import pytest
from access import roads
from access.comparing import leaks
from access.population import COMPARTMENT, LOOSE, OWN, marker, name
from access.worlds import World, everything, without_other

TYPES = (*COMPARTMENT, *LOOSE, "Bundle")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both patients."""
    world = World(tmp_path_factory.mktemp("whole"), everything())
    yield world
    world.close()


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One patient, as if there had never been another."""
    world = World(tmp_path_factory.mktemp("without"), without_other())
    yield world
    world.close()


@pytest.mark.parametrize("type", TYPES)
def test_reading_by_name_tells_nothing_of_the_other_patient(type: str, whole: World, without: World) -> None:
    """Reads, versions, histories and operations answer for the other patient's ids as for ids that never were."""
    assert leaks(roads.reading(type), "patient", whole, without) == []


@pytest.mark.parametrize("type", TYPES)
def test_searching_tells_nothing_of_the_other_patient(type: str, whole: World, without: World) -> None:
    """Criteria, chains, reverse chains, expressions, lists and words find nothing of the other patient's, and count nothing of it."""
    assert leaks(roads.searching(type), "patient", whole, without) == []


@pytest.mark.parametrize("type", TYPES)
def test_shape_of_answers_tells_nothing_of_the_other_patient(type: str, whole: World, without: World) -> None:
    """Totals, estimates, pages, orders, includes and explanations are those of a store without the other patient."""
    assert leaks(roads.shaping(type), "patient", whole, without) == []


@pytest.mark.parametrize("type", TYPES)
def test_bundles_tell_nothing_of_the_other_patient(type: str, whole: World, without: World) -> None:
    """Each entry of a batch or transaction of reads is answered as it would be alone."""
    assert leaks(roads.batching(type), "patient", whole, without) == []


def test_what_is_of_no_type_tells_nothing_of_the_other_patient(whole: World, without: World) -> None:
    """Searches of several types, compartments, $everything, $lastn, system history and contained resources give nothing away."""
    assert leaks(roads.once(), "patient", whole, without) == []


def test_comparison_finds_what_there_is_to_find(whole: World, without: World) -> None:
    """A caller who may see everything gets other answers with the other patient in the store, by nearly every road."""
    for road in (roads.reading, roads.searching, roads.shaping, roads.batching):
        found = leaks(road("Encounter"), "everything", whole, without)
        assert len(found) > 0.6 * len(list(road("Encounter"))), found


@pytest.mark.parametrize("type", [type for type in COMPARTMENT if type != "AuditEvent"])
def test_own_record_is_there(type: str, whole: World) -> None:
    """[G1] The patient reads and finds the own document of the type, and nobody else's, so that the comparisons above compare something."""
    read = whole.get("patient", f"{type}/{name(OWN, type)}")
    assert (read.status, marker(OWN) in read.body.decode()) == (200, True)
    found = whole.get("patient", f"{type}?_total=accurate&_count=50").json()
    ids = {entry["resource"]["id"] for entry in found["entry"]}
    assert name(OWN, type) in ids
    assert found["total"] == len(ids) and all(id.startswith(OWN) for id in ids)
