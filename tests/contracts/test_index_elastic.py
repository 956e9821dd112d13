"""Properties of the Elasticsearch index: it finds what search.match says, in order, over all pages, with chains and access decisions."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from contracts.elastic_harness import Elastic
from contracts.index_harness import (
    CODES,
    PARAMETERS,
    all_pages,
    applied,
    compartments,
    documents,
    gone,
    grants,
    linked,
    linked_queries,
    parameter,
    put,
    queries,
)
from contracts.test_index_properties import check, document
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.store import Key
from search.indexes.elastic.fields import LONGEST
from search.match import Alone, allows, matches
from search.query import Clause, Include, Modifier, Query, Term
from search.values import StringValue, TokenValue

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture(scope="module")
def elastic() -> Iterator[Elastic]:
    """Indices that every example uses again."""
    made = Elastic()
    yield made
    made.close()


@pytest.mark.parametrize("type", sorted(CODES))
@FEW
@given(data=st.data())
def test_search_agrees_with_the_oracle(elastic: Elastic, type: str, data: st.DataObject) -> None:
    """All pages joined are the documents that search.match accepts, each once, in the order of the sort keys; totals are exact."""
    made = applied(type, data.draw(st.lists(documents(type), max_size=12)))
    asyncio.run(check(data.draw(queries(type)), made, elastic))


@pytest.mark.parametrize("type", ["Encounter", "Observation", "Patient"])
@FEW
@given(data=st.data())
def test_chains_agree_with_the_oracle(elastic: Elastic, type: str, data: st.DataObject) -> None:
    """Chains and `_has` of any depth lead where search.match says, through allowed documents only."""
    made = data.draw(linked())
    asyncio.run(check(data.draw(linked_queries(type, sorted_by_others=False)), made, elastic))


@pytest.mark.parametrize("type", sorted(CODES))
@FEW
@given(data=st.data())
def test_what_is_allowed_agrees_with_the_oracle(elastic: Elastic, type: str, data: st.DataObject) -> None:
    """Of any keys, those remain whose documents the oracle allows; and no include leads to any other."""
    made = applied(type, data.draw(st.lists(documents(type), max_size=12)))
    within, allowed = data.draw(compartments), data.draw(grants(type))
    keys = [Key(type, str(n)) for n in range(1, len(made) + 2)]
    expected = [key for key, c in zip(keys, made, strict=False) if allows(within, allowed, document(c))]
    referring = [p for p in PARAMETERS.of(type).values() if p.kind == "reference" and p.code in ("patient", "subject")]
    rules = [Include(type, tuple(referring), None, reverse=True)] if referring else []
    elastic.clear()
    elastic.update(made)

    async def run() -> None:
        index = elastic.index
        await index.open()
        assert await index.allowed(keys, compartments=within, allowed=allowed) == expected
        found = await index.include([Key("Patient", "1")], rules, limit=50)
        left = await index.include([Key("Patient", "1")], rules, limit=50, compartments=within, allowed=allowed)
        assert left.keys == [key for key in found.keys if key in expected]
        await index.close()

    asyncio.run(run())


@FEW
@given(data=st.data())
def test_pages_stay_whole_while_others_write(elastic: Elastic, data: st.DataObject) -> None:
    """Documents that nobody changes come exactly once over the pages of a search, whatever is added, changed or deleted meanwhile."""
    type = data.draw(st.sampled_from(sorted(CODES)))
    made = applied(type, data.draw(st.lists(documents(type), min_size=4, max_size=10)))
    query = replace(data.draw(queries(type)), total="none", count=2)
    elastic.clear()
    elastic.update(made)
    touched: set[str] = set()

    async def run() -> list[str]:
        await elastic.index.open()
        try:  # hypothesis may end an example at any draw
            found: list[str] = []
            cursor, rows = None, 100
            for _ in range(50):
                page = await elastic.index.search(replace(query, cursor=cursor))
                found += [key.id for key in page.keys]
                cursor = page.cursor
                if cursor is None:
                    break
                row = data.draw(st.sampled_from([*range(1, len(made) + 1), rows]))
                touched.add(str(row))
                if row == rows or data.draw(st.booleans()):
                    elastic.update([put(row, type, str(row), data.draw(documents(type)), instant=rows, new=row == rows)])
                else:
                    elastic.update([gone(row, type, str(row))])
                rows += row == rows
            return found
        finally:
            await elastic.index.close()

    found = asyncio.run(run())
    for change in made:
        if change.id not in touched:
            assert found.count(change.id) == matches(query, document(change), Alone())


LONG = "é" + "ab" * LONGEST + "c*?\\d" + "e" * LONGEST


@pytest.mark.parametrize(
    ("code", "modifier", "asked"),
    [
        ("name", Modifier.NONE, "e" + "ab" * 1000),
        ("name", Modifier.NONE, "ab"),
        ("name", Modifier.CONTAINS, "bc*?\\de"),
        ("name", Modifier.CONTAINS, "c??"),
        ("name", Modifier.CONTAINS, "ba" * 200),
        ("name", Modifier.CONTAINS, "d" + "e" * 400),
        ("name", Modifier.EXACT, LONG),
        ("name", Modifier.EXACT, LONG + "e"),
        ("identifier", Modifier.NONE, LONG),
        ("identifier", Modifier.NONE, LONG + "e"),
    ],
    ids=range(10),
)
def test_values_longer_than_a_term_of_lucene(elastic: Elastic, code: str, modifier: Modifier, asked: str) -> None:
    """Texts and codes of any length are found as short ones are, wherever in them the part stands that was asked for."""
    text = StringValue(LONG.replace("é", "e"), LONG)
    change = put(1, "Patient", "1", {"name": [text], "identifier": [TokenValue("s", LONG)]})
    elastic.clear()
    elastic.update([change])
    value = StringValue(asked, asked) if code == "name" else TokenValue("", asked)
    query = Query("Patient", (Clause(parameter("Patient", code), modifier, (Term(value),)),))
    asyncio.run(check(query, [change], elastic))


def test_a_page_link_of_another_week_still_works(elastic: Elastic) -> None:
    """A cursor names a place among the documents, not a state of the server: it works after a refresh, a merge and new writes."""
    made = applied("Patient", [{} for _ in range(6)])
    elastic.clear()
    elastic.update(made)
    query = Query("Patient", count=2)

    async def run() -> list[str]:
        await elastic.index.open()
        first = await elastic.index.search(query)
        elastic.update([put(9, "Patient", "9", {})])
        rest = await all_pages(elastic.index, replace(query, cursor=first.cursor))
        await elastic.index.close()
        return [key.id for page in (first, *rest) for key in page.keys]

    found = asyncio.run(run())
    assert sorted(id for id in found if id != "9") == list("123456")
