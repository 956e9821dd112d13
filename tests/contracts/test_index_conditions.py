"""Conditions that queries are made of beside plain clauses (compartments, lists, filters), on every index (search/index.py)."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contracts.filling import INDEXES, Filled, all_applied, asked, filled_with
from contracts.index_harness import PARAMETERS, Database, Memory, all_pages
from hypothesis import given
from hypothesis import strategies as st

from search.compartments import within
from search.index import Latest
from search.indexes.latest import latest_of
from search.parse import parse
from search.query import Clause, Grant, Grants, Modifier, Query, Term
from search.values import TokenValue


def refer(target: str) -> dict[str, str]:
    return {"reference": target}


def observation(code: str, patient: str, **more: Any) -> dict[str, Any]:
    coding = {"coding": [{"system": "http://loinc.org", "code": code}]}
    return {"status": "final", "code": coding, "subject": refer(f"Patient/{patient}"), **more}


def slot(schedule: str, start: str, end: str, status: str = "free") -> dict[str, Any]:
    service = [{"coding": [{"system": "http://s", "code": "57"}]}]
    return {"schedule": refer(schedule), "status": status, "start": start, "end": end, "serviceType": service}


DOCUMENTS: dict[str, dict[str, Any]] = {
    "Patient/1": {"name": [{"family": "Chalmers", "given": ["Peter", "James"]}], "gender": "male", "birthDate": "1974-12-25"},
    "Patient/2": {"name": [{"family": "Windsor", "given": ["Peter"]}], "gender": "female", "birthDate": "2010-05-01"},
    "Patient/3": {"name": [{"text": "Ann, the first"}], "active": True, "generalPractitioner": [refer("Practitioner/1")]},
    "Practitioner/1": {"name": [{"family": "Careful"}]},
    "Encounter/1": {"status": "finished", "class": {"code": "AMB"}, "subject": refer("Patient/1")},
    "Observation/1": observation("1", "1", encounter=refer("Encounter/1"), valueQuantity={"value": 185, "unit": "lbs"}),
    "Observation/2": observation("1", "2", performer=[refer("Practitioner/1")], effectiveDateTime="2026-01-02"),
    "Observation/3": observation("2", "1", effectivePeriod={"start": "2026-01-01", "end": "2026-01-31"}),
    "PractitionerRole/1": {"specialty": [{"coding": [{"code": "cardio"}]}], "practitioner": refer("Practitioner/1")},
    "Location/1": {"name": "North", "address": {"city": "Bergen"}},
    "Schedule/1": {"actor": [refer("PractitionerRole/1"), refer("Location/1")]},
    "Schedule/2": {"actor": [refer("Location/1")]},
    "Slot/1": slot("Schedule/1", "2026-03-01T10:00:00Z", "2026-03-01T10:30:00Z"),
    "Slot/2": slot("Schedule/1", "2026-03-01T10:30:00.500Z", "2026-03-01T11:00:00Z"),
    "Slot/3": slot("Schedule/1", "2026-03-01T11:00:00Z", "2026-03-01T11:30:00Z", "busy"),
    "Slot/4": slot("Schedule/2", "2026-03-02T00:00:00+02:00", "2026-03-02T01:00:00+02:00"),
    "List/42": {"status": "current", "mode": "working", "entry": [{"item": refer("Patient/1")}, {"item": refer("Patient/3")}]},
    "List/43": {"status": "current", "mode": "working", "contained": [{"resourceType": "Patient", "id": "p", "active": True}]},
}
"""By address; their rows are numbered in this order."""


SORTABLE = {**DOCUMENTS, "Observation/4": observation("9", "99")}
"""With an observation whose patient is not there."""


@pytest.fixture(params=INDEXES)
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    """An index of each kind with DOCUMENTS in it."""
    with filled_with(DOCUMENTS, request, tmp_path) as made:
        yield made


def found(filled: Filled, query: Query) -> str:
    """The ids that a search finds, sorted; its total must agree."""

    async def search() -> str:
        await filled.index.open()
        try:
            result = await filled.index.search(query)
        finally:
            await filled.index.close()
        assert result.total == len(result.keys)
        return " ".join(sorted(key.id for key in result.keys))

    return asyncio.run(search())


@pytest.mark.parametrize(("contained", "ids"), [("Patient", "43"), ("Person", "")])
def test_what_contains_a_type(filled: Filled, contained: str, ids: str) -> None:
    """Documents are found by the types of the resources in them; the values of these are not the document's."""
    parameter = PARAMETERS.containing("List")
    assert parameter is not None
    query = Query("List", (Clause(parameter, Modifier.NONE, (Term(TokenValue("", contained)),)),))
    assert found(filled, query) == ids
    assert found(filled, parse("Patient", "active=true", parameters=PARAMETERS, base_url="http://here/fhir").query) == "3"


@pytest.mark.parametrize(
    ("type", "owner", "ids"),
    [
        ("Observation", "Encounter/1", "1"),
        ("Encounter", "Encounter/1", "1"),
        ("Encounter", "Encounter/9", ""),
        ("Observation", "Practitioner/1", "2"),
        ("Patient", "Practitioner/1", "3"),
        ("Practitioner", "Practitioner/1", "1"),
        ("Organization", "Encounter/1", ""),
        ("Observation", "Device/1", ""),
    ],
)
def test_compartments(filled: Filled, type: str, owner: str, ids: str) -> None:
    """A compartment that is no Patient's is a condition on the references that lead into it."""
    compartment, _, id = owner.partition("/")
    assert found(filled, Query(type, (within(compartment, id, type, PARAMETERS),))) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Patient?_list=42", "1 3"),
        ("Patient?_list=42,43", "1 3"),
        ("Patient?_list=List/42&gender=male", "1"),
        ("Patient?_list=43", ""),
        ("Patient?_list=44", ""),
        ("Observation?_list=42", ""),
        ("Observation?patient._list=42", "1 3"),
    ],
)
def test_lists(filled: Filled, text: str, ids: str) -> None:
    """_list finds what a List of this server has as an item."""
    assert found(filled, asked(text)) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('Patient?_filter=name co "halm"', "1"),
        ("Patient?_filter=given eq peter", "1 2"),
        ("Patient?_filter=given eq pete", ""),
        ("Patient?_filter=given sw pete", "1 2"),
        ('Patient?_filter=given ew "ES"', "1"),
        ("Patient?_filter=given eq peter and birthdate ge 2010-01-01", "2"),
        ("Patient?_filter=given eq james or family eq WINDSOR", "1 2"),
        ("Patient?_filter=gender eq female or gender eq male and birthdate lt 2000", "1"),
        ("Patient?_filter=gender eq female or (gender eq male and birthdate lt 2000)", "1 2"),
        ("Patient?_filter=not (gender eq male)", "2 3"),
        ("Patient?_filter=gender ne male", "2"),
        ("Patient?_filter=gender pr true", "1 2"),
        ("Patient?_filter=gender pr false", "3"),
        ("Patient?_filter=family ne Windsor", "1"),
        ('Patient?_filter=name eq "ann, the first"', "3"),
        ("Patient?_filter=_id ne 1 and active pr false", "2"),
        ("Patient?_filter=general-practitioner re Practitioner/1", "3"),
        ("Patient?_filter=_lastUpdated lt 1971", "1 2 3"),
        ("Observation?_filter=code eq http://loinc.org|1", "1 2"),
        ("Observation?_filter=date po 2026-01-02", "2 3"),
        ("Observation?_filter=date eq 2026-01-02", "2"),
        ("Observation?_filter=value-quantity gt 180", "1"),
        ("Observation?_filter=value-quantity ne 185", ""),
        ("Observation?_filter=subject.name co halm", "1 3"),
        ("Observation?_filter=patient[gender eq female].name sw win", "2"),
        ("Observation?_filter=patient[gender eq male].name sw win", ""),
        ("Observation?_filter=not (patient.gender eq male)", "2"),
        ("Observation?_filter=performer pr true or encounter eq Encounter/1&code=1", "1 2"),
        ("Encounter?_filter=patient.given eq james and status eq finished", "1"),
    ],
)
def test_filters(filled: Filled, text: str, ids: str) -> None:
    """_filter finds what its expression says."""
    assert found(filled, asked(text)) == ids


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Slot?status=free&start=ge2026-03-01", "1 2 4"),
        ("Slot?status=free&start=ge2026-03-01T10:30:00Z", "2 4"),
        ("Slot?status=free&start=gt2026-03-01T10:30:00Z", "4"),
        ("Slot?status=free&start=gt2026-03-01T10:30:00.499Z", "2 4"),
        ("Slot?status=free&start=sa2026-03-01T10:30:00Z", "4"),
        ("Slot?start=ap2026-03-01T10:30:00Z&start=le2026-03-01T10:30:00Z&start=ge2026-03-01T10:30:00Z", "2"),
        ("Slot?start=eq2026-03-01T10:30:00Z", "2"),
        ("Slot?start=2026-03-01", "1 2 3 4"),
        ("Slot?start=ge2026-03-01T11:00:00Z&start=lt2026-03-02", "3 4"),
        ("Slot?status=free&schedule.actor:PractitionerRole.specialty=cardio", "1 2"),
        ("Slot?status=free&schedule.actor:PractitionerRole.practitioner.name=careful&start=gt2026-03-01T10:00:00Z", "2"),
        ("Slot?service-type=http://s|57&status=free&schedule.actor:Location.address-city=berg", "1 2 4"),
        ("Slot?status=free&schedule.actor=Location/1&start=lt2026-03-01T10:15:00Z", "1"),
        ("Slot?_filter=status eq free and start ge 2026-03-01T10:30:00Z and schedule.actor re PractitionerRole/1", "2"),
    ],
)
def test_free_slots(filled: Filled, text: str, ids: str) -> None:
    """Slots by status, time, service and, through their schedule, by who offers them and where."""
    assert found(filled, asked(text)) == ids


@pytest.mark.parametrize(("allowed", "tells"), [(None, True), ((Grant("Patient"),), False), ((), False)])
def test_explained(tmp_path: Path, allowed: Grants | None, tells: bool) -> None:
    """What drove a search and how many rows it had is told, but not where access is limited: rows are others' documents too."""
    made = Database(tmp_path / "a.sqlite")
    made.update(all_applied(DOCUMENTS))

    async def search() -> str:
        await made.index.open()
        try:
            query = replace(asked("Patient?gender=male&_filter=given eq peter or family eq x"), explain=True, allowed=allowed)
            return " ".join((await made.index.search(query)).explained)
        finally:
            await made.index.close()

    text = asyncio.run(search())
    assert " ms" in text and "peter" not in text
    assert ("gender: 1 row" in text, "Driven by" in text, "steps" in text) == (tells, tells, tells)
    made.close()


CHAINED = [
    ("Observation?_sort=patient.birthdate,_id", "1 3 2 4"),
    ("Observation?_sort=-patient.birthdate,_id", "2 1 3 4"),
    ("Observation?_sort=subject:Patient.family,-_id", "3 1 2 4"),
    ("Observation?_sort=patient._id,_id", "1 3 2 4"),
    ("Observation?_sort=-patient._lastUpdated,_id", "2 1 3 4"),
    ("Observation?_sort=encounter.patient.birthdate,_id", "1 2 3 4"),
    ("Slot?_sort=-schedule.actor:PractitionerRole.practitioner.name,_id&status=free", "1 2 4"),
    ("Patient?_sort=general-practitioner:Practitioner.name,_id", "3 1 2"),
]


@pytest.fixture(params=INDEXES)
def sortable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filled]:
    """An index of each kind with SORTABLE in it."""
    with filled_with(SORTABLE, request, tmp_path) as made:
        yield made


@pytest.mark.parametrize(("text", "ids"), CHAINED)
@pytest.mark.parametrize("count", [1, 2, 20])
def test_sorted_by_what_is_referred_to(sortable: Filled, text: str, ids: str, count: int) -> None:
    """Chained sort keys take the values at the end of the references; what has none comes last; pages meet."""

    async def search() -> list[str]:
        await sortable.index.open()
        try:
            return [key.id for page in await all_pages(sortable.index, replace(asked(text), count=count)) for key in page.keys]
        finally:
            await sortable.index.close()

    assert " ".join(asyncio.run(search())) == ids


def test_chained_keys_do_not_leak(sortable: Filled) -> None:
    """What access does not allow has no value to sort by."""
    query = replace(asked("Observation?_sort=patient.birthdate,_id"), allowed=(Grant("Observation"),))

    async def search() -> list[str]:
        await sortable.index.open()
        try:
            return [key.id for key in (await sortable.index.search(query)).keys]
        finally:
            await sortable.index.close()

    assert asyncio.run(search()) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize(
    ("text", "most", "groups", "apart"),
    [
        ("Observation?", 1, "2 3", ""),
        ("Observation?", 2, "2,1 3", ""),
        ("Observation?patient=1", 1, "3 1", ""),
        ("Observation?patient.gender=female", 5, "2", ""),
        ("Observation?code=9", 1, "", ""),
        ("Encounter?", 1, "", "1"),
    ],
)
def test_latest(kind: str, tmp_path: Path, text: str, most: int, groups: str, apart: str) -> None:
    """An index that can group gives the latest documents of each code, groups in the order of their latest."""
    made = Memory() if kind == "memory" else Database(tmp_path / "a.sqlite")
    made.update(all_applied(DOCUMENTS))
    query = asked(text)

    async def search() -> Latest:
        await made.index.open()
        try:
            return await made.index.latest(
                query, PARAMETERS.of(query.type)["code" if query.type == "Observation" else "type"], most
            )
        finally:
            await made.index.close()

    latest = asyncio.run(search())
    assert " ".join(",".join(key.id for key in group) for group in latest.groups) == groups
    assert " ".join(key.id for key in latest.apart) == apart
    made.close()


_codes = st.lists(st.sampled_from("abcdef"), max_size=3).map(tuple)


@given(st.lists(st.tuples(st.integers(0, 3), _codes), max_size=12), st.integers(1, 3))
def test_groups_are_connected_codes(made: list[tuple[int, tuple[str, ...]]], most: int) -> None:
    """Documents are together exactly where codes in common lead from one to the other, and only the latest are left."""
    documents = sorted(((number, *rest) for number, rest in enumerate(made)), key=lambda one: -one[1])
    groups, apart = latest_of(documents, most)
    assert apart == [number for number, _, codes in documents if not codes]
    expected: list[set[int]] = []
    for number, _, codes in documents:
        near = [group for group in expected if any(set(codes) & set(made[other][1]) for other in group)]
        if codes:
            expected = [group for group in expected if group not in near] + [{number}.union(*near)]
    left = []
    for together in expected:
        dates = sorted((made[number][0] for number in together), reverse=True)
        last = dates[min(most, len(dates)) - 1]
        left.append({number for number in together if made[number][0] >= last})
    assert sorted(map(sorted, left)) == sorted(map(sorted, groups))
