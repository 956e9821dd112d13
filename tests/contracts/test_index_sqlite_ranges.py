"""What a search of the SQLite index reads does not grow with what lies outside: a larger store costs it nothing."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from contracts.index_harness import Database
from contracts.test_index_contract import applied, asked

from search.index import Result
from search.indexes.sqlite.reader import Limits
from search.query import Query

LIMITS = Limits(gather=20, scan=400, few=8, listed=60)
"""The usual ones, as much smaller as these stores are."""

NAMES = ("Abel", "Baker", "Carter", "Dyer")
FIRST = datetime(2020, 1, 1, tzinfo=UTC)


def observation(n: int) -> dict[str, Any]:
    """One a day, each of a patient of its own, of one of four codes, with its number as its value."""
    return {
        "resourceType": "Observation",
        "id": f"{n}",
        "status": "final",
        "code": {"coding": [{"system": "urn:c", "code": f"c{n % 4}", "display": f"Display {n % 4}"}]},
        "subject": {"reference": f"Patient/{n}"},
        "effectiveDateTime": f"{FIRST + timedelta(days=n):%Y-%m-%d}T08:00:00Z",
        "valueQuantity": {"value": n, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"},
    }


def patient(n: int) -> dict[str, Any]:
    """One of four names; born a day after the one before."""
    born = f"{FIRST + timedelta(days=n):%Y-%m-%d}"
    return {"resourceType": "Patient", "id": f"{n}", "name": [{"family": NAMES[n % 4]}], "birthDate": born, "gender": "male"}


def store(path: Path, size: int) -> Database:
    """A store with so many Patients and Observations."""
    made = Database(path, limits=LIMITS)
    documents = [make(n) for n in range(size) for make in (patient, observation)]
    made.update([applied(row, f"{d['resourceType']}/{d['id']}", d) for row, d in enumerate(documents, 1)])
    return made


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Database]]:
    """A store and one that is five times as large, beyond the other's dates."""
    folder = tmp_path_factory.mktemp("ranges")
    made = store(folder / "small.sqlite", 400), store(folder / "large.sqlite", 2000)
    yield made
    for each in made:
        each.close()


def search(database: Database, query: Query) -> tuple[Result, int]:
    """What is found, and how many steps SQLite's machine took."""

    async def run() -> Result:
        await database.index.open()
        try:
            return await database.index.search(replace(query, explain=True))
        finally:
            await database.index.close()

    found = asyncio.run(run())
    steps = re.search(r"(\d+) steps", found.explained[0])
    assert steps is not None
    return found, int(steps[1])


DAY = "date=ge2020-12-20&date=lt2020-12-25"


@pytest.mark.parametrize(
    "text",
    [
        "Observation?date=2020-12-20",
        f"Observation?{DAY}",
        "Observation?date=lt2020-12-25&date=ge2020-12-20",
        f"Observation?code=urn:c|c1&{DAY}",
        f"Observation?code=urn:c|c1&{DAY}&_total=accurate",
        "Observation?value-quantity=370|http://unitsofmeasure.org|mg",
        f"Observation?value-quantity={','.join(map(str, range(350, 368)))}",
        f"Observation?value-quantity={','.join(map(str, range(370, 500)))}&date=lt2021-01-20",
        f"Observation?value-quantity={','.join(f'{n}|http://unitsofmeasure.org|mg' for n in range(350, 368))}",
        f"Observation?patient.family=abel&{DAY}",
        "Patient?family:contains=bel&birthdate=2020-12-22",
        "Patient?_has:Observation:patient:code=c1&birthdate=ge2020-12-20&birthdate=lt2020-12-25",
    ],
)
def test_what_lies_outside_costs_nothing(stores: tuple[Database, Database], text: str) -> None:
    """The same few matches are found with about as many steps in a store that is five times as large."""
    (few, steps), (many, more) = (search(each, asked(text)) for each in stores)
    assert few.keys and [key.id for key in few.keys] == [key.id for key in many.keys]
    assert (few.total, few.total_exact) == (many.total, many.total_exact) == (len(few.keys), True)
    assert more < 1.5 * steps + 400, (steps, more)


@pytest.mark.parametrize(
    "text",
    [
        "Observation",
        "Observation?status=final",
        "Observation?code:text=display 1",
        "Observation?patient.gender=male",
        "Observation?patient.family=abel",
        "Patient?family=ab",
        "Patient?family:contains=ake",
        "Patient?_has:Observation:patient:code=c1",
        "Patient?_has:Observation:patient:status=final&gender=male",
    ],
)
def test_a_page_of_many_matches_costs_no_more_among_more(
    stores: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """A page of frequent matches, and a total that is counted as far as it takes little, do not grow with the number of matches."""
    monkeypatch.setattr("search.indexes.sqlite.pages.ESTIMATE", 200)
    (_, steps), (found, more) = (search(each, asked(f"{text}{'&' if '?' in text else '?'}_count=5")) for each in stores)
    assert len(found.keys) == 5
    assert more < 2 * steps + 3000, (steps, more)


def test_a_late_page_is_found_by_its_cursor(stores: tuple[Database, Database]) -> None:
    """Within a range of dates too, a page far behind takes no more steps than the first."""
    query = replace(asked("Observation?date=ge2020-01-01&date=lt2026-01-01"), total="none", count=20)
    found, first = search(stores[1], query)
    for _ in range(60):
        found, steps = search(stores[1], replace(query, cursor=found.cursor))
    assert found.keys and steps < 1.5 * first + 200, (first, steps)


@pytest.mark.parametrize(
    ("text", "matches"),
    [("Observation?status=final", 2000), ("Observation?code=c1&patient.gender=male", 500), ("Patient?family:contains=ake", 500)],
)
def test_an_estimate_is_never_more_than_there_are(
    stores: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch, text: str, matches: int
) -> None:
    """A total is exact unless it says that it is an estimate; then at least so many match, and no fewer than the page shows."""
    for bound in (30, 300, 10_000):
        monkeypatch.setattr("search.indexes.sqlite.pages.ESTIMATE", bound)
        found, _ = search(stores[1], asked(f"{text}&_count=10&_total=estimate"))
        assert found.total is not None and len(found.keys) < found.total <= matches
        assert found.total_exact == (found.total == matches) or found.total == matches
        cheap, _ = search(stores[1], asked(f"{text}&_count=10"))
        assert cheap.total_exact and cheap.total in (None, matches)
        exact, _ = search(stores[1], asked(f"{text}&_count=10&_total=accurate"))
        assert (exact.total, exact.total_exact) == (matches, True)
