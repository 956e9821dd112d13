"""The index contract (search/index.py), one suite on every implementation, with documents as the Extractor sees them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from contracts.elastic_harness import Elastic
from contracts.index_harness import EXTRACTOR, PARAMETERS, Database, Memory, all_pages

from resources.store import Key
from resources.stores.participant import Applied
from search.index import SearchIndex
from search.parse import parse
from search.query import Compartment, Grant, Grants, Include, Query

BASE = "http://here/fhir"
Test = Callable[[SearchIndex], Awaitable[None]]


def observation(code: str, patient: str, when: str, **more: Any) -> dict[str, Any]:
    return {
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": when,
        **more,
    }


def weight(value: float, unit: str = "kg", **more: Any) -> dict[str, Any]:
    return {"valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit, **more}}


DOCUMENTS: dict[str, dict[str, Any]] = {
    "Patient/1": {
        "name": [{"family": "Müller", "given": ["Ann", "Anna"]}],
        "gender": "female",
        "birthDate": "1980-05-02",
        "identifier": [{"system": "urn:mrn", "value": "11"}, {"system": "urn:other", "value": "11"}],
        "managingOrganization": {"reference": "Organization/1"},
        "text": {"status": "generated", "div": "<div><p>Chronic <b>heart</b> failure, x-ray of the lungs</p>ÉTAT STABLE</div>"},
    },
    "Patient/2": {"name": [{"family": "Muller", "given": ["Bob"]}], "gender": "male", "birthDate": "1980", "active": True},
    "Patient/3": {
        "name": [{"family": "Smith"}],
        "text": {"status": "generated", "div": "<div>Failure of the kidneys &amp; heart</div>"},
        "identifier": [{"value": "11"}],
        "link": [{"other": {"reference": "Patient/1"}}],
    },
    "Organization/1": {"name": "North"},
    "Observation/1": observation("a", "1", "2026-01-01T08:00:00Z", **weight(70)),
    "Observation/2": observation("a", "1", "2026-01-02", status="amended", **weight(71.5)),
    "Observation/3": observation("b", "1", "2026-01-03", **weight(154, "[lb_av]")),
    "Observation/4": observation("a", "2", "2026-01-04", performer=[{"reference": "Patient/1"}], **weight(70, comparator=">")),
    "Observation/5": {"status": "final", "code": {"text": "?"}, "subject": {"reference": "Group/1"}},
    "Encounter/1": {
        "status": "in-progress",
        "class": {"code": "IMP"},
        "subject": {"reference": "Patient/1"},
        "period": {"start": "2024-01-01"},
    },
    "Encounter/2": {
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": {"reference": "Patient/2"},
        "period": {"start": "2026-01-05T09:00:00Z", "end": "2026-01-05T10:00:00Z"},
    },
    "ValueSet/1": {"status": "active", "url": "http://v/1"},
    "Appointment/1": {
        "status": "booked",
        "participant": [{"actor": {"reference": "Patient/1"}}, {"actor": {"reference": "Patient/2"}}],
    },
}
"""By address; their rows are numbered, and their instants counted in seconds, in this order."""


def applied(row: int, address: str, document: dict[str, Any]) -> Applied:
    type, _, id = address.partition("/")
    entry = EXTRACTOR.extract(type, {"resourceType": type, "id": id, **document})
    return Applied(row, type, id, row * 1_000_000, entry, True, True)


@pytest.fixture(scope="module")
def elastic() -> Iterator[Elastic]:
    """Indices in Elasticsearch, which all tests share: they take long to make."""
    made = Elastic()
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite", "elastic"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database | Memory | Elastic]:
    """An index of each kind with DOCUMENTS in it."""
    content = [applied(row, address, document) for row, (address, document) in enumerate(DOCUMENTS.items(), 1)]
    if request.param == "elastic":
        shared: Elastic = request.getfixturevalue("elastic")
        shared.fill(content)
        yield shared
        return
    made = Memory() if request.param == "memory" else Database(tmp_path / "a.sqlite")
    made.update(content)
    yield made
    made.close()


def key(address: str) -> Key:
    """The key of `Type/id`."""
    type, _, id = address.partition("/")
    return Key(type, id)


def run(filled: Database | Memory | Elastic, test: Test) -> None:
    async def within() -> None:
        await filled.index.open()
        try:
            await test(filled.index)
        finally:
            await filled.index.close()

    asyncio.run(within())


def asked(text: str, **options: Any) -> Query:
    type, _, query = text.partition("?")
    return replace(parse(type, query, parameters=PARAMETERS, base_url=BASE).query, **options)


FOUND = [
    ("Patient?identifier=urn:mrn|11", "1"),
    ("Patient?identifier=11", "1 3"),
    ("Patient?identifier=|11", "3"),
    ("Patient?identifier=urn:other|", "1"),
    ("Patient?name=mull", "1 2"),
    ("Patient?family:exact=Muller", "2"),
    ("Patient?name:contains=LLE", "1 2"),
    ("Patient?name=ann,smi", "1 3"),
    ("Patient?name=mu&gender=female&birthdate=ge1970&birthdate=lt1990", "1"),
    ("Patient?gender:not=female", "2 3"),
    ("Patient?gender:missing=true", "3"),
    ("Patient?gender:missing=false", "1 2"),
    ("Patient?birthdate=1980", "1 2"),
    ("Patient?birthdate=1980-05", "1"),
    ("Patient?birthdate=ne1980-05-02", "2"),
    ("Patient?_id=1,3,9", "1 3"),
    ("Patient?_lastUpdated=gt1970-01-01T00:00:01.5Z", "2 3"),
    ("Patient?active=true", "2"),
    ("Patient?organization=Organization/1", "1"),
    ("Patient?organization.name=nor", "1"),
    ("Patient?link:Patient.organization:Organization.name=north", "3"),
    ("Patient?_has:Observation:patient:code=a", "1 2"),
    ("Patient?_has:Observation:patient:code=b", "1"),
    ("Patient?_has:Observation:performer:status=final", "1"),
    ("Patient?_has:Encounter:patient:status=finished&_has:Observation:patient:code=a", "2"),
    ("Patient?_has:Observation:patient:code=zz", ""),
    ("Organization?_has:Patient:organization:_has:Observation:patient:code=b", "1"),
    ("Observation?patient.name=muller", "1 2 3 4"),
    ("Observation?subject:Patient.gender=male", "4"),
    ("Observation?subject.gender=male&status=final", "4"),
    ("Observation?patient.organization.name=north&code=a", "1 2"),
    ("Observation?patient.gender:missing=true", ""),
    ("Appointment?patient.name=bob", "1"),
    ("Patient?link=1", "3"),
    ("Observation?patient=Patient/1", "1 2 3"),
    ("Observation?subject=Group/1", "5"),
    ("Observation?performer=Patient/1", "4"),
    ("Observation?patient=1,2&code=http://loinc.org|a&date=ge2026-01-02", "2 4"),
    ("Observation?patient=1&status=final&date=2026-01-01", "1"),
    ("Observation?date=le2026-01-02", "1 2"),
    ("Observation?date:missing=true", "5"),
    ("Observation?code:missing=true", ""),  # a concept of text only is there
    ("Observation?code:missing=false", "1 2 3 4 5"),
    ("Observation?value-quantity=70", "1"),
    ("Observation?value-quantity=gt70||kg", "2 4"),
    ("Observation?value-quantity=lt200|http://unitsofmeasure.org|[lb_av]", "1 2 3 4"),
    ("Observation?value-quantity=gt155|http://unitsofmeasure.org|[lb_av]", "2 4"),
    ("Observation?value-quantity=70000|http://unitsofmeasure.org|g", "1"),
    ("Observation?value-quantity=lt200", "1 2 3 4"),
    ("Encounter?date=ge2026", "1 2"),
    ("Encounter?date=lt2025", "1"),
    ("Encounter?date=sa2026-01-04", "2"),
    ("Encounter?class:not=AMB&status=in-progress", "1"),
    ("ValueSet?url=http://v/1", "1"),
    ("Appointment?patient=Patient/2", "1"),
    ("Appointment?actor=Patient/1&actor=Patient/2", "1"),
    ("Organization?name=south", ""),
    ("Patient?_text=heart", "1 3"),
    ("Patient?_text=HEART failure", "1 3"),
    ('Patient?_text="heart failure"', "1"),
    ('Patient?_text="heart fail*"', "1"),
    ("Patient?_text=x-ray", "1"),
    ("Patient?_text=ray-x", ""),
    ("Patient?_text=etat", "1"),
    ("Patient?_text=état stable", "1"),
    ("Patient?_text=(lung* OR kidney) and failure", "1"),
    ("Patient?_text=lung* OR kidney*", "1 3"),
    ("Patient?_text=kidneys,stable", "1 3"),
    ("Patient?_text=failure NOT chronic", "3"),
    ("Patient?_text=failure NOT (chronic OR kidneys)", ""),
    ("Patient?_text=div", ""),
    ("Patient?_text=smith", ""),
    ("Patient?_content=smith", "3"),
    ('Patient?_content="ann anna"', "1"),
    ("Patient?_content=smith kidneys", "3"),
    ("Patient?_content=bob OR lungs", "1 2"),
    ("Patient?_content=mrn", ""),
    ("Patient?_text=failure&gender=female", "1"),
    ("Patient?_text=failure&_text=kidneys", "3"),
    ("Observation?patient._text=lungs", "1 2 3"),
    ("Observation?patient._content=bob&status=final", "4"),
    ("Patient?_has:Observation:patient:_content=weight", ""),
    ("Organization?_content=north", "1"),
]


@pytest.mark.parametrize(("text", "ids"), FOUND)
def test_found(filled: Database | Memory | Elastic, text: str, ids: str) -> None:
    """A search finds the documents that it should, with the right total, on one page and on pages of one."""

    async def test(index: SearchIndex) -> None:
        result = await index.search(asked(text))
        assert sorted(key.id for key in result.keys) == ids.split()
        assert (result.total, result.total_exact, result.cursor) == (len(ids.split()), True, None)
        pages = await all_pages(index, asked(text, count=1))
        assert [key for page in pages for key in page.keys] == result.keys

    run(filled, test)


MANY = range(2, 1000)
LONG = [
    ("Patient", "_id", [f"{n}" for n in MANY], "2 3"),
    ("Patient", "_lastUpdated", [f"gt1970-01-01T00:{n // 60 % 60:02d}:{n % 60:02d}Z" for n in MANY], "3"),
    ("Patient", "name", [f"n{n}" for n in MANY] + ["smi"], "3"),
    ("Patient", "family:exact", [f"n{n}" for n in MANY] + ["Müller"], "1"),
    ("Patient", "name:contains", [f"n{n}" for n in MANY] + ["mit"], "3"),
    ("Patient", "identifier", [f"urn:{n}|11" for n in MANY] + ["urn:mrn|11"], "1"),
    ("Patient", "identifier", [f"{n}" for n in MANY], "1 3"),
    ("Patient", "identifier:not", [f"{n}" for n in MANY], "2"),
    ("Patient", "birthdate", [f"{n + 1000}-01" for n in MANY] + ["1980-05-02"], "1"),
    ("Observation", "date", [f"{n + 1000}-01-01" for n in MANY] + ["2026-01-02"], "2"),
    ("Observation", "value-quantity", [f"{n * 10}||kg" for n in MANY], "1"),
    ("Observation", "patient", [f"{n}" for n in MANY], "4"),
    ("Observation", "has-member", [f"{n}" for n in MANY], ""),
    ("Observation", "performer", [f"{n}" for n in range(1, 900)], "4"),
]


@pytest.mark.parametrize(("type", "name", "values", "ids"), LONG, ids=[f"{type}-{name}" for type, name, *_ in LONG])
@pytest.mark.parametrize("more", ["", "&_sort=-_id", "&_lastUpdated=lt2020"])
def test_many_alternatives(
    filled: Database | Memory | Elastic, type: str, name: str, values: list[str], ids: str, more: str
) -> None:
    """As many alternatives as a query may have are no trouble for any kind of parameter."""

    async def test(index: SearchIndex) -> None:
        result = await index.search(asked(f"{type}?{name}={','.join(values)}{more}"))
        assert sorted(key.id for key in result.keys) == ids.split()
        assert result.total == len(ids.split())

    run(filled, test)


SORTED = [
    ("Patient?_sort=family,-birthdate", "1 2 3"),
    ("Patient?_sort=birthdate", "2 1 3"),
    ("Patient?_sort=-birthdate", "1 2 3"),
    ("Patient?_sort=-_lastUpdated", "3 2 1"),
    ("Patient?_sort=_lastUpdated", "1 2 3"),
    ("Patient?_sort=gender", "1 2 3"),
    ("Patient?_sort=-_id", "3 2 1"),
    ("Observation?_sort=-date", "4 3 2 1 5"),
    ("Observation?_sort=date", "1 2 3 4 5"),
    ("Observation?_sort=code,-date", "4 2 1 3 5"),
    ("Observation?_sort=-value-quantity", "3 2 4 1 5"),
    ("Observation?code=a&_sort=-date", "4 2 1"),
    ("Observation", "4 3 2 1 5"),
]


@pytest.mark.parametrize(("text", "ids"), SORTED)
def test_sorted(filled: Database | Memory | Elastic, text: str, ids: str) -> None:
    """Documents come in the order asked for, those without a value last, on one page as on pages of two."""
    exact = text != "Observation?_sort=-value-quantity"

    async def test(index: SearchIndex) -> None:
        found = [key.id for key in (await index.search(asked(text))).keys]
        assert found == ids.split() or not exact
        assert found[0] == ids[0] and found[-1] == ids[-1]
        assert [key.id for page in await all_pages(index, asked(text, count=2)) for key in page.keys] == found

    run(filled, test)


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
def test_compartment(filled: Database | Memory | Elastic, text: str, patient: str, ids: str) -> None:
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
def test_several_compartments(filled: Database | Memory | Elastic, text: str, patients: str, ids: str) -> None:
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


def grant(text: str, patient: str = "") -> Grant:
    """`Observation?code=a` as a Grant, within a patient's compartment if one is named."""
    query = asked(text)
    return Grant(query.type, Compartment(patient) if patient else None, query.clauses)


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
    ("Patient", (grant("Patient?gender=male"), grant("Patient?name:contains=mit"), grant("Patient?_id=9")), "2 3"),
]


@pytest.mark.parametrize(("text", "grants", "ids"), ALLOWED, ids=range(len(ALLOWED)))
def test_grants(filled: Database | Memory | Elastic, text: str, grants: Grants, ids: str) -> None:
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


def test_what_lies_within(filled: Database | Memory | Elastic) -> None:
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


def test_search_in_turn(filled: Database | Memory | Elastic) -> None:
    """Several queries are read one after the other as one list, on pages of any size; without any hit they are an empty page."""

    async def test(index: SearchIndex) -> None:
        queries = [asked(text).with_filter(Compartment("1")) for text in ("Patient", "Basic", "Observation?code=a", "Encounter")]
        queries.append(asked("Organization"))
        expected = [key for query in queries for key in (await index.search(query)).keys]
        assert len(expected) == 7
        for count in range(1, 9):
            found: list[Key] = []
            page = await index.search_in_turn(queries, count=count)
            while True:
                found += page.keys
                assert page.total is None and len(page.keys) == (count if page.cursor else len(page.keys))
                if page.cursor is None:
                    break
                cursor = tuple(msgspec.json.decode(msgspec.json.encode(page.cursor)))
                page = await index.search_in_turn(queries, count=count, cursor=cursor)
            assert found == expected
        nobody = [query.with_filter(Compartment("9")) for query in queries]
        nothing = await index.search_in_turn(nobody, count=5)
        assert (nothing.keys, nothing.cursor) == ([], None)

    run(filled, test)


@pytest.mark.parametrize(
    ("total", "expected"),
    [("none", (None, True)), ("estimate", (5, True)), ("accurate", (5, True))],
    ids=["none", "estimate", "accurate"],
)
def test_totals(filled: Database | Memory | Elastic, total: str, expected: tuple[int | None, bool]) -> None:
    """A total comes where it was asked for, also beside a first page that does not hold everything."""

    async def test(index: SearchIndex) -> None:
        result = await index.search(asked("Observation?code:missing=false&_count=1", total=total))
        assert (result.total, result.total_exact) == expected
        empty = await index.search(asked("Observation?code:missing=false", count=0))
        assert (empty.keys, empty.cursor, empty.total) == ([], None, 5)

    run(filled, test)


def test_cursors_are_plain_values(filled: Database | Memory | Elastic) -> None:
    """A cursor survives being written as JSON, which is how links carry it."""

    async def test(index: SearchIndex) -> None:
        for text, _ in SORTED:
            first = await index.search(asked(text, count=1))
            assert first.cursor is not None
            cursor = tuple(msgspec.json.decode(msgspec.json.encode(first.cursor)))
            assert cursor == first.cursor
            second = await index.search(asked(text, count=1, cursor=cursor))
            assert second.keys and second.keys != first.keys

    run(filled, test)


def rule(text: str, **options: Any) -> Include:
    source, code, *target = text.split(":")
    found = PARAMETERS.of(source)
    chosen = tuple(p for p in found.values() if p.kind == "reference" and p.searchable) if code == "*" else (found[code],)
    return Include(source, chosen, target[0] if target else None, **options)


INCLUDED = [
    ("Observation/1 Observation/4", [rule("Observation:subject")], "Patient/1 Patient/2"),
    ("Observation/4", [rule("Observation:*")], "Patient/1 Patient/2"),
    ("Observation/5", [rule("Observation:subject")], ""),
    ("Observation/1", [rule("Observation:subject:Group")], ""),
    ("Observation/1", [rule("Observation:subject"), rule("Patient:organization", iterate=True)], "Organization/1 Patient/1"),
    ("Observation/1", [rule("Observation:subject"), rule("Patient:organization")], "Patient/1"),
    ("Patient/1", [rule("Observation:patient", reverse=True)], "Observation/1 Observation/2 Observation/3"),
    ("Patient/1", [rule("Observation:performer", reverse=True)], "Observation/4"),
    ("Patient/1 Patient/3", [rule("Patient:link", reverse=True)], ""),
    ("Patient/2", [rule("Appointment:actor", reverse=True)], "Appointment/1"),
    ("Organization/1", [rule("Patient:organization", reverse=True)], "Patient/1"),
    ("Patient/9", [rule("Patient:organization"), rule("Observation:patient", reverse=True)], ""),
]


@pytest.mark.parametrize(("page", "rules", "expected"), INCLUDED, ids=range(len(INCLUDED)))
def test_included(filled: Database | Memory | Elastic, page: str, rules: list[Include], expected: str) -> None:
    """Includes follow references that exist, each document once, none that the page has, whether keys carry hints or not."""

    async def test(index: SearchIndex) -> None:
        keys = [key(address) for address in page.split()]
        result = await index.include(keys, rules, limit=100)
        assert sorted(f"{key.type}/{key.id}" for key in result.keys) == expected.split()
        assert not result.truncated
        rows = {address: row for row, address in enumerate(DOCUMENTS, 1)}
        for off in (0, 1):  # right, and pointing elsewhere
            hinted = [Key(key.type, key.id, rows.get(f"{key.type}/{key.id}", 4) + off) for key in keys]
            assert await index.include(hinted, rules, limit=100) == result

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
def test_includes_do_not_leak(
    filled: Database | Memory | Elastic, page: str, rules: list[Include], access: dict[str, Any], expected: str
) -> None:
    """Nothing is included that the compartments and grants do not leave, nor through it; and it takes no room from the rest."""

    async def test(index: SearchIndex) -> None:
        keys = [key(address) for address in page.split()]
        limit = len(expected.split())
        result = await index.include(keys, rules, limit=limit, **access)
        assert sorted(f"{key.type}/{key.id}" for key in result.keys) == expected.split()
        assert not result.truncated

    run(filled, test)


def test_include_tells_when_it_is_cut(filled: Database | Memory | Elastic) -> None:
    """At the bound, includes stop and say so; with just as many as fit they do not."""

    async def test(index: SearchIndex) -> None:
        rules = [rule("Observation:patient", reverse=True)]
        cut = await index.include([Key("Patient", "1")], rules, limit=2)
        assert (len(cut.keys), cut.truncated) == (2, True)
        whole = await index.include([Key("Patient", "1")], rules, limit=3)
        assert (len(whole.keys), whole.truncated) == (3, False)

    run(filled, test)


def test_changes_are_seen_at_once(filled: Database | Memory | Elastic) -> None:
    """After a change the old values find nothing and the new ones do; after a deletion nothing does."""

    async def test(index: SearchIndex) -> None:
        changed = applied(2, "Patient/2", {"name": [{"family": "Jones"}], "birthDate": "1990"})
        filled.update([changed._replace(new=False, created=False)])
        assert (await index.search(asked("Patient?name=jones&birthdate=1990"))).total == 1
        assert (await index.search(asked("Patient?name=muller&gender=male"))).total == 0
        filled.update([changed._replace(new=False, created=False, entry=None, live=False)])
        assert (await index.search(asked("Patient?name=jones"))).total == 0
        assert (await index.include([Key("Observation", "4")], [rule("Observation:subject")], limit=9)).keys == []
        filled.update([changed._replace(new=False, created=True)])
        assert (await index.search(asked("Patient?name=jones"))).total == 1

    run(filled, test)


def test_caught_up(filled: Database | Memory | Elastic) -> None:
    """What is written in the store's own transactions can be found at once."""

    async def test(index: SearchIndex) -> None:
        assert await index.caught_up(("Patient", "Observation"))
        assert await index.caught_up(("Patient",), 1_000_000)

    run(filled, test)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_events_are_settled_when_searches_are_to_find_them(kind: str, tmp_path: Path) -> None:
    """Catching up on AuditEvents has the store index what it has written of them; on other types it has nothing to wait for."""
    settled = []

    async def settle() -> None:
        settled.append(True)

    made = Memory(settle=settle) if kind == "memory" else Database(tmp_path / "a.sqlite", settle=settle)

    async def test(index: SearchIndex) -> None:
        assert await index.caught_up(("Patient",)) and not settled
        assert await index.caught_up(("Patient", "AuditEvent")) and settled
        settled.clear()
        await index.search(asked("AuditEvent"))
        assert not settled

    run(made, test)
    made.close()
