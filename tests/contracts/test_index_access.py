"""What an access decision and the address leave of searches and includes, on every index (search/index.py)."""

from dataclasses import replace
from typing import Any

import pytest
from contracts.filling import DOCUMENTS, Filled, asked, grant, key, rule, run
from contracts.index_harness import all_pages

from search.index import SearchIndex
from search.query import Compartment, Grant, Grants, Include, Modifier


@pytest.mark.parametrize(
    ("text", "patient", "ids"),
    [
        ("Observation", "1", "1 2 3 4"),
        ("Observation?performer=Patient/1", "2", "4"),
        ("Observation?patient=Patient/2", "1", "4"),
        ("Appointment", "2", "1"),
        ("Patient", "1", "1 3"),
        ("Organization", "1", ""),
        ("Observation?code=a", "9", ""),
    ],
)
def test_compartment(filled: Filled, text: str, patient: str, ids: str) -> None:
    """A compartment narrows page and total alike; a document may lie in several."""

    async def test(index: SearchIndex) -> None:
        result = await index.search(asked(text).with_filter(Compartment(patient)))
        assert sorted(key.id for key in result.keys) == ids.split()
        assert result.total == len(ids.split())

    run(filled, test)


@pytest.mark.parametrize(
    ("text", "patients", "ids"),
    [
        ("Observation", "1 2", "4"),
        ("Observation?code=a", "2 1", "4"),
        ("Appointment", "1 2", "1"),
        ("Appointment", "1 3", ""),
        ("Patient", "1 3", "3"),
        ("Observation", "1 1", "1 2 3 4"),
    ],
)
def test_several_compartments(filled: Filled, text: str, patients: str, ids: str) -> None:
    """A document must lie in all compartments, on the page, on pages of one and in the total."""

    async def test(index: SearchIndex) -> None:
        query = asked(text)
        for patient in patients.split():
            query = query.with_filter(Compartment(patient))
        result = await index.search(query)
        assert sorted(key.id for key in result.keys) == ids.split()
        assert result.total == (await index.search(replace(query, count=0))).total == len(ids.split())
        pages = await all_pages(index, replace(query, count=1))
        assert [key for page in pages for key in page.keys] == result.keys

    run(filled, test)


NOT_ABOUT = Grant(
    "Observation", None, tuple(replace(c, modifier=Modifier.NOT) for c in grant("Observation?subject=Patient/1").clauses)
)
"""What can be asked for by no parameter: a reference that leads elsewhere, or nowhere."""

ALLOWED: list[tuple[str, Grants, str]] = [
    ("Observation", (), ""),
    ("Observation", (grant("Patient"),), ""),
    ("Observation", (grant("Observation"),), "1 2 3 4 5"),
    ("Observation", (Grant("*"),), "1 2 3 4 5"),
    ("Observation", (Grant("*", Compartment("2")),), "4"),
    ("Observation", (grant("Observation?code=b"),), "3"),
    ("Observation", (grant("Observation?code=b"), grant("Observation?status=amended")), "2 3"),
    ("Observation", (grant("Observation?code=b", "1"), grant("Observation?status=amended", "1")), "2 3"),
    ("Observation", (grant("Observation?code=b", "2"), grant("Observation?status=amended", "1")), "2"),
    ("Observation", (grant("Observation", "2"), grant("Observation?code=b", "1")), "3 4"),
    ("Observation", (grant("Observation", "2"), grant("Observation", "1")), "1 2 3 4"),
    ("Observation", (grant("Observation?code=b", "1"), grant("Observation")), "1 2 3 4 5"),
    ("Observation?code=a", (grant("Observation", "2"), grant("Observation?date=le2026-01-01")), "1 4"),
    ("Observation", (Grant("Observation", without=frozenset("2")),), "1 2 3 5"),
    ("Observation", (Grant("Observation", without=frozenset(("1", "2", "9"))),), "5"),
    ("Observation", (Grant("Observation", without=frozenset(("2", *map(str, range(100, 200))))),), "1 2 3 5"),
    ("Observation", (Grant("Observation", free=True),), "5"),
    ("Observation", (Grant("Observation", free=True), grant("Observation", "2")), "4 5"),
    ("Observation", (Grant("Observation", Compartment("1"), without=frozenset("2")),), "1 2 3"),
    ("Observation", (replace(grant("Observation?code=b"), without=frozenset("2")), grant("Observation", "2")), "3 4"),
    ("Observation", (grant("Observation?_id:not=1,4"),), "2 3 5"),
    ("Observation", (replace(grant("Observation?_id:not=1,3"), without=frozenset("2")),), "2 5"),
    ("Observation", (grant("Observation?_security:not=http://none.test|R"),), "1 2 3 4 5"),
    ("Observation", (NOT_ABOUT,), "4 5"),
    ("Patient", (grant("Patient?gender=male"), grant("Patient?name:contains=mit"), grant("Patient?_id=9")), "2 3"),
]


@pytest.mark.parametrize(("text", "grants", "ids"), ALLOWED, ids=range(len(ALLOWED)))
def test_grants(filled: Filled, text: str, grants: Grants, ids: str) -> None:
    """A document must satisfy one grant of its type, whatever else it satisfies: on the page, on pages of one and in the total."""

    async def test(index: SearchIndex) -> None:
        query = asked(text).with_filter(allowed=grants)
        result = await index.search(query)
        assert sorted(key.id for key in result.keys) == ids.split()
        assert result.total == (await index.search(replace(query, count=0))).total == len(ids.split())
        pages = await all_pages(index, replace(query, count=1))
        assert [key for page in pages for key in page.keys] == result.keys
        keys = [key(address) for address in DOCUMENTS if address.startswith(f"{query.type}/")]
        if not query.clauses:
            assert sorted(key.id for key in await index.allowed(keys, allowed=grants)) == ids.split()

    run(filled, test)


def test_what_lies_within(filled: Filled) -> None:
    """Of keys of any types, those remain, in their order, whose documents exist and lie within."""

    async def test(index: SearchIndex) -> None:
        addresses = "Observation/4 Patient/2 Patient/9 Organization/1 Observation/1 Nonsense/1 Appointment/1"
        keys = [key(address) for address in addresses.split()]
        there = await index.allowed(keys)
        assert [key.type for key in there] == ["Observation", "Patient", "Organization", "Observation", "Appointment"]
        assert await index.allowed(keys, compartments=[Compartment("2")]) == [keys[0], keys[1], keys[6]]
        assert await index.allowed(keys, compartments=[Compartment("2")], allowed=(grant("Observation"),)) == [keys[0]]
        assert await index.allowed(keys, allowed=()) == []

    run(filled, test)


NARROWED: list[tuple[str, list[Include], dict[str, Any], str]] = [
    ("Observation/4", [rule("Observation:*")], {"compartments": [Compartment("2")]}, "Patient/2"),
    ("Observation/1", [rule("Observation:subject")], {"compartments": [Compartment("2")]}, ""),
    ("Observation/4", [rule("Observation:*")], {"allowed": (grant("Patient?gender=female"),)}, "Patient/1"),
    ("Observation/4", [rule("Observation:*")], {"allowed": (grant("Observation"),)}, ""),
    (
        "Observation/1",
        [rule("Observation:subject"), rule("Patient:organization", iterate=True)],
        {"allowed": (grant("Organization"),)},
        "",
    ),
    ("Patient/1", [rule("Observation:*", reverse=True)], {"compartments": [Compartment("2")]}, "Observation/4"),
    (
        "Patient/1",
        [rule("Observation:patient", reverse=True)],
        {"allowed": (grant("Observation?code=b"), grant("Observation?date=2026-01-01"))},
        "Observation/1 Observation/3",
    ),
    ("Patient/1", [rule("Observation:patient", reverse=True)], {"allowed": ()}, ""),
]


@pytest.mark.parametrize(("page", "rules", "access", "expected"), NARROWED, ids=range(len(NARROWED)))
def test_includes_do_not_leak(filled: Filled, page: str, rules: list[Include], access: dict[str, Any], expected: str) -> None:
    """Nothing is included that the compartments and grants do not leave, nor through it; and it takes no room from the rest."""

    async def test(index: SearchIndex) -> None:
        keys = [key(address) for address in page.split()]
        limit = len(expected.split())
        result = await index.include(keys, rules, limit=limit, **access)
        assert sorted(f"{key.type}/{key.id}" for key in result.keys) == expected.split()
        assert not result.truncated

    run(filled, test)
