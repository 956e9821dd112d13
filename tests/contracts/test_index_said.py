"""Elements of which little is said: a system without a code, extensions in place of a value. On each index."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contracts.filling import INDEXES, Filled, asked, filled_with, run
from contracts.index_harness import PARAMETERS

from search.index import SearchIndex

UNKNOWN = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}


def coded(*codings: dict[str, str], **more: Any) -> dict[str, Any]:
    """An Observation with these codings."""
    return {"status": "final", "code": {"coding": list(codings)}, **more}


DOCUMENTS: dict[str, dict[str, Any]] = {
    "Observation/1": coded({"system": "http://h/c"}, effectivePeriod=UNKNOWN),
    "Observation/2": coded({"system": "http://h/c", "code": "b"}, effectiveDateTime="2026-01-01"),
    "Observation/3": coded({"display": "Nothing but words"}, effectivePeriod={"start": "2026-01-02"}),
    "Observation/4": coded({"system": "http://h/c"}, {"code": "a"}, subject=UNKNOWN),
    "Patient/1": {"identifier": [{"system": "http://h/empty"}], "_birthDate": UNKNOWN, "birthDate": "2020"},
    "Patient/2": {"identifier": [{"system": "http://h/full", "value": "7"}], "_birthDate": UNKNOWN},
    "Patient/3": {"identifier": [UNKNOWN], "generalPractitioner": [{"identifier": {"system": "http://h/empty"}}]},
}

FOUND = [
    ("Observation?code=http://h/c|", "1 2 4"),
    ("Observation?code=http://h/c|b", "2"),
    ("Observation?code=a", "4"),
    ("Observation?code:not=http://h/c|", "3"),
    ("Observation?code:not=b", "1 3 4"),
    ("Observation?code:missing=true", ""),
    ("Observation?combo-code=http://h/c|", "1 2 4"),
    ("Observation?date:missing=true", "1 4"),
    ("Observation?date:missing=false", "2 3"),
    ("Observation?subject:missing=true", "1 2 3 4"),
    ("Patient?identifier=http://h/empty|", "1"),
    ("Patient?identifier:missing=true", "3"),
    ("Patient?birthdate:missing=true", "2 3"),
    ("Patient?general-practitioner:identifier=http://h/empty|", "3"),
    ("Patient?general-practitioner:missing=false", "3"),
]


@pytest.fixture(params=INDEXES)
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    """An index of each kind with DOCUMENTS in it."""
    with filled_with(DOCUMENTS, request, tmp_path) as made:
        yield made


def test_found(filled: Filled) -> None:
    """A system alone is found by `system|`, and an element that has only extensions is missing."""

    async def test(index: SearchIndex) -> None:
        found = {text: " ".join(sorted(key.id for key in (await index.search(asked(text))).keys)) for text, _ in FOUND}
        assert found == dict(FOUND)

    run(filled, test)


@pytest.mark.parametrize(("sort", "ids"), [("code,_id", "4 2 1 3"), ("-code,-_id", "2 4 3 1")])
def test_a_system_alone_is_nothing_to_sort_by(filled: Filled, sort: str, ids: str) -> None:
    """What has no code comes last, whichever way round."""

    async def test(index: SearchIndex) -> None:
        assert " ".join(key.id for key in (await index.search(asked(f"Observation?_sort={sort}"))).keys) == ids

    run(filled, test)


def test_a_system_alone_makes_no_group(filled: Filled) -> None:
    """Documents that have a system in common, but no code, are not of one group."""

    async def test(index: SearchIndex) -> None:
        found = await index.latest(asked("Observation?"), PARAMETERS.of("Observation")["code"], 1)
        assert sorted(key.id for group in found.groups for key in group) == ["2", "4"]
        assert sorted(key.id for key in found.apart) == ["1", "3"]

    run(filled, test)
