"""Properties of the Elasticsearch index: it finds what search.match says, in order, over all pages, with chains and access decisions."""

import asyncio
from dataclasses import replace

import pytest
from contracts.checking import check, check_allowed, check_pages
from contracts.elastic_harness import Elastic
from contracts.index_harness import (
    CODES,
    all_pages,
    applied,
    documents,
    linked,
    linked_queries,
    parameter,
    put,
    queries,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.indexes.elastic.fields import LONGEST
from search.query import Clause, Modifier, Query, Term
from search.values import StringValue, TokenValue

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


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
    check_allowed(data, type, elastic)


@FEW
@given(data=st.data())
def test_pages_stay_whole_while_others_write(elastic: Elastic, data: st.DataObject) -> None:
    """Documents that nobody changes come exactly once over the pages of a search, whatever is added, changed or deleted meanwhile."""
    check_pages(data, elastic)


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
