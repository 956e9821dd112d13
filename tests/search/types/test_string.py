"""String parameters."""

import pytest

from search.parameters import registry
from search.query import Modifier
from search.types import string
from search.types.text import BadValue, Reading
from search.values import StringValue, fold

READING = Reading(("http://127.0.0.1/fhir/",), 0)
NAME = registry().of("Patient")["name"]

START, EXACT, CONTAINS = Modifier.NONE, Modifier.EXACT, Modifier.CONTAINS


@pytest.mark.parametrize(
    ("asked", "modifier", "held", "matches"),
    [
        ("eve", START, "Eve", True),
        ("eve", START, "Evelyn", True),
        ("eve", START, "Severine", False),
        ("EVE", START, "evelyn", True),
        ("josé", START, "Jose Maria", True),
        ("jose", START, "JOSÉ", True),
        ("stras", START, "Straße", True),
        ("van der", START, "van  der Berg", True),
        ("", EXACT, "", True),
        ("Eve", EXACT, "Eve", True),
        ("Eve", EXACT, "eve", False),
        ("Eve", EXACT, "Evelyn", False),
        ("José", EXACT, "Jose", False),
        ("eve", CONTAINS, "Severine", True),
        ("VÉR", CONTAINS, "Severine", True),
        ("eve", CONTAINS, "Eva", False),
        ("a\\,b", START, "A,B", True),
        ("a\\|b\\$c\\\\", START, "a|b$c\\", True),
        ("a\\x", START, "a\\x", True),
    ],
)
def test_comparison(asked: str, modifier: Modifier, held: str, matches: bool) -> None:
    """Plain: from the start, without case and accents; :exact as written; :contains anywhere. Escapes are undone."""
    [term] = string.parse(asked, NAME, modifier, READING)
    assert string.match(term, modifier, StringValue(fold(held), held)) is matches


@pytest.mark.parametrize("text", ["\u0301", "\u00b4", "\u3000"])
def test_nothing_to_compare_with(text: str) -> None:
    """A value of which folding leaves nothing would match everything, so it is refused."""
    with pytest.raises(BadValue, match="no characters"):
        string.parse(text, NAME, START, READING)


@pytest.mark.parametrize(
    ("fhir_type", "value", "expected"),
    [
        ("string", "Eve", ["Eve"]),
        ("markdown", "*Eve*", ["*Eve*"]),
        (
            "HumanName",
            {"use": "official", "text": "T", "family": "F", "given": ["G1", "G2"], "prefix": ["P"], "suffix": ["S"]},
            ["T", "F", "G1", "G2", "P", "S"],
        ),
        ("HumanName", {"given": [None, "G"], "_given": [{"id": "x"}, None]}, ["G"]),
        ("HumanName", {"use": "old"}, []),
        (
            "Address",
            {
                "use": "home",
                "line": ["1 Way", "Flat 2"],
                "city": "C",
                "district": "D",
                "state": "S",
                "postalCode": "Z",
                "country": "X",
            },
            ["1 Way", "Flat 2", "C", "D", "S", "X", "Z"],
        ),
    ],
)
def test_extraction(fhir_type: str, value: object, expected: list[str]) -> None:
    """Each part of a name or address is a value of its own; uses are none."""
    convert = string.converter(fhir_type, ())
    assert convert is not None
    assert list(convert([value])) == [StringValue(fold(text), text) for text in expected]


def test_other_types_have_no_text() -> None:
    """A Reference has nothing to compare as a string."""
    assert string.converter("Reference", ()) is None
