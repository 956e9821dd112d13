"""Folding of text and hashing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.values import fold, hash64


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Peter", "peter"),
        ("José", "jose"),
        ("Jose\u0301", "jose"),
        ("MÜLLER", "muller"),
        ("Straße", "strasse"),
        ("ŁÓDŹ", "łodz"),
        ("  van   der\tBerg ", "van der berg"),
        ("ﬁnch", "finch"),
        ("\uff21\uff22\uff23", "abc"),
        ("Ἀθῆναι", "αθηναι"),
        ("Ёлка", "елка"),
        ("O'Brien-Smith", "o'brien-smith"),
        ("", ""),
        ("\u0301", ""),
    ],
)
def test_fold(text: str, folded: str) -> None:
    """Case, accents, widths and white space make no difference; punctuation does."""
    assert fold(text) == folded


@given(st.text())
def test_folding_case_first_makes_no_difference_to_ascii(text: str) -> None:
    """Upper and lower case of ASCII text fold to the same."""
    ascii_text = text.encode("ascii", "ignore").decode()
    assert fold(ascii_text.upper()) == fold(ascii_text.lower())


@pytest.mark.parametrize(("text", "number"), [("", -5426141060434712860), ("Patient/1", 3101820316794680343)])
def test_hash_is_the_same_for_ever(text: str, number: int) -> None:
    """Hashes stand in databases, so they are pinned."""
    assert hash64(text) == number
