"""Separators, escapes and prefixes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.query import Prefix
from search.types.text import prefixed, split, unescape


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("a\\,b,c", ["a\\,b", "c"]),
        ("a\\\\,b", ["a\\\\", "b"]),
        (",", ["", ""]),
        ("a,b,", ["a", "b", ""]),
        ("a\\", ["a\\"]),
        ("a,\\", ["a", "\\"]),
        ("", [""]),
    ],
)
def test_split(text: str, parts: list[str]) -> None:
    """A comma separates unless a backslash that is not itself escaped stands before it."""
    assert split(text, ",") == parts


@given(st.lists(st.text(), min_size=1), st.sampled_from(",|$"))
def test_escaped_parts_come_back(parts: list[str], mark: str) -> None:
    """Whatever is escaped, joined and split is what it was."""
    escaped = [part.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|").replace("$", "\\$") for part in parts]
    assert [unescape(part) for part in split(mark.join(escaped), mark)] == parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026", (Prefix.EQ, "2026")),
        ("eq2026", (Prefix.EQ, "2026")),
        ("ap-1.5", (Prefix.AP, "-1.5")),
        ("sa.5", (Prefix.SA, ".5")),
        ("ge", (Prefix.EQ, "ge")),
        ("gex", (Prefix.EQ, "gex")),
        ("GE2026", (Prefix.EQ, "GE2026")),
    ],
)
def test_prefixed(text: str, expected: tuple[Prefix, str]) -> None:
    """A prefix stands before a number or date only, in lower case."""
    assert prefixed(text) == expected
