"""Mathematics (http://hl7.org/fhirpath/N1/#math)."""

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any, Final

from conformance.fhirpath.functions.signature import Function
from conformance.fhirpath.nodes import FhirPathError
from conformance.fhirpath.operators import number
from conformance.fhirpath.quantity import Quantity
from conformance.fhirpath.values import Collection, Environment, decimal, single, single_integer

_PLACES: Final = 8
"""Digits after the point of what has no exact decimal."""
_MAX_PLACES: Final = 28


def _operand(found: Collection, name: str) -> Any:
    value = single(found, f"{name}()")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Decimal | Quantity):
        raise FhirPathError(f"{name}() needs a number")
    return value


def _of_number(name: str, apply: Callable[[Any], Any]) -> Function:
    def run(found: Collection, _arguments: list[Collection], _env: Environment) -> Collection:
        value = _operand(found, name)
        if value is None:
            return []
        if isinstance(value, Quantity):
            return [Quantity(m, value.unit, value.calendar) for m in number(lambda: decimal(apply(value.value)))]
        return number(lambda: apply(value))

    return Function(run)


def _irrational(name: str, apply: Callable[[Decimal], Decimal | None]) -> Function:
    def calculate(value: Any) -> Decimal | None:
        result = apply(decimal(value))
        return None if result is None else _tidy(result)

    return _of_number(name, calculate)


def _tidy(value: Decimal) -> Decimal:
    return +value if value == value.to_integral_value() or abs(value) > 10**16 else round(value, _PLACES + 8)


def _two(name: str, apply: Callable[[Decimal, Decimal], Decimal | None]) -> Function:
    def run(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
        a, b = _operand(found, name), _operand(arguments[0], name)
        if a is None or b is None or isinstance(a, Quantity) or isinstance(b, Quantity):
            return []
        result = number(lambda: apply(decimal(a), decimal(b)))
        if isinstance(a, int) and isinstance(b, int) and name == "power" and b >= 0:
            return [int(r) for r in result]
        return result

    return Function(run, 1, 1)


def _power(a: Decimal, b: Decimal) -> Decimal | None:
    if a < 0 and b != b.to_integral_value():
        return None
    if a and abs(b) * max(1, abs(a.adjusted())) > 400:
        return None
    return a**b


def _log(a: Decimal, b: Decimal) -> Decimal | None:
    if a <= 0 or b <= 0 or b == 1:
        return None
    return round(a.ln() / b.ln(), _PLACES * 2)


def _exp(value: Decimal) -> Decimal | None:
    return value.exp() if value < 100 else None


def _round(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    value = _operand(found, "round")
    digits = (single_integer(arguments[0], "round()") if arguments else 0) or 0
    if not 0 <= digits <= _MAX_PLACES:
        raise FhirPathError(f"round() takes 0 to {_MAX_PLACES} digits")
    if value is None or isinstance(value, int):
        return [] if value is None else [value]
    amount = value.value if isinstance(value, Quantity) else value
    rounded = number(lambda: amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))
    return [Quantity(r, value.unit, value.calendar) for r in rounded] if isinstance(value, Quantity) else rounded


def _integral(rounding: str) -> Callable[[Any], int]:
    return lambda value: int(decimal(value).to_integral_value(rounding))


FUNCTIONS: Final[dict[str, Function]] = {
    "abs": _of_number("abs", lambda v: abs(v) if isinstance(v, int) else v.copy_abs()),
    "ceiling": _of_number("ceiling", _integral(ROUND_CEILING)),
    "floor": _of_number("floor", _integral(ROUND_FLOOR)),
    "truncate": _of_number("truncate", _integral(ROUND_DOWN)),
    "exp": _irrational("exp", _exp),
    "ln": _irrational("ln", lambda v: v.ln() if v > 0 else None),
    "sqrt": _irrational("sqrt", lambda v: v.sqrt() if v >= 0 else None),
    "log": _two("log", _log),
    "power": _two("power", _power),
    "round": Function(_round, 0, 1),
}
