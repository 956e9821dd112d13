"""Operators on collections (http://hl7.org/fhirpath/N1/#operations)."""

from collections.abc import Callable
from decimal import ROUND_DOWN, Context, Decimal, DecimalException
from functools import partial
from typing import Any, Final

from conformance.fhirpath import quantity as units
from conformance.fhirpath.model import is_subtype
from conformance.fhirpath.nodes import FhirPathError
from conformance.fhirpath.quantity import INEXACT, Quantity
from conformance.fhirpath.temporal import Temporal, add, compare, parse_datetime
from conformance.fhirpath.values import (
    Collection,
    Item,
    as_quantity,
    boolean,
    decimal,
    equal,
    equal_collections,
    equivalent_collections,
    single,
    type_of,
)

Operator = Callable[[Collection, Collection], Collection]

BOUND: Final = Decimal("1E28")
"""Numbers beyond this are no FHIRPath decimals (28 digits before the point)."""
EXACT: Final = Context(prec=80)
"""For sums and products, which lose no digit of operands within BOUND and eight places."""
MAX_TEXT: Final = 1_000_000
"""Longest text an expression may make, in characters: it must not fill the memory."""


def bounded_text(text: str) -> str:
    """The text, if it is no longer than MAX_TEXT. Raises FhirPathError."""
    if len(text) > MAX_TEXT:
        raise FhirPathError(f"the expression makes a text of more than {MAX_TEXT} characters")
    return text


def _wrap(value: Any) -> Collection:
    return [] if value is None else [value]


def _equal(left: Collection, right: Collection) -> Collection:
    return _wrap(equal_collections(left, right))


def _unequal(left: Collection, right: Collection) -> Collection:
    found = equal_collections(left, right)
    return [] if found is None else [not found]


def _order(decide: Callable[[int], bool], symbol: str) -> Operator:
    def ordered(left: Collection, right: Collection) -> Collection:
        a, b = single(left, symbol), single(right, symbol)
        if a is None or b is None:
            return []
        order = order_of(a, b, symbol)
        return [] if order is None else [decide(order)]

    return ordered


def order_of(a: Any, b: Any, symbol: str) -> int | None:
    """-1, 0 or 1 of two System values; None where it is open. Raises FhirPathError where the types have no order."""
    if isinstance(a, str) and isinstance(b, Temporal):
        a = parse_datetime(a) or a
    if isinstance(b, str) and isinstance(a, Temporal):
        b = parse_datetime(b) or b
    if isinstance(a, Temporal) and isinstance(b, Temporal) and (a.kind == "Time") == (b.kind == "Time"):
        return compare(a, b)
    if isinstance(a, str) and isinstance(b, str):
        return 0 if a == b else -1 if a < b else 1
    if _is_number(a) and _is_number(b):
        return 0 if a == b else -1 if a < b else 1
    first, second = as_quantity(a), as_quantity(b)
    if first is not None and second is not None:
        return units.compare(first, second)
    if any(isinstance(v, Item) and is_subtype(v.type, "Quantity") for v in (a, b)):
        return None  # a Quantity without value, or one that says "more than"
    raise _mismatch(symbol, a, b)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _mismatch(symbol: str, a: Any, b: Any) -> FhirPathError:
    return FhirPathError(f"{symbol!r} does not go with {type_of(a).name} and {type_of(b).name}")


def _arithmetic(symbol: str, numbers: Callable[[Any, Any], Any], others: Callable[[Any, Any], Any] | None = None) -> Operator:
    def calculated(left: Collection, right: Collection) -> Collection:
        a, b = single(left, symbol), single(right, symbol)
        if a is None or b is None:
            return []
        if _is_number(a) and _is_number(b):
            return number(lambda: numbers(a, b))
        if others is None:
            raise _mismatch(symbol, a, b)
        return number(lambda: others(a, b))

    return calculated


def number(calculate: Callable[[], Any]) -> Collection:
    """The result of a calculation, [] where there is none (division by zero, overflow)."""
    try:
        value = calculate()
    except DecimalException:
        return []
    magnitude = value.value if isinstance(value, Quantity) else value
    if isinstance(magnitude, int | Decimal) and not -BOUND <= magnitude <= BOUND:
        return []
    return _wrap(value)


def _plus(a: Any, b: Any) -> Any:
    if isinstance(a, str) and isinstance(b, str):
        return bounded_text(a + b)
    if isinstance(a, Temporal) and isinstance(b, Quantity):
        return moved(a, b, 1)
    return _quantities("+", a, b, EXACT.add)


def _minus(a: Any, b: Any) -> Any:
    if isinstance(a, Temporal) and isinstance(b, Quantity):
        return moved(a, b, -1)
    return _quantities("-", a, b, EXACT.subtract)


def moved(value: Temporal, by: Quantity, sign: int) -> Temporal | None:
    """A date or time plus or minus a time-valued quantity. Raises FhirPathError for units that are no calendar's ('mo', 'cm')."""
    word = by.calendar_word
    if word is None:
        raise FhirPathError("a date moves by years, months … or milliseconds, not by another unit")
    if value.kind == "Time" and word in INEXACT:
        raise FhirPathError("a time moves by weeks and less")
    return add(value, by.value * sign, word)


def _quantities(symbol: str, a: Any, b: Any, combine: Callable[[Decimal, Decimal], Decimal]) -> Quantity | None:
    if not isinstance(a, Quantity) or not isinstance(b, Quantity):
        raise _mismatch(symbol, a, b)
    if (a.unit, a.calendar) == (b.unit, b.calendar):
        return Quantity(combine(a.value, b.value), a.unit, a.calendar)
    (x, what), (y, other) = units.canonical(a), units.canonical(b)
    if what != other or not a.value:
        return None
    return Quantity(combine(a.value, y * a.value / x), a.unit, a.calendar)


def _times(a: Any, b: Any) -> Any:
    first, second = as_quantity(a), as_quantity(b)
    if first is None or second is None:
        raise _mismatch("*", a, b)
    return units.multiply(first, second)


def _over(a: Any, b: Any) -> Any:
    first, second = as_quantity(a), as_quantity(b)
    if first is None or second is None:
        raise _mismatch("/", a, b)
    return units.divide(first, second)


def _exactly(operate: Callable[[Decimal, Decimal], Decimal], a: Any, b: Any) -> Any:
    """Integers stay integers, decimals keep every digit."""
    made = operate(decimal(a), decimal(b))
    return int(made) if isinstance(a, int) and isinstance(b, int) else made


def _divide(a: Any, b: Any) -> Any:
    return decimal(a) / decimal(b) if b else None


def _whole_division(a: Any, b: Any) -> Any:
    return int((decimal(a) / decimal(b)).to_integral_value(ROUND_DOWN)) if b else None


def _modulo(a: Any, b: Any) -> Any:
    if not b:
        return None
    rest = decimal(a) % decimal(b)
    return int(rest) if isinstance(a, int) and isinstance(b, int) else rest


def _join(left: Collection, right: Collection) -> Collection:
    parts = [single(left, "&"), single(right, "&")]
    if any(p is not None and not isinstance(p, str | Temporal) for p in parts):
        raise _mismatch("&", *parts)
    return [bounded_text("".join("" if p is None else str(p) for p in parts))]


def _and(left: Collection, right: Collection) -> Collection:
    a, b = boolean(left, "and"), boolean(right, "and")
    return [False] if a is False or b is False else [] if a is None or b is None else [True]


def _or(left: Collection, right: Collection) -> Collection:
    a, b = boolean(left, "or"), boolean(right, "or")
    return [True] if a or b else [] if a is None or b is None else [False]


def _xor(left: Collection, right: Collection) -> Collection:
    a, b = boolean(left, "xor"), boolean(right, "xor")
    return [] if a is None or b is None else [a is not b]


def _implies(left: Collection, right: Collection) -> Collection:
    a, b = boolean(left, "implies"), boolean(right, "implies")
    return [True] if a is False or b else [] if a is None or b is None else [False]


def within(left: Collection, right: Collection) -> Collection:
    """`left in right`."""
    if not left:
        return []
    if len(left) > 1:
        raise FhirPathError(f"`in` needs one value at its left, there are {len(left)}")
    return [any(equal(left[0], v) is True for v in right)]


OPERATORS: Final[dict[str, Operator]] = {
    "=": _equal, "!=": _unequal,
    "~": lambda a, b: [equivalent_collections(a, b)], "!~": lambda a, b: [not equivalent_collections(a, b)],
    "<": _order(lambda o: o < 0, "<"), ">": _order(lambda o: o > 0, ">"),
    "<=": _order(lambda o: o <= 0, "<="), ">=": _order(lambda o: o >= 0, ">="),
    "+": _arithmetic("+", partial(_exactly, EXACT.add), _plus), "-": _arithmetic("-", partial(_exactly, EXACT.subtract), _minus),
    "*": _arithmetic("*", partial(_exactly, EXACT.multiply), _times), "/": _arithmetic("/", _divide, _over),
    "div": _arithmetic("div", _whole_division), "mod": _arithmetic("mod", _modulo), "&": _join,
    "and": _and, "or": _or, "xor": _xor, "implies": _implies,
    "in": within, "contains": lambda a, b: within(b, a),
}  # fmt: skip
