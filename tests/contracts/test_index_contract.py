"""The index contract (search/index.py), one suite on every implementation, with documents as the Extractor sees them."""

from pathlib import Path

import msgspec
import pytest
from contracts.filling import Filled, applied, asked, rule, run
from contracts.index_harness import Database, Memory, all_pages

from resources.store import Key
from search.index import SearchIndex
from search.query import Compartment

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
    ("Observation?value-quantity=66,67,68,69,71", ""),
    ("Observation?value-quantity=66,67,68,69,70", "1"),
    ("Observation?value-quantity=66||kg,67||kg,68||kg,69||kg,71||kg", ""),
    ("Observation?value-quantity=66||kg,67||kg,68||kg,69||kg,70||kg", "1"),
    ("Observation?value-quantity=66|urn:x|kg,67|urn:x|kg,68|urn:x|kg,69|urn:x|kg,70|urn:x|kg", ""),
    ("Observation?value-quantity=66|urn:x|kg,67|urn:x|kg,68|urn:x|kg,69|urn:x|kg,70", "1"),
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
def test_found(filled: Filled, text: str, ids: str) -> None:
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
    ("Observation", "value-quantity", [f"{n}" for n in MANY], "1 2 3"),
    ("Observation", "patient", [f"{n}" for n in MANY], "4"),
    ("Observation", "has-member", [f"{n}" for n in MANY], ""),
    ("Observation", "performer", [f"{n}" for n in range(1, 900)], "4"),
]


@pytest.mark.parametrize(("type", "name", "values", "ids"), LONG, ids=[f"{type}-{name}" for type, name, *_ in LONG])
@pytest.mark.parametrize("more", ["", "&_sort=-_id", "&_lastUpdated=lt2020"])
def test_many_alternatives(filled: Filled, type: str, name: str, values: list[str], ids: str, more: str) -> None:
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
def test_sorted(filled: Filled, text: str, ids: str) -> None:
    """Documents come in the order asked for, those without a value last, on one page as on pages of two."""
    exact = text != "Observation?_sort=-value-quantity"

    async def test(index: SearchIndex) -> None:
        found = [key.id for key in (await index.search(asked(text))).keys]
        assert found == ids.split() or not exact
        assert found[0] == ids[0] and found[-1] == ids[-1]
        assert [key.id for page in await all_pages(index, asked(text, count=2)) for key in page.keys] == found

    run(filled, test)


def test_search_in_turn(filled: Filled) -> None:
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
    [("none", (None, True)), ("cheap", (5, True)), ("estimate", (5, True)), ("accurate", (5, True))],
    ids=["none", "cheap", "estimate", "accurate"],
)
def test_totals(filled: Filled, total: str, expected: tuple[int | None, bool]) -> None:
    """A total comes where it was asked for, also beside a first page that does not hold everything."""

    async def test(index: SearchIndex) -> None:
        result = await index.search(asked("Observation?code:missing=false&_count=1", total=total))
        assert (result.total, result.total_exact) == expected
        empty = await index.search(asked("Observation?code:missing=false", count=0))
        assert (empty.keys, empty.cursor, empty.total) == ([], None, 5)

    run(filled, test)


def test_cursors_are_plain_values(filled: Filled) -> None:
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


def test_changes_are_seen_at_once(filled: Filled) -> None:
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


def test_caught_up(filled: Filled) -> None:
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
