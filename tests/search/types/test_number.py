"""Number parameters."""

from decimal import Decimal
from math import nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.parameters import registry
from search.query import Modifier, Prefix, Term
from search.types import number
from search.types.text import BadValue, Reading
from search.values import UNBOUNDED, NumberValue

READING = Reading(("http://127.0.0.1/fhir/",), 0)
PROBABILITY = registry().of("RiskAssessment")["probability"]


@pytest.mark.parametrize(
    ("text", "low", "high", "value"),
    [
        ("100", 99.5, 100.5, 100),
        ("100.00", 99.995, 100.005, 100),
        ("1e2", 50, 150, 100),
        ("1E+2", 50, 150, 100),
        ("5.4", 5.35, 5.45, 5.4),
        ("5.40e-3", 0.005395, 0.005405, 0.0054),
        ("0.1", 0.05, 0.15, 0.1),
        ("-3", -3.5, -2.5, -3),
        ("+3", 2.5, 3.5, 3),
        ("0", -0.5, 0.5, 0),
        ("ap100", 90, 110, 100),
        ("ap-100", -110, -90, -100),
        ("ap1", 0.5, 1.5, 1),
        ("1e400", UNBOUNDED, UNBOUNDED, UNBOUNDED),
        ("-1e400", -UNBOUNDED, nextafter(-UNBOUNDED, 0), -UNBOUNDED),
        ("1e-400", 0, 5e-324, 0),
        ("46795655500.26010", 46795655500.26009, 46795655500.260109, 46795655500.2601),
    ],
)
def test_precision(text: str, low: float, high: float, value: float) -> None:
    """A number covers half a unit of its last digit on each side, computed in decimals (https://hl7.org/fhir/R4/search.html#number)."""
    [term] = number.parse(text, PROBABILITY, Modifier.NONE, READING)
    assert term.value == NumberValue(low, high, value)


@pytest.mark.parametrize(
    "text", ["", "x", ".5", "5.", "1e", "e5", "0x10", "1,5", "NaN", "1e1000", "٣", "1 000", "--1", "1\n", "9" * 41]
)
def test_refused(text: str) -> None:
    """What is no decimal number is refused."""
    with pytest.raises(BadValue, match=r"is no number|too many digits"):
        number.parse(text, PROBABILITY, Modifier.NONE, READING)


# The term is 100, covering [99.5, 100.5); which prefixes hold for a document's number or closed range.
POSITIONS = [
    (99.4, 99.4, "ne lt le eb ap"),
    (99.5, 99.5, "eq lt le eb ap"),
    (100, 100, "eq ge le ap"),
    (100.4, 100.4, "eq gt ge sa ap"),
    (100.5, 100.5, "ne gt ge sa ap"),
    (50, 50, "ne lt le eb"),
    (150, 150, "ne gt ge sa"),
    (90, 95, "ne lt le eb ap"),
    (90, 100, "ne lt le ge ap"),
    (90, 110, "ne lt le gt ge ap"),
    (99.8, 100.2, "eq lt le gt ge ap"),
    (100, 110, "ne gt ge le ap"),
    (105, UNBOUNDED, "ne gt ge sa ap"),
    (200, UNBOUNDED, "ne gt ge sa"),
    (-UNBOUNDED, 80, "ne lt le eb"),
]


@pytest.mark.parametrize(("low", "high", "holding"), POSITIONS)
def test_prefixes(low: float, high: float, holding: str) -> None:
    """eq, ne and ap compare with the interval of the precision, the others with exactly 100."""
    held = NumberValue(low, high, low)
    terms = {prefix: number.parse(f"{prefix.value}100", PROBABILITY, Modifier.NONE, READING)[0] for prefix in Prefix}
    assert {p.value for p, term in terms.items() if number.match(term, Modifier.NONE, held)} == set(holding.split())


@pytest.mark.parametrize(
    ("fhir_type", "value", "expected"),
    [
        ("integer", 3, [(3, 3, 3)]),
        ("decimal", Decimal("0.10"), [(0.1, 0.1, 0.1)]),
        ("decimal", Decimal("1E+999999"), [(UNBOUNDED, UNBOUNDED, UNBOUNDED)]),
        ("integer", -(10**400), [(-UNBOUNDED, -UNBOUNDED, -UNBOUNDED)]),
        ("Range", {"low": {"value": 1}, "high": {"value": 2}}, [(1, 2, 1)]),
        ("Range", {"low": {"value": 1}}, [(1, UNBOUNDED, 1)]),
        ("Range", {"high": {"value": 2}}, [(-UNBOUNDED, 2, 2)]),
        ("Range", {"low": {"value": 3}, "high": {"value": 2}}, []),
        ("Range", {}, []),
    ],
)
def test_extraction(fhir_type: str, value: object, expected: list[tuple[float, float, float]]) -> None:
    """A number is a point, a Range an interval with open ends."""
    convert = number.converter(fhir_type, ())
    assert convert is not None
    assert list(convert([value])) == [NumberValue(*each) for each in expected]


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=5))
def test_a_number_finds_itself(value: Decimal) -> None:
    """Whatever is stored is found by its own text, with eq, ge, le and ap."""
    convert = number.converter("decimal", ())
    assert convert is not None
    [held] = convert([value])
    for prefix in ("", "eq", "ge", "le", "ap"):
        [term] = number.parse(f"{prefix}{value}", PROBABILITY, Modifier.NONE, READING)
        assert number.match(term, Modifier.NONE, held) is True


def test_terms_are_values() -> None:
    """Two readings of the same text are equal."""
    assert number.parse("5.4", PROBABILITY, Modifier.NONE, READING) == (Term(NumberValue(5.35, 5.45, 5.4)),)
