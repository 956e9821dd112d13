"""Searches by words: SQLite and Elasticsearch say what the oracle says, whatever is asked."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from contracts.elastic_harness import Elastic
from contracts.filling import applied, asked
from contracts.index_harness import Database, Memory, all_pages
from hypothesis import given, settings
from hypothesis import strategies as st

from search.index import SearchIndex
from search.query import Query, Text
from search.text.expression import Either, Every, Expression, Phrase

WORDS = st.sampled_from(["a", "ab", "abc", "b", "é", "ß", "一", "٣", "१क", "or", "not", "near"])
_phrases = st.builds(
    lambda words, prefix: Phrase(tuple(words), prefix),
    st.lists(WORDS, min_size=1, max_size=2),
    st.sampled_from([False, False, True]),
)
EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(
    _phrases,
    lambda inner: (
        st.builds(lambda parts: Either(tuple(parts)), st.lists(inner, min_size=1, max_size=3))
        | st.builds(
            lambda parts, without: Every(tuple(parts), tuple(without)),
            st.lists(inner, min_size=1, max_size=3),
            st.lists(inner, max_size=2),
        )
    ),
    max_leaves=6,
)
TEXTS = st.lists(WORDS, max_size=4).map(" ".join)


Asked = list[tuple[Expression, bool]]
_told = st.lists(st.tuples(TEXTS, TEXTS), max_size=5)
_asked = st.lists(st.tuples(EXPRESSIONS, st.booleans()), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(documents=_told, asked=_asked)
def test_agrees_with_the_oracle(database: Database, documents: list[tuple[str, str]], asked: Asked) -> None:
    """SQLite finds the documents that the oracle does, for any expressions."""
    agrees(database, documents, asked)


@settings(max_examples=20, deadline=None)
@given(documents=_told, asked=_asked)
def test_elasticsearch_agrees_with_the_oracle(elastic: Elastic, documents: list[tuple[str, str]], asked: Asked) -> None:
    """And so does Elasticsearch."""
    agrees(elastic, documents, asked)


def agrees(database: Database | Elastic, documents: list[tuple[str, str]], asked: Asked) -> None:
    made = [
        applied(n, f"Patient/{n}", {"text": {"status": "generated", "div": f"<div>{told}</div>"}, "language2": rest})
        for n, (told, rest) in enumerate(documents, 1)
    ]
    memory = Memory()
    query = Query("Patient", tuple(Text(expression, narrative) for expression, narrative in asked))
    for each in (memory, database):
        each.update(made)

    async def run() -> None:
        await database.index.open()
        found = await database.index.search(query)
        expected = await memory.index.search(query)
        await database.index.close()
        assert sorted(key.id for key in found.keys) == sorted(key.id for key in expected.keys)
        assert found.total == expected.total

    try:
        asyncio.run(run())
    finally:
        database.update([change._replace(live=False, entry=None, created=False, new=False) for change in made])


@pytest.mark.parametrize("kind", ["memory", "sqlite", "elastic"])
def test_best_first(kind: str, tmp_path: Path) -> None:
    """Sorted by their scores, documents that say it more often come first (or last), on one page as on pages of one."""
    index = Memory() if kind == "memory" else Elastic() if kind == "elastic" else Database(tmp_path / "a.sqlite")
    told = ["pain and other words", "pain pain pain", "nothing", "pain and pain in words"]
    made = [
        applied(n, f"Patient/{n}", {"text": {"status": "generated", "div": f"<div>{each}</div>"}}) for n, each in enumerate(told, 1)
    ]

    async def check(index: SearchIndex) -> None:
        await index.open()
        for sort, ids in (("_score", ["2", "4", "1"]), ("-_score", ["1", "4", "2"])):
            query = asked(f"Patient?_text=pain&_sort={sort}")
            result = await index.search(query)
            assert [key.id for key in result.keys] == ids
            scores = [score or 0 for score in result.scores]
            assert sorted(scores, reverse=sort == "_score") == scores
            assert all(0 < score < 1 for score in scores)
            assert [key.id for page in await all_pages(index, replace(query, count=1)) for key in page.keys] == ids
        await index.close()

    index.update(made)
    try:
        asyncio.run(check(index.index))
    finally:
        index.close()
