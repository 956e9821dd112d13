"""Conversions, each with its `convertsTo…` (http://hl7.org/fhirpath/N1/#conversion), and the current moment."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from conformance.fhirpath.functions.signature import Function
from conformance.fhirpath.nodes import FhirPathError
from conformance.fhirpath.quantity import CALENDAR_UNITS, Quantity, canonical, compare, parse_quantity
from conformance.fhirpath.temporal import Temporal, parse_datetime, parse_time
from conformance.fhirpath.values import Collection, Environment, decimal, single, single_text

_INTEGER: Final = re.compile(r"[+-]?\d{1,18}")
_DECIMAL: Final = re.compile(r"[+-]?\d{1,28}(\.\d{1,28})?")
_LONGEST: Final = 1_000
"""Digits of a number that is written as text, and zeros behind its point."""
_TRUE: Final = frozenset(("true", "t", "yes", "y", "1", "1.0"))
_FALSE: Final = frozenset(("false", "f", "no", "n", "0", "0.0"))

Convert = Callable[[Any], Any]


def _to_boolean(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int() | Decimal():
            return True if value == 1 else False if value == 0 else None
        case str():
            return True if value.lower() in _TRUE else False if value.lower() in _FALSE else None
    return None


def _to_integer(value: Any) -> Any:
    match value:
        case int():
            return int(value)
        case str() if _INTEGER.fullmatch(value):
            return int(value)
    return None


def _to_decimal(value: Any) -> Any:
    match value:
        case int():
            return Decimal(int(value))
        case Decimal():
            return value
        case str() if _DECIMAL.fullmatch(value):
            return Decimal(value)
    return None


def to_text(value: Any) -> Any:
    """What toString() makes of a System value; None of what has no text. Raises FhirPathError for 1e999999999: zeros by the gigabyte."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case Decimal():
            if abs(value.adjusted()) > _LONGEST:
                raise FhirPathError(f"a number with more than {_LONGEST} digits has no text")
            return format(value, "f")
        case int() | Temporal() | Quantity():
            return str(value)
    return None


def _to_date(value: Any) -> Any:
    found = parse_datetime(value) if isinstance(value, str) else value
    if not isinstance(found, Temporal) or found.kind == "Time":
        return None
    return Temporal("Date", found.fields[:3])


def _to_datetime(value: Any) -> Any:
    found = parse_datetime(value) if isinstance(value, str) else value
    if not isinstance(found, Temporal) or found.kind == "Time":
        return None
    return found if found.kind == "DateTime" else Temporal("DateTime", found.fields)


def _to_time(value: Any) -> Any:
    found = parse_time(value) if isinstance(value, str) else value
    return found if isinstance(found, Temporal) and found.kind == "Time" else None


def _to_quantity(value: Any) -> Any:
    match value:
        case Quantity():
            return value
        case int() | Decimal():
            return Quantity(decimal(int(value)) if isinstance(value, int) else value)
        case str():
            return parse_quantity(value)
    return None


_CONVERSIONS: Final[dict[str, Convert]] = {
    "Boolean": _to_boolean, "Integer": _to_integer, "Decimal": _to_decimal, "String": to_text, "Date": _to_date,
    "DateTime": _to_datetime, "Time": _to_time, "Quantity": _to_quantity,
}  # fmt: skip


def _in_unit(value: Any, arguments: list[Collection], name: str) -> Any:
    """toQuantity('mg'): the quantity in that unit, None if its own does not convert."""
    unit = single_text(arguments[0], f"{name}()") if arguments else None
    if unit is None or not isinstance(value, Quantity):
        return value
    wanted = Quantity(Decimal(1), unit, unit in CALENDAR_UNITS)
    if (value.unit, value.calendar) == (wanted.unit, wanted.calendar):
        return value
    if compare(value, wanted) is None:
        return None
    return Quantity(canonical(value)[0] / canonical(wanted)[0], unit, wanted.calendar)


def _conversion(kind: str, convert: Convert) -> tuple[Function, Function]:
    most = 1 if kind == "Quantity" else 0

    def converted(found: Collection, arguments: list[Collection], name: str) -> Any:
        value = single(found, f"{name}()")
        return None if value is None else _in_unit(convert(value), arguments, name)

    def to(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
        value = converted(found, arguments, f"to{kind}")
        return [] if value is None else [value]

    def converts(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
        return [converted(found, arguments, f"convertsTo{kind}") is not None] if found else []

    return Function(to, 0, most, f"System.{kind}"), Function(converts, 0, most, "System.Boolean")


def _truncated_to_day(moment: Temporal) -> Temporal:
    return Temporal("Date", moment.fields[:3])


def _time_of_day(moment: Temporal) -> Temporal:
    return Temporal("Time", moment.fields[3:], moment.fraction)


FUNCTIONS: Final[dict[str, Function]] = {
    **{f"to{kind}": _conversion(kind, convert)[0] for kind, convert in _CONVERSIONS.items()},
    **{f"convertsTo{kind}": _conversion(kind, convert)[1] for kind, convert in _CONVERSIONS.items()},
    "now": Function(lambda _found, _arguments, env: [env.moment], result="System.DateTime"),
    "today": Function(lambda _found, _arguments, env: [_truncated_to_day(env.moment)], result="System.Date"),
    "timeOfDay": Function(lambda _found, _arguments, env: [_time_of_day(env.moment)], result="System.Time"),
}
