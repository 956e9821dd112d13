"""Quantity parameters."""

from decimal import Decimal
from math import inf, nextafter

import pytest

from search.parameters import registry
from search.query import Modifier
from search.types import quantity
from search.types.text import BadValue, Reading
from search.values import UNBOUNDED, QuantityValue, Value

READING = Reading(("http://127.0.0.1/fhir/",), 0)
VALUE = registry().of("Observation")["value-quantity"]
UCUM = "http://unitsofmeasure.org"


def held(value: dict[str, object], fhir_type: str = "Quantity") -> list[Value]:
    """The values made of a JSON Quantity."""
    convert = quantity.converter(fhir_type, ())
    assert convert is not None
    return list(convert([value]))


def found(asked: str, value: dict[str, object], fhir_type: str = "Quantity") -> bool:
    """Whether a query's text finds a JSON Quantity."""
    terms = quantity.parse(asked, VALUE, Modifier.NONE, READING)
    return any(quantity.match(term, Modifier.NONE, each) for term in terms for each in held(value, fhir_type))


MG = {"value": Decimal("5.40"), "system": UCUM, "code": "mg", "unit": "milligram"}


@pytest.mark.parametrize(
    ("asked", "matches"),
    [
        ("5.4", True),
        ("5.4||", True),
        (f"5.4|{UCUM}|mg", True),
        (f"5.4|{UCUM}|g", False),
        ("5.4|http://other|mg", False),
        ("5.4||mg", True),
        ("5.4||milligram", True),
        ("5.4||g", False),
        ("5.4||MG", False),
        ("5", True),
        ("5.3", False),
        ("5.39", False),
        ("5.401", False),
        ("gt5.3", True),
        ("lt5.40", False),
        ("le5.4||mg", True),
        (f"ap5|{UCUM}|mg", True),
        ("ap4.5", False),
        ("ne5.4", False),
        ("ne5.4||g", False),
    ],
)
def test_forms(asked: str, matches: bool) -> None:
    """With system and code, with the unit alone (code or for people), or any unit, against 5.40 mg."""
    assert found(asked, MG) is matches


def test_without_a_unit() -> None:
    """A bare number is found by its value only."""
    assert found("3", {"value": 3})
    assert not found("3||mg", {"value": 3})


@pytest.mark.parametrize("text", ["", "x", "5.4|mg", "5.4|a|b|c", f"5.4|{UCUM}|", "|s|mg", "mg"])
def test_refused(text: str) -> None:
    """What is not one of the three forms is refused."""
    with pytest.raises(BadValue):
        quantity.parse(text, VALUE, Modifier.NONE, READING)


@pytest.mark.parametrize(
    ("comparator", "low", "high"),
    [
        ("<", -UNBOUNDED, nextafter(5, -inf)),
        ("<=", -UNBOUNDED, 5),
        (">=", 5, UNBOUNDED),
        (">", nextafter(5, inf), UNBOUNDED),
        (None, 5, 5),
    ],
)
def test_comparators_widen(comparator: str | None, low: float, high: float) -> None:
    """A measured `<5` stands for everything below 5, and is sorted as 5."""
    value: dict[str, object] = {"value": 5} if comparator is None else {"value": 5, "comparator": comparator}
    assert held(value) == [QuantityValue("", "", "", low, high, 5)]


@pytest.mark.parametrize(
    ("comparator", "asked", "matches"),
    [
        ("<", "lt5", True),
        ("<", "ge5", False),
        ("<", "lt3", True),
        ("<", "eb5", True),
        ("<", "5", False),
        ("<=", "ge5", True),
        (">", "gt5", True),
        (">", "le5", False),
        (">", "sa5", True),
        (">", "gt1000", True),
        (">=", "le5", True),
    ],
)
def test_comparators_found(comparator: str, asked: str, matches: bool) -> None:
    """What a measured `<5` may be decides, its end not included."""
    assert found(asked, {"value": 5, "comparator": comparator}) is matches


@pytest.mark.parametrize(
    ("fhir_type", "value", "expected"),
    [
        ("Age", {"value": 45, "unit": "yr", "system": UCUM, "code": "a"}, [(UCUM, "a", "yr", 45, 45, 45)]),
        ("Duration", {"value": 2, "code": "h", "system": UCUM}, [(UCUM, "h", "", 2, 2, 2)]),
        ("Money", {"value": Decimal("9.90"), "currency": "EUR"}, [("urn:iso:std:iso:4217", "EUR", "EUR", 9.9, 9.9, 9.9)]),
        ("Money", {"value": 9}, [("", "", "", 9, 9, 9)]),
        ("Money", {"currency": "EUR"}, []),
        ("Range", {"low": {"value": 1, "unit": "kg"}, "high": {"value": 2, "unit": "kg"}}, [("", "", "kg", 1, 2, 1)]),
        ("Range", {"high": {"value": 2, "unit": "kg"}}, [("", "", "kg", -UNBOUNDED, 2, 2)]),
        ("Range", {}, []),
        ("Quantity", {"unit": "kg"}, []),
        (
            "SampledData",
            {"origin": {"value": 10, "unit": "mV"}, "factor": Decimal("0.5"), "data": "-2 E 4 U L 0", "dimensions": 1, "period": 1},
            [("", "", "mV", 9, 12, 9)],
        ),
        ("SampledData", {"origin": {"value": 10, "unit": "mV"}, "data": "E U", "dimensions": 1, "period": 1}, []),
    ],
)
def test_extraction(fhir_type: str, value: dict[str, object], expected: list[tuple[str, str, str, float, float, float]]) -> None:
    """Ranges and samples are intervals; money has its currency as unit."""
    assert held(value, fhir_type) == [QuantityValue(*each) for each in expected]
