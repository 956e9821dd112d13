"""System.Quantity: a decimal with a unit; the commoner UCUM units and the calendar's, compared across units where they convert.

Units are read as products and quotients of (prefix)unit(exponent) terms; a unit that is not in the table compares only with itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Final, NamedTuple

CALENDAR_UNITS: Final = {
    form: singular
    for singular in ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
    for form in (singular, singular + "s")
}
"""Calendar words, singular and plural -> singular."""
CALENDAR_OF_UCUM: Final = {
    "a": "year", "mo": "month", "wk": "week", "d": "day", "h": "hour", "min": "minute", "s": "second", "ms": "millisecond",
}  # fmt: skip
_UCUM_OF_CALENDAR: Final = {word: code for code, word in CALENDAR_OF_UCUM.items()}
INEXACT: Final = frozenset(("year", "month"))
"""Calendar units that no UCUM unit equals: a calendar year is not 365.25 days."""

_PREFIXES: Final = {
    "": 0, "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1,
    "d": -1, "c": -2, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18,
}  # fmt: skip
_METRIC: Final = {
    "m": ("1", {"m": 1}), "g": ("1", {"g": 1}), "s": ("1", {"s": 1}), "K": ("1", {"K": 1}), "cd": ("1", {"cd": 1}),
    "C": ("1", {"C": 1}), "rad": ("1", {"rad": 1}), "mol": ("1", {"mol": 1}), "eq": ("1", {"mol": 1}), "osm": ("1", {"mol": 1}),
    "l": ("0.001", {"m": 3}), "L": ("0.001", {"m": 3}), "t": ("1000000", {"g": 1}), "Cel": ("1", {"Cel": 1}),
    "Pa": ("1000", {"g": 1, "m": -1, "s": -2}), "bar": ("100000000", {"g": 1, "m": -1, "s": -2}),
    "m[Hg]": ("133322000", {"g": 1, "m": -1, "s": -2}), "N": ("1000", {"g": 1, "m": 1, "s": -2}),
    "J": ("1000", {"g": 1, "m": 2, "s": -2}), "cal": ("4184", {"g": 1, "m": 2, "s": -2}), "W": ("1000", {"g": 1, "m": 2, "s": -3}),
    "A": ("1", {"C": 1, "s": -1}), "V": ("1000", {"g": 1, "m": 2, "s": -2, "C": -1}), "Hz": ("1", {"s": -1}),
    "kat": ("1", {"mol": 1, "s": -1}), "U": ("0.0000000166666666667", {"mol": 1, "s": -1}),
    "[iU]": ("1", {"iU": 1}), "[IU]": ("1", {"iU": 1}),
}  # fmt: skip
"""Units that take metric prefixes: factor and dimensions."""
_PLAIN: Final = {
    "1": ("1", {}), "%": ("0.01", {}), "[ppth]": ("0.001", {}), "[ppm]": ("0.000001", {}), "10*": ("10", {}), "10^": ("10", {}),
    "min": ("60", {"s": 1}), "h": ("3600", {"s": 1}), "d": ("86400", {"s": 1}), "wk": ("604800", {"s": 1}),
    "mo": ("2629800", {"s": 1}), "a": ("31557600", {"s": 1}), "deg": ("0.0174532925199432957692", {"rad": 1}),
    "[in_i]": ("0.0254", {"m": 1}), "[ft_i]": ("0.3048", {"m": 1}), "[yd_i]": ("0.9144", {"m": 1}), "[mi_i]": ("1609.344", {"m": 1}),
    "[lb_av]": ("453.59237", {"g": 1}), "[oz_av]": ("28.349523125", {"g": 1}), "[gr]": ("0.06479891", {"g": 1}),
    "[degF]": ("1", {"degF": 1}), "[pH]": ("1", {"pH": 1}), "[drp]": ("0.00000005", {"m": 3}),
}  # fmt: skip
_TERM: Final = re.compile(r"(.*?)([+-]?\d+)?", re.DOTALL)
_ANNOTATION: Final = re.compile(r"\{[^{}]*\}")
_SPLIT: Final = re.compile(r"([./])")
_TEXT: Final = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*(?:'([^']+)'|([a-zA-Z]+))?\s*")


class Unit(NamedTuple):
    """A unit as a factor of its dimensions (m, g, s …, each with its exponent, sorted)."""

    factor: Decimal
    dimensions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    """`value` in `unit`, a UCUM code ("1": none) or, with `calendar`, a calendar word as written."""

    value: Decimal
    unit: str = "1"
    calendar: bool = False

    def __str__(self) -> str:
        return f"{self.value} {self.unit}" if self.calendar else f"{self.value} '{self.unit}'"

    @property
    def calendar_word(self) -> str | None:
        """The singular calendar word of `days`, of `'days'` and of the exact UCUM codes ('wk', 'd' … 'ms'); None for the rest."""
        word = CALENDAR_UNITS.get(self.unit)
        if word is None and (found := CALENDAR_OF_UCUM.get(self.unit)) not in INEXACT:
            word = found
        return word


def parse_quantity(text: str) -> Quantity | None:
    """`4.5 'mg'`, `1 day`, `3`; None if the text is no quantity."""
    match = _TEXT.fullmatch(text)
    if match is None or (match[3] and match[3] not in CALENDAR_UNITS):
        return None
    return Quantity(Decimal(match[1]), match[3] or match[2] or "1", calendar=bool(match[3]))


@lru_cache(maxsize=1_024)
def unit(code: str) -> Unit | None:
    """Factor and dimensions of a UCUM code; None if it has a part that is not in the tables above."""
    factor, dimensions, sign = Decimal(1), dict[str, int](), 1
    bare = _ANNOTATION.sub("", code)
    for part in _SPLIT.split(bare):
        if part in (".", "/"):
            sign = -1 if part == "/" else 1
        elif part:
            found = _term(part)
            if found is None:
                return None
            factor *= found[0] ** sign
            for name, exponent in found[1].items():
                dimensions[name] = dimensions.get(name, 0) + sign * exponent
    return Unit(factor, tuple(sorted((n, e) for n, e in dimensions.items() if e)))


def _term(text: str) -> tuple[Decimal, dict[str, int]] | None:
    match = _TERM.fullmatch(text)
    if text in _PLAIN or match is None or not match[1]:
        name, exponent = text, 1
    else:
        name, exponent = match[1], int(match[2] or 1)
    found = _atom(name)
    if found is None or abs(exponent) > 99:
        return None
    return found[0] ** exponent, {n: e * exponent for n, e in found[1].items()}


def _atom(name: str) -> tuple[Decimal, Mapping[str, int]] | None:
    if name in _PLAIN:
        factor, dimensions = _PLAIN[name]
        return Decimal(factor), dimensions
    for length in (0, 1, 2):
        if name[:length] in _PREFIXES and name[length:] in _METRIC:
            factor, dimensions = _METRIC[name[length:]]
            return Decimal(factor).scaleb(_PREFIXES[name[:length]]), dimensions
    return (Decimal(name), {}) if name.isdigit() and len(name) < 10 else None


def canonical(quantity: Quantity, *, inexact: bool = False) -> tuple[Decimal, object]:
    """The value in base units, and what it must share with another to be comparable.

    With `inexact` a calendar year or month counts as the UCUM one (equivalence).
    """
    code = quantity.unit
    if quantity.calendar:
        word = CALENDAR_UNITS[code]
        if word in INEXACT and not inexact:
            return quantity.value * (12 if word == "year" else 1), "calendar months"
        code = _UCUM_OF_CALENDAR[word]
    found = unit(code)
    return (quantity.value, code) if found is None else (quantity.value * found.factor, found.dimensions)


def compare(left: Quantity, right: Quantity) -> int | None:
    """-1, 0 or 1; None if the units do not convert into each other."""
    if left.unit == right.unit and left.calendar == right.calendar:
        a, b = left.value, right.value
    else:
        (a, what), (b, other) = canonical(left), canonical(right)
        if what != other:
            return None
    return 0 if a == b else -1 if a < b else 1


def equivalent(left: Quantity, right: Quantity) -> bool:
    """Equal at the precision of the less precise of the two."""
    (a, what), (b, other) = canonical(left, inexact=True), canonical(right, inexact=True)
    if what != other:
        return False
    coarse = left if _step(left) >= _step(right) else right
    base = canonical(Quantity(Decimal(1), coarse.unit, coarse.calendar), inexact=True)[0]
    digits = places(coarse.value)
    return round(a / base, digits) == round(b / base, digits)


def _step(quantity: Quantity) -> Decimal:
    return canonical(Quantity(Decimal(1).scaleb(-places(quantity.value)), quantity.unit, quantity.calendar), inexact=True)[0]


def places(value: Decimal) -> int:
    """Digits after the point, as written."""
    exponent = value.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def multiply(left: Quantity, right: Quantity) -> Quantity:
    """The product; its unit is the product of the units."""
    return Quantity(left.value * right.value, _combined(left, right, "."))


def divide(left: Quantity, right: Quantity) -> Quantity | None:
    """The quotient, None for a division by zero; equal units cancel."""
    if not right.value:
        return None
    return Quantity(left.value / right.value, _combined(left, right, "/"))


def _combined(left: Quantity, right: Quantity, operator: str) -> str:
    a, b = (_UCUM_OF_CALENDAR[CALENDAR_UNITS[q.unit]] if q.calendar else q.unit for q in (left, right))
    if b == "1":
        return a
    if operator == "." and a == "1":
        return b
    if operator == "/" and a == b:
        return "1"
    if "/" in b and operator == "/":  # a/(b/c) = a.c/b, read from left to right
        top, bottom = b.split("/", 1)
        return f"{a}.{bottom.replace('/', '.')}/{top.replace('.', '/')}"
    return f"{a}{operator}{b if operator == '.' else b.replace('.', '/')}"
