"""lowBoundary(), highBoundary() and precision() (http://hl7.org/fhirpath/#utility-functions)."""

from calendar import monthrange
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

from conformance.fhirpath.functions.signature import Function
from conformance.fhirpath.nodes import FhirPathError
from conformance.fhirpath.quantity import Quantity, places
from conformance.fhirpath.temporal import Temporal
from conformance.fhirpath.values import Collection, Environment, decimal, single, single_integer

_DIGITS: Final = {"Date": (4, 6, 8), "DateTime": (4, 6, 8, 10, 12, 14, 17), "Time": (2, 4, 6, 9)}
"""Precision by the number of fields, milliseconds counted as one more."""
_FULL: Final = {"Date": 8, "DateTime": 17, "Time": 9}
_MAX_PLACES: Final = 28
_ZONES: Final = {False: (14 * 60, "+14:00"), True: (-12 * 60, "-12:00")}
"""The zone that gives the earliest (low) and the latest (high) moment, where none is given."""


def _boundary(high: bool, name: str) -> Function:
    def run(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
        value = single(found, f"{name}()")
        digits = single_integer(arguments[0], f"{name}()") if arguments else None
        if value is None or (digits is not None and digits < 0):
            return []
        return _of(value, digits, high, name)

    return Function(run, 0, 1)


def _of(value: Any, digits: int | None, high: bool, name: str) -> Collection:
    if isinstance(value, Temporal):
        wanted = _FULL[value.kind] if digits is None else digits
        return [_temporal(value, wanted, high)] if wanted in _DIGITS[value.kind] else []
    number = value.value if isinstance(value, Quantity) else value
    if isinstance(number, bool) or not isinstance(number, int | Decimal):
        raise FhirPathError(f"{name}() needs a number, a quantity, a date or a time")
    if digits is not None and digits > _MAX_PLACES:
        return []
    bound = _decimal(decimal(number), 8 if digits is None else digits, high)
    return [Quantity(bound, value.unit, value.calendar) if isinstance(value, Quantity) else bound]


def _decimal(value: Decimal, digits: int, high: bool) -> Decimal:
    half = Decimal("0.5").scaleb(-places(value))
    rounding = ROUND_CEILING if high else ROUND_FLOOR
    step = Decimal(1).scaleb(-digits)
    if digits < places(value) and abs(value) < step:
        return Decimal(0).quantize(step).copy_sign(value)  # a bound at so coarse a step says no more than zero
    return (value + half if high else value - half).quantize(step, rounding)


def _temporal(value: Temporal, digits: int, high: bool) -> Temporal:
    """The first or last moment of what the value covers, at a precision of so many digits."""
    count = _DIGITS[value.kind].index(digits) + 1
    parts = 3 if value.kind in ("Date", "Time") else 6
    fields = list(value.fields[:count])
    while len(fields) < min(count, parts):
        fields.append(_bound(value, tuple(fields), high))
    fraction = (value.fraction + "000")[:3] if value.fraction else "999" if high else "000"
    whole = count > parts
    zone, zone_text = value.zone, value.zone_text
    if value.kind == "DateTime" and len(fields) > 3 and zone is None:
        zone, zone_text = _ZONES[high]
    kind = "Date" if value.kind == "DateTime" and count <= 3 else value.kind
    dated = kind == "Date"
    return Temporal(kind, tuple(fields), fraction if whole else "", None if dated else zone, "" if dated else zone_text)


def _bound(value: Temporal, fields: tuple[int, ...], high: bool) -> int:
    at = len(fields) + (3 if value.kind == "Time" else 0)
    if at == 1:
        return 12 if high else 1
    if at == 2:
        return monthrange(fields[0], fields[1])[1] if high else 1
    if not high or (at == 4 and len(value.fields) == 4):  # an hour stands for its first minute, as in the specification's example
        return 0
    return 23 if at == 3 else 59


def _precision(found: Collection, _arguments: list[Collection], _env: Environment) -> Collection:
    value = single(found, "precision()")
    match value:
        case None:
            return []
        case Temporal():
            count = len(value.fields) + bool(value.fraction)
            return [_DIGITS[value.kind][count - 1]]
        case bool():
            pass
        case Decimal():
            return [places(value)]
        case int():
            return [0]
    raise FhirPathError("precision() needs a decimal, a date or a time")


FUNCTIONS: Final[dict[str, Function]] = {
    "lowBoundary": _boundary(False, "lowBoundary"),
    "highBoundary": _boundary(True, "highBoundary"),
    "precision": Function(_precision, result="System.Integer"),
}
