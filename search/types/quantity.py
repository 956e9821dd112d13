"""Quantity parameters: a number, with a unit where one is given (https://hl7.org/fhir/R4/search.html#quantity).

A unit of UCUM stands for all that measure the same: what is asked for in grams is asked for in milligrams too, each in its own numbers
(`search/units`). So a document's unit is compared as written, and other units to 12 digits. Units without a system, and those
of other systems, are compared as written only.
"""

import re
from collections.abc import Iterator, Sequence
from math import inf, nextafter
from typing import Any

from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types.number import as_float, compare, interval, range_ends
from search.types.text import BadValue, Bases, Converter, Reading, prefixed, split, unescape
from search.units import ucum
from search.values import UNBOUNDED, QuantityValue, Value

_SAMPLE = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:[eE][-+]?\d{1,3})?", re.ASCII)
_CURRENCIES = "urn:iso:std:iso:4217"
_FORMS = "write 5.4, 5.4|system|code or 5.4||unit"

MODIFIERS = frozenset({Modifier.MISSING})


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`5.4` (any unit), `5.4|system|code`, `5.4||unit` (as code or as unit for people), each with a prefix. Raises BadValue.

    The first term is the one that was written."""
    prefix, written = prefixed(text)
    number, *unit = [unescape(part) for part in split(written, "|")]
    if len(unit) not in (0, 2):
        raise BadValue(f"'{text}' is no quantity: {_FORMS}")
    system, code = unit or ("", "")
    if system and not code:
        raise BadValue(f"'{text}' names a system of units but no unit: {_FORMS}")
    low, high, value = interval(number, prefix)
    asked = QuantityValue(system, code, "", low, high, value)
    term = Term(asked, prefix, system_given=bool(system), unit_given=bool(code))
    return (term, *_elsewhere(term, asked)) if system == ucum.SYSTEM else (term,)


def _elsewhere(term: Term, asked: QuantityValue) -> Iterator[Term]:
    """The same in every other unit that measures it."""
    units = ucum.alike(asked.code)
    own = units.get(asked.code)
    for code, unit in units.items():
        if own is None or code == asked.code:
            continue
        low, high, value = (as_float(ucum.convert(number, own, unit)) for number in asked[-3:])
        there = QuantityValue(asked.system, code, "", low, min(max(high, nextafter(value, inf)), UNBOUNDED), value)
        yield Term(there, term.prefix, system_given=True, unit_given=True)


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """A Quantity is a point, or what its comparator leaves open; Range and SampledData are intervals; Money has its currency as unit."""
    return _CONVERTERS.get(fhir_type)


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """The unit asked for, and the number compared as the table at `search.query.Prefix` says."""
    assert isinstance(term.value, QuantityValue) and isinstance(value, QuantityValue)
    asked = term.value
    if term.unit_given:
        if term.system_given:
            same_unit = (value.system, value.code) == (asked.system, asked.code)
        else:
            same_unit = asked.code in (value.code, value.unit)
        if not same_unit:
            return False
    return compare(term.prefix, asked, value)


def _quantity(values: Sequence[dict[str, Any]]) -> list[Value]:
    measured = ((value, _widened(value.get("comparator"), as_float(value["value"]))) for value in values if "value" in value)
    return [_with_unit(value, ends) for value, ends in measured]


def _widened(comparator: str | None, point: float) -> tuple[float, float, float]:
    """The closed interval that a measured number stands for: `<5` is everything up to the float before 5."""
    if comparator == "<":
        return -UNBOUNDED, nextafter(point, -inf), point
    if comparator == "<=":
        return -UNBOUNDED, point, point
    if comparator == ">":
        return nextafter(point, inf), UNBOUNDED, point
    if comparator == ">=":
        return point, UNBOUNDED, point
    return point, point, point


def _range(values: Sequence[dict[str, Any]]) -> list[Value]:
    pairs = ((value.get("low", {}), value.get("high", {})) for value in values)
    found = ((low or high, range_ends(low.get("value"), high.get("value"))) for low, high in pairs)
    return [_with_unit(quantity, ends) for quantity, ends in found if ends]


def _with_unit(quantity: dict[str, Any], ends: tuple[float, float, float]) -> QuantityValue:
    return QuantityValue(quantity.get("system", ""), quantity.get("code", ""), quantity.get("unit", ""), *ends)


def _money(values: Sequence[dict[str, Any]]) -> list[Value]:
    found = ((value.get("currency", ""), as_float(value["value"])) for value in values if "value" in value)
    return [QuantityValue(_CURRENCIES if currency else "", currency, currency, *[point] * 3) for currency, point in found]


def _sampled(values: Sequence[dict[str, Any]]) -> list[Value]:
    """From the lowest to the highest sample; E, U and L (error, below, above the limits) are no numbers."""
    found = ((value.get("origin", {}), _extremes(value)) for value in values)
    return [_with_unit(origin, ends) for origin, ends in found if ends]


def _extremes(value: dict[str, Any]) -> tuple[float, float, float] | None:
    samples = [as_float(float(text)) for text in value.get("data", "").split() if _SAMPLE.fullmatch(text)]
    origin = value.get("origin", {})
    if not samples or "value" not in origin:
        return None
    factor, zero = as_float(value.get("factor", 1)), as_float(origin["value"])
    low, high = sorted(as_float(zero + sample * factor) for sample in (min(samples), max(samples)))
    return low, high, low


_CONVERTERS: dict[str, Converter] = {
    "Quantity": _quantity,
    "SimpleQuantity": _quantity,
    "Age": _quantity,
    "Count": _quantity,
    "Distance": _quantity,
    "Duration": _quantity,
    "MoneyQuantity": _quantity,
    "Money": _money,
    "Range": _range,
    "SampledData": _sampled,
}
