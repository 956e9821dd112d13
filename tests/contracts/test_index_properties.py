"""Properties of the SQLite index: it finds what search.match says, in order, over all pages; and it keeps no stale rows."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from contracts.index_harness import (
    CODES,
    PARAMETERS,
    TINY,
    Database,
    Memory,
    all_pages,
    applied,
    compartments,
    documents,
    gone,
    grants,
    linked,
    linked_queries,
    put,
    queries,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.store import Key
from resources.stores.participant import Applied
from search.indexes.sqlite.reader import Limits
from search.match import Document, allows, matches, sort_value
from search.query import Include, Query

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def document(change: Applied) -> Document:
    """A change as the oracle knows it."""
    return Document(Key(change.type, change.id), change.entry, change.instant)


class World:
    """All documents, for the oracle's chains."""

    def __init__(self, made: list[Applied]) -> None:
        self._made = made

    def of_type(self, type: str) -> list[Document]:
        return [document(change) for change in self._made if change.type == type]


def sort_values(query: Query, changes: dict[str, Applied], id: str, world: World) -> list[Any]:
    """What the oracle sorts a document by; of long texts the first 200 characters count."""
    change = changes[id]
    values = [sort_value(key, document(change), world, query.allowed) for key in query.sort]
    return [value[:200] if isinstance(value, str) else value for value in values]


def stands_before(query: Query, a: list[Any], b: list[Any]) -> bool:
    """Whether values `a` may come before `b`."""
    for key, x, y in zip(query.sort, a, b, strict=True):
        if x == y:
            continue
        if x is None or y is None:
            return y is None
        return bool((x < y) is not key.descending)
    return True


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Database]]:
    """Databases with the usual limits, with tiny ones, and with the usual ones again, used again by every example."""
    folder = tmp_path_factory.mktemp("index")
    made = [Database(folder / f"{n}.sqlite", limits=limits) for n, limits in enumerate((Limits(), TINY, Limits()))]
    yield made
    for database in made:
        database.close()


async def check(query: Query, made: list[Applied], database: Database) -> None:
    database.clear()
    database.update(made)
    await database.index.open()
    try:
        pages = await all_pages(database.index, query)
        only_total = await database.index.search(replace(query, count=0, total="accurate"))
    finally:
        await database.index.close()
    changes = {change.id: change for change in made if change.type == query.type}
    world = World(made)
    expected = {c.id for c in made if matches(query, document(c), world)}
    found = [key.id for page in pages for key in page.keys]
    assert sorted(found) == sorted(expected)
    values = [sort_values(query, changes, id, world) for id in found]
    assert all(stands_before(query, a, b) for a, b in pairwise(values))
    assert all(len(page.keys) == query.count for page in pages[:-1])
    assert {page.total for page in pages} == ({None} if query.total == "none" else {len(expected)})
    assert only_total.total == len(expected)
    assert only_total.keys == []


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize("type", sorted(CODES))
@SLOW
@given(data=st.data())
def test_search_agrees_with_the_oracle(databases: list[Database], type: str, tiny: bool, data: st.DataObject) -> None:
    """All pages joined are the documents that search.match accepts, each once, in the order of the sort keys; totals are exact."""
    made = applied(type, data.draw(st.lists(documents(type), max_size=12)))
    asyncio.run(check(data.draw(queries(type)), made, databases[tiny]))


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
    made = applied(type, data.draw(st.lists(documents(type), max_size=12)))
    within, allowed = data.draw(compartments), data.draw(grants(type))
    keys = [Key(type, str(n), data.draw(st.sampled_from([0, n, 3]))) for n in range(1, len(made) + 2)]
    expected = [key for key, c in zip(keys, made, strict=False) if allows(within, allowed, Document(key, c.entry, c.instant))]
    referring = [p for p in PARAMETERS.of(type).values() if p.kind == "reference" and p.code in ("patient", "subject")]
    rules = [Include(type, tuple(referring), None, reverse=True)] if referring else []
    memory, database = Memory(), databases[tiny]
    database.clear()
    for each in (memory, database):
        each.update(made)

    async def run() -> None:
        await database.index.open()
        for index in (memory.index, database.index):
            assert await index.allowed(keys, compartments=within, allowed=allowed) == expected
            found = await index.include([Key("Patient", "1")], rules, limit=50)
            left = await index.include([Key("Patient", "1")], rules, limit=50, compartments=within, allowed=allowed)
            assert left.keys == [key for key in found.keys if key in expected]
        await database.index.close()

    asyncio.run(run())


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
    type = data.draw(st.sampled_from(sorted(CODES)))
    made = applied(type, data.draw(st.lists(documents(type), min_size=4, max_size=10)))
    query = replace(data.draw(queries(type)), total="none", count=2)
    database = databases[data.draw(st.booleans())]
    database.clear()
    touched: set[str] = set()

    async def run() -> list[str]:
        await database.index.open()
        database.update(made)
        found: list[str] = []
        cursor, rows = None, 100
        for _ in range(50):
            page = await database.index.search(replace(query, cursor=cursor))
            found += [key.id for key in page.keys]
            cursor = page.cursor
            if cursor is None:
                break
            row = data.draw(st.sampled_from([*range(1, len(made) + 1), rows]))
            touched.add(str(row))
            if row == rows or data.draw(st.booleans()):
                database.update([put(row, type, str(row), data.draw(documents(type)), instant=rows, new=row == rows)])
            else:
                database.update([gone(row, type, str(row))])
            rows += row == rows
        await database.index.close()
        return found

    found = asyncio.run(run())
    for change in made:
        if change.id not in touched:
            assert found.count(change.id) == matches(query, document(change), World(made))


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
