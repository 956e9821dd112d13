"""Number parameters: a number in a query has the precision it is written with (https://hl7.org/fhir/R4/search.html#number).

`5.4` looks for [5.35, 5.45); with an ordering prefix it is exactly 5.4. Arithmetic is decimal; what is stored and compared are floats.
"""

import re
from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from math import inf, nextafter
from typing import Any

from resources.outcomes import shown
from search.parameter import SearchParameter
from search.query import Modifier, Prefix, Term
from search.types.text import BadValue, Bases, Converter, Reading, prefixed
from search.values import UNBOUNDED, NumberValue, QuantityValue, Value

_TEXT = re.compile(r"[+-]?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DIGITS = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_CONTEXT = Context(prec=120, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
_TENTH = Decimal("0.1")

MODIFIERS = frozenset({Modifier.MISSING})


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`5.40`, `gt100`, `1e-3`. Raises BadValue."""
    prefix, written = prefixed(text)
    return (Term(NumberValue(*interval(written, prefix)), prefix),)


def interval(written: str, prefix: Prefix) -> tuple[float, float, float]:
    """(low, high, value) that a number in a query covers given its precision; widened by a tenth for `ap`. Raises BadValue."""
    if not _TEXT.fullmatch(written):
        if _DIGITS.fullmatch(written):
            text = "has too many digits: 40 before and after the point are allowed, and 3 in the exponent"
            raise BadValue(f"{shown(written)} {text}")
        raise BadValue(f"{shown(written)} is no number: write it like 100, 5.40, -3 or 1.2e-3")
    value = Decimal(written)
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    half = Decimal((0, (5,), exponent - 1))
    margin = max(half, abs(value) * _TENTH) if prefix is Prefix.AP else half
    point = as_float(value)
    high = max(as_float(_CONTEXT.add(value, margin)), nextafter(point, inf))  # more digits than a float has still cover their value
    return as_float(_CONTEXT.subtract(value, margin)), min(high, UNBOUNDED), point


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """A number is a point, a Range an interval."""
    if fhir_type in ("decimal", "integer", "positiveInt", "unsignedInt"):
        return _number
    return _range if fhir_type == "Range" else None


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """Compares as the table at `search.query.Prefix` says."""
    assert isinstance(term.value, NumberValue) and isinstance(value, NumberValue)
    return compare(term.prefix, term.value, value)


def compare(prefix: Prefix, asked: NumberValue | QuantityValue, held: NumberValue | QuantityValue) -> bool:
    """The comparison of numbers with a precision (asked) and numbers or ranges as they were measured (held)."""
    low, high, value = asked.low, asked.high, asked.value
    inside = low <= held.low and held.high < high
    return {
        Prefix.EQ: inside,
        Prefix.NE: not inside,
        Prefix.GT: held.high > value,
        Prefix.LT: held.low < value,
        Prefix.GE: held.high >= value,
        Prefix.LE: held.low <= value,
        Prefix.SA: held.low > value,
        Prefix.EB: held.high < value,
        Prefix.AP: held.low < high and held.high >= low,
    }[prefix]


def as_float(number: Decimal | float) -> float:
    """The nearest float; what is beyond all floats is ±UNBOUNDED."""
    try:
        value = float(number)
    except OverflowError:  # an int beyond all floats
        value = UNBOUNDED if number > 0 else -UNBOUNDED
    return min(max(value, -UNBOUNDED), UNBOUNDED)


def _number(values: Sequence[Decimal | float]) -> list[Value]:
    return [NumberValue(point, point, point) for point in map(as_float, values)]


def _range(values: Sequence[dict[str, Any]]) -> list[Value]:
    ends = (range_ends(*(value.get(end, {}).get("value") for end in ("low", "high"))) for value in values)
    return [NumberValue(*each) for each in ends if each]


def range_ends(low: Decimal | float | None, high: Decimal | float | None) -> tuple[float, float, float] | None:
    """(low, high, value) of a Range, open where an end is missing; None without both, or if they are the wrong way round."""
    if low is None and high is None:
        return None
    bottom = as_float(low) if low is not None else -UNBOUNDED
    top = as_float(high) if high is not None else UNBOUNDED
    return (bottom, top, bottom if low is not None else top) if bottom <= top else None
