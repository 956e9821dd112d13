"""Properties of the SQLite index: it finds what search.match says, in order, over all pages; and it keeps no stale rows."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from contracts.checking import World, check, check_allowed, check_pages, document
from contracts.index_harness import (
    ASKED,
    CODES,
    PARAMETERS,
    TINY,
    Database,
    Memory,
    all_pages,
    applied,
    documents,
    gone,
    linked,
    linked_queries,
    put,
    queries,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.stores.participant import Applied
from search.indexes.sqlite.reader import Limits
from search.match import matches
from search.query import Clause, Modifier, Prefix, Query, SortKey
from search.values import QuantityValue, StringValue

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Database]]:
    """Databases with the usual limits, with tiny ones, and with the usual ones again, used again by every example."""
    folder = tmp_path_factory.mktemp("index")
    made = [Database(folder / f"{n}.sqlite", limits=limits) for n, limits in enumerate((Limits(), TINY, Limits()))]
    yield made
    for database in made:
        database.close()


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize("type", sorted(CODES))
@SLOW
@given(data=st.data())
def test_search_agrees_with_the_oracle(databases: list[Database], type: str, tiny: bool, data: st.DataObject) -> None:
    """All pages joined are the documents that search.match accepts, each once, in the order of the sort keys; totals are exact."""
    made = applied(type, data.draw(st.lists(documents(type), max_size=12)))
    asyncio.run(check(data.draw(queries(type)), made, databases[tiny]))


@pytest.mark.parametrize("tiny", [False, True])
@SLOW
@given(data=st.data())
def test_many_quantities_agree_with_the_oracle(databases: list[Database], tiny: bool, data: st.DataObject) -> None:
    """So do several numbers at once, in some unit, in any, or as ends of what is not known exactly."""
    made = applied("Observation", data.draw(st.lists(documents("Observation"), max_size=12)))
    narrow = ASKED["quantity"].filter(lambda term: tuple(term.value)[4] - tuple(term.value)[3] < 2)
    first, *terms = data.draw(st.lists(narrow, min_size=5, max_size=7))
    of_unit = tuple(first.value)[:3]
    equal = (replace(first, prefix=Prefix.EQ, value=QuantityValue(*of_unit, *tuple(term.value)[3:])) for term in terms)
    asked = data.draw(queries("Observation"))
    clause = Clause(
        PARAMETERS.of("Observation")["value-quantity"], Modifier.NONE, (*(terms[:1] if data.draw(st.booleans()) else ()), *equal)
    )
    asyncio.run(check(replace(asked, clauses=(clause,)), made, databases[tiny]))


@pytest.mark.parametrize("codes", [("name",), ("name", "birthdate"), ("name", "name")])
def test_an_empty_text_stands_before_none(databases: list[Database], codes: tuple[str, ...]) -> None:
    """What is left of a text without accents and marks may be empty: it is sorted as a text, before documents that have none."""
    made = applied("Patient", [{}, {"name": [StringValue("", "")]}])
    keys = tuple(SortKey(PARAMETERS.of("Patient")[code], False) for code in codes)
    asyncio.run(check(Query("Patient", (), sort=keys, count=1, total="none"), made, databases[0]))


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize("type", ["Patient", "Observation", "Encounter"])
@SLOW
@given(data=st.data())
def test_chains_and_groups_agree_with_the_oracle(databases: list[Database], type: str, tiny: bool, data: st.DataObject) -> None:
    """Chains, reverse chains, and any mixture of and, or and not, on documents of several types that refer to one another."""
    made = data.draw(linked())
    asyncio.run(check(data.draw(linked_queries(type)), made, databases[tiny]))


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize("type", sorted(CODES))
@SLOW
@given(data=st.data())
def test_what_is_allowed_agrees_with_the_oracle(databases: list[Database], type: str, tiny: bool, data: st.DataObject) -> None:
    """Of any keys, those remain whose documents the oracle allows; and no include leads to any other."""
    check_allowed(data, type, databases[tiny])


@pytest.mark.parametrize("type", sorted(CODES))
@SLOW
@given(data=st.data())
def test_no_stale_rows(databases: list[Database], type: str, data: st.DataObject) -> None:
    """After any creates, updates and deletions the tables hold exactly what they would if they were filled from the end state."""
    made = applied(type, data.draw(st.lists(documents(type), min_size=1, max_size=5)))
    state = {change.row: change for change in made}
    rounds: list[list[Applied]] = [made]
    for instant in range(100, 100 + data.draw(st.integers(1, 3))):
        changes = []
        for row in data.draw(st.lists(st.integers(1, 6), unique=True, min_size=1, max_size=4)):
            if row in state and data.draw(st.booleans()):
                changes.append(gone(row, type, str(row)))
                del state[row]
            else:
                new = row == 6 and all(change.row != 6 for done in rounds for change in done)
                changes.append(put(row, type, str(row), data.draw(documents(type)), instant=instant, new=new))
                state[row] = changes[-1]
        rounds.append(changes)
    lived, _, fresh = databases
    lived.clear()
    for changes in rounds:
        lived.update(changes)
    fresh.clear()
    fresh.update([change._replace(created=True, new=True) for change in state.values()])
    assert lived.content() == fresh.content()


@SLOW
@given(data=st.data())
def test_pages_stay_whole_while_others_write(databases: list[Database], data: st.DataObject) -> None:
    """Documents that nobody changes come exactly once over the pages of a search, whatever is added, changed or deleted meanwhile."""
    check_pages(data, databases[data.draw(st.booleans())])


@SLOW
@given(data=st.data())
def test_both_indexes_page_alike(data: st.DataObject) -> None:
    """The index in memory gives the same documents and totals on its own pages."""
    type = data.draw(st.sampled_from(sorted(CODES)))
    made = applied(type, data.draw(st.lists(documents(type), max_size=10)))
    query = data.draw(queries(type))
    memory = Memory()
    memory.update(made)
    pages = asyncio.run(all_pages(memory.index, query))
    expected = {c.id for c in made if matches(query, document(c), World(made))}
    assert sorted(key.id for page in pages for key in page.keys) == sorted(expected)
    assert {page.total for page in pages} == ({None} if query.total == "none" else {len(expected)})
