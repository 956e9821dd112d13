"""Units of UCUM: the table against the library that it is made with, and what a query in one unit finds in another."""

import json
from math import isclose
from pathlib import Path
from typing import Any

import pytest
from ucumvert import PintUcumRegistry

from search.parameters import registry
from search.query import Modifier
from search.types import quantity
from search.types.text import Reading
from search.units import ucum

READING = Reading(("http://127.0.0.1/fhir/",), 0)
VALUE = registry().of("Observation")["value-quantity"]
TABLE: dict[str, dict[str, list[str]]] = json.loads((Path(ucum.__file__).parent / "ucum.json").read_text(encoding="utf-8"))


def found(asked: str, number: float, code: str, system: str = ucum.SYSTEM) -> bool:
    """Whether a query finds a Quantity."""
    convert = quantity.converter("Quantity", ())
    assert convert is not None
    held = list(convert([{"value": number, "system": system, "code": code}]))
    terms = quantity.parse(asked, VALUE, Modifier.NONE, READING)
    return any(quantity.match(term, Modifier.NONE, value) for term in terms for value in held)


@pytest.mark.parametrize(
    ("asked", "number", "code", "matches"),
    [
        ("1|g", 1000, "mg", True),
        ("1|g", 1, "g", True),
        ("1|g", 1, "mg", False),
        ("1|g", 499.999, "mg", False),
        ("1|g", 500, "mg", True),
        ("1|g", 1499.999, "mg", True),
        ("1|g", 1500, "mg", False),
        ("1.000|g", 1000.4, "mg", True),
        ("1.000|g", 1000.5, "mg", False),
        ("gt1|g", 1000, "mg", False),
        ("gt1|g", 1000.001, "mg", True),
        ("ge1|g", 1000, "mg", True),
        ("lt1|g", 1000, "mg", False),
        ("lt1|g", 999.999, "mg", True),
        ("le1|g", 1000, "mg", True),
        ("sa1|g", 1001, "mg", True),
        ("eb1|g", 999, "mg", True),
        ("ne1|g", 1000, "mg", False),
        ("ne1|g", 5, "mg", True),
        ("ap1|g", 1099, "mg", True),
        ("ap1|g", 2000, "mg", False),
        ("gt140|mm[Hg]", 20, "kPa", True),
        ("gt140|mm[Hg]", 18, "kPa", False),
        ("120|mm[Hg]", 16.0, "kPa", True),
        ("37|Cel", 98.6, "[degF]", True),
        ("37.0|Cel", 310.15, "K", True),
        ("gt37|Cel", 98.6, "[degF]", False),
        ("gt37|Cel", 98.7, "[degF]", True),
        ("0|Cel", 32, "[degF]", True),
        ("180|cm", 1.8, "m", True),
        ("71|[in_i]", 180.3, "cm", True),
        ("154.0|[lb_av]", 69.85, "kg", True),
        ("5.4|mmol/L", 540, "umol/dL", True),
        ("100|mg/dL", 1, "g/L", True),
        ("5|10*3/uL", 5, "10*9/L", True),
        ("60|/min", 1, "Hz", True),
        ("50|%", 0.5, "1", True),
        ("5|U/L", 0.005, "U/mL", True),
        ("5|[iU]/L", 0.005, "[iU]/mL", True),
        ("5|[iU]/L", 5, "U/L", False),
        ("5|meq/L", 5, "mmol/L", False),
        ("1|deg", 1, "%", False),
        ("1|min", 1, "'", False),
        ("1|g", 1, "mL", False),
        ("5|{score}", 5, "{score}", True),
        ("5|{score}", 5, "1", False),
        ("3|[pH]", 3, "[pH]", True),
        ("3|nonsense", 3, "nonsense", True),
    ],
)
def test_across_units(asked: str, number: float, code: str, matches: bool) -> None:
    """A number of one unit finds the same in all that measure the same, with the precision that it was written with."""
    written, _, unit = asked.partition("|")
    assert found(f"{written}|{ucum.SYSTEM}|{unit}", number, code) is matches


@pytest.mark.parametrize(
    ("asked", "code", "system", "matches"),
    [
        ("1||g", "g", ucum.SYSTEM, True),
        ("1000||mg", "g", ucum.SYSTEM, False),
        ("1000|urn:other|mg", "g", "urn:other", False),
        (f"1000|{ucum.SYSTEM}|mg", "g", "urn:other", False),
        ("1", "g", ucum.SYSTEM, True),
        ("1000", "g", ucum.SYSTEM, False),
    ],
)
def test_only_ucum_is_converted(asked: str, code: str, system: str, matches: bool) -> None:
    """Without a system, or with another, units are compared as written."""
    assert found(asked, 1, code, system) is matches


@pytest.mark.parametrize("text", ["5.4", "5.40", "0.1", "1e-3", "gt100", "ap7", "123456789.123456789"])
def test_the_written_unit_is_compared_exactly(text: str) -> None:
    """The first term is that of the unit as written, the same as before conversion and without any rounding."""
    first, *rest = quantity.parse(f"{text}|{ucum.SYSTEM}|mg", VALUE, Modifier.NONE, READING)
    [other] = quantity.parse(f"{text}|urn:other|mg", VALUE, Modifier.NONE, READING)
    assert first.value[-3:] == other.value[-3:] and first.value[1] == "mg" and rest
    assert all(term.value[1] != "mg" for term in rest)


def test_the_table_says_what_the_library_says() -> None:
    """Every factor and offset is what ucumvert and Pint make of the unit, to 12 digits."""
    pint: Any = PintUcumRegistry()
    offsets = {"Cel": pint.degree_Celsius, "[degF]": pint.degree_Fahrenheit}
    for units in TABLE.values():
        for code, (factor, offset) in units.items():
            size: Any = pint.Quantity(1.0, offsets[code]) if code in offsets else pint.from_ucum(code)
            one = pint.Quantity(float(size.magnitude), size.units).to_base_units().magnitude
            assert isclose(one, float(factor) + float(offset), rel_tol=1e-12), code


def test_there_and_back() -> None:
    """Any unit of a kind leads to any other and back to the same number."""
    for units in TABLE.values():
        for a in list(units)[:6]:
            for b in units:
                mine, other = ucum.alike(a)[a], ucum.alike(a)[b]
                assert isclose(ucum.convert(ucum.convert(7.25, mine, other), other, mine), 7.25, rel_tol=1e-9, abs_tol=1e-9), (a, b)


def test_a_hundred_units_are_few() -> None:
    """No unit stands for so many others that a query would be long."""
    assert max(map(len, TABLE.values())) < 100
