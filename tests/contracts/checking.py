"""What must hold of an index on generated documents and searches, whichever engine it runs on: it answers as search.match does."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

from contracts.filling import Filled
from contracts.index_harness import (
    CODES,
    PARAMETERS,
    all_pages,
    applied,
    compartments,
    documents,
    gone,
    grants,
    put,
    queries,
)
from hypothesis import strategies as st

from resources.store import Key
from resources.stores.participant import Applied
from search.match import Document, allows, matches, sort_value
from search.query import Include, Query


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


async def check(query: Query, made: list[Applied], filled: Filled) -> None:
    """All pages joined are the documents that search.match accepts, each once, in the order of the sort keys; totals are exact."""
    filled.clear()
    filled.update(made)
    await filled.index.open()
    try:
        pages = await all_pages(filled.index, query)
        only_total = await filled.index.search(replace(query, count=0, total="accurate"))
    finally:
        await filled.index.close()
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


def check_allowed(data: st.DataObject, type: str, filled: Filled) -> None:
    """Of any keys, those remain whose documents the oracle allows; and no include leads to any other."""
    made = applied(type, data.draw(st.lists(documents(type), max_size=12)))
    within, allowed = data.draw(compartments), data.draw(grants(type))
    keys = [Key(type, str(n), data.draw(st.sampled_from([0, n, 3]))) for n in range(1, len(made) + 2)]
    expected = [key for key, c in zip(keys, made, strict=False) if allows(within, allowed, document(c))]
    referring = [p for p in PARAMETERS.of(type).values() if p.kind == "reference" and p.code in ("patient", "subject")]
    rules = [Include(type, tuple(referring), None, reverse=True)] if referring else []
    filled.clear()
    filled.update(made)

    async def run() -> None:
        await filled.index.open()
        try:
            assert await filled.index.allowed(keys, compartments=within, allowed=allowed) == expected
            found = await filled.index.include([Key("Patient", "1")], rules, limit=50)
            left = await filled.index.include([Key("Patient", "1")], rules, limit=50, compartments=within, allowed=allowed)
            assert left.keys == [key for key in found.keys if key in expected]
        finally:
            await filled.index.close()

    asyncio.run(run())


def check_pages(data: st.DataObject, filled: Filled) -> None:
    """Documents that nobody changes come exactly once over the pages of a search, whatever is added, changed or deleted meanwhile."""
    type = data.draw(st.sampled_from(sorted(CODES)))
    made = applied(type, data.draw(st.lists(documents(type), min_size=4, max_size=10)))
    query = replace(data.draw(queries(type)), total="none", count=2)
    filled.clear()
    filled.update(made)
    found, touched = asyncio.run(_read_while_written(data, query, len(made), filled))
    for change in made:
        if change.id not in touched:
            assert found.count(change.id) == matches(query, document(change), World(made))


async def _read_while_written(data: st.DataObject, query: Query, made: int, filled: Filled) -> tuple[list[str], set[str]]:
    """The ids found on all pages, and those that were written after one of them."""
    found: list[str] = []
    touched: set[str] = set()
    await filled.index.open()
    try:  # hypothesis may end an example at any draw
        cursor, rows = None, 100
        for _ in range(50):
            page = await filled.index.search(replace(query, cursor=cursor))
            found += [key.id for key in page.keys]
            cursor = page.cursor
            if cursor is None:
                break
            row = data.draw(st.sampled_from([*range(1, made + 1), rows]))
            touched.add(str(row))
            if row == rows or data.draw(st.booleans()):
                new = put(row, query.type, str(row), data.draw(documents(query.type)), instant=rows, new=row == rows)
                filled.update([new])
            else:
                filled.update([gone(row, query.type, str(row))])
            rows += row == rows
    finally:
        await filled.index.close()
    return found, touched
