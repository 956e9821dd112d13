"""Very many names in little memory are the same as a set, and as lists by name."""

from hypothesis import given
from hypothesis import strategies as st

from resources.names import Lines, Names

texts = st.text(st.characters(exclude_characters="\t\n", exclude_categories=("Cs",)), max_size=6)


@given(st.lists(texts), st.lists(texts))
def test_names_are_a_set(some: list[str], others: list[str]) -> None:
    """Of the same size, with the same members, however often one is put in; its order does not depend on when that was."""
    names = Names(some)
    names.update(some)
    assert names == set(some) and len(names) == len(set(some)) and bool(names) == bool(some)
    assert [other in names for other in others] == [other in set(some) for other in others]
    assert list(names) == list(Names(reversed(some))) and names.isdisjoint(others) == set(some).isdisjoint(others)
    assert 1 not in names


@given(st.lists(st.tuples(texts, texts)))
def test_lines_are_lists_by_name(pairs: list[tuple[str, str]]) -> None:
    """Each value of a name once, in the order in which they came."""
    lines, expected = Lines(), dict[str, dict[str, None]]()
    for name, value in pairs:
        lines.add(name, value)
        expected.setdefault(name, {})[value] = None
    assert {name: lines.of(name) for name in expected} == {name: list(values) for name, values in expected.items()}
    assert all(lines.has(name) for name in expected) and lines.of("not there") == []
    assert lines.count == sum(map(len, expected.values()))
