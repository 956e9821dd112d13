"""Searches by words: SQLite's full-text table says what the oracle says, whatever is asked."""

import asyncio
from collections.abc import Iterator

import pytest
from contracts.index_harness import Database, Memory
from contracts.test_index_contract import applied
from hypothesis import given, settings
from hypothesis import strategies as st

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


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    made = Database(tmp_path_factory.mktemp("text") / "a.sqlite")
    yield made
    made.close()


@settings(max_examples=150, deadline=None)
@given(
    documents=st.lists(st.tuples(TEXTS, TEXTS), max_size=5),
    asked=st.lists(st.tuples(EXPRESSIONS, st.booleans()), min_size=1, max_size=3),
)
def test_agrees_with_the_oracle(database: Database, documents: list[tuple[str, str]], asked: list[tuple[Expression, bool]]) -> None:
    """Both indexes find the same documents for any expressions."""
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
        assert [key.id for key in found.keys] == [key.id for key in expected.keys]
        assert found.total == expected.total

    try:
        asyncio.run(run())
    finally:
        database.update([change._replace(live=False, entry=None, created=False, new=False) for change in made])
