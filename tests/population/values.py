"""How a value of a document may be asked for: one value of a query string, of the forms and with the prefixes that its kind has."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random

from search.parameter import SearchParameter
from search.values import (
    BEGIN,
    END,
    UNBOUNDED,
    DateValue,
    NumberValue,
    PositionValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    UriValue,
    Value,
)

ALWAYS = ("_id", "_lastUpdated")
"""What every document has, so that nobody can ask whether it lacks."""

PREFIXES = ("", "", "", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
UCUM = "http://unitsofmeasure.org"

_UNITS = {
    "kg": ("g", 1e3), "g": ("mg", 1e3), "mg": ("g", 1e-3), "cm": ("m", 1e-2), "m": ("cm", 1e2), "mg/dL": ("g/L", 1e-2),
    "mmol/L": ("mol/L", 1e-3), "min": ("s", 60.0), "h": ("min", 60.0), "mL": ("L", 1e-3), "mm[Hg]": ("kPa", 0.133322387415),
}  # fmt: skip
_SHIFTS = (0, 0, 0, 1, -1, 1_000_000, 86_400_000_000, -86_400_000_000, 40 * 86_400_000_000)
"""Microseconds by which a date asked for is beside one that is there."""


def escaped(text: str) -> str:
    """The text as it stands in a query: what separates values there is escaped."""
    return re.sub(r"([\\,|$])", r"\\\1", text)


def written(random: Random, parameter: SearchParameter, value: Value) -> str:
    """A search value that the value matches, or nearly: separators are escaped, a prefix is in front."""
    return _WRITERS[type(value)](random, parameter, value)


def _token(random: Random, parameter: SearchParameter, value: Value) -> str:
    assert isinstance(value, TokenValue)
    system, code = escaped(value.system), escaped(value.code)
    if parameter.code == "_id":
        return code
    if parameter.bound and not system and random.random() < 0.4:
        return f"{escaped(random.choice(sorted(parameter.bound)))}|{code}"
    forms = [code, f"{system}|{code}", f"{system}|{code}", f"|{code}", f"urn:other|{code}", code.swapcase()]
    return random.choice([*forms, f"{system}|"] if system else forms)


def _string(random: Random, parameter: SearchParameter, value: Value) -> str:
    assert isinstance(value, StringValue)
    text = value.exact[: random.choice((1, 2, 3, 5, 8, len(value.exact)))]
    return escaped(random.choice((text, text, text.upper(), text.lower(), text.replace("e", "é"), f"{text}x")))


def infix(random: Random, value: StringValue) -> str:
    """Some part of a text, for `:contains`."""
    start = random.randrange(max(len(value.exact), 1))
    return escaped(value.exact[start : start + random.randint(1, 6)])


def _date(random: Random, parameter: SearchParameter, value: Value) -> str:
    assert isinstance(value, DateValue)
    return f"{random.choice(PREFIXES)}{instant(random, value)}"


def instant(random: Random, value: DateValue) -> str:
    """A date or time at an end of the interval or close to it, as precise as it likes, in any zone."""
    ends = [end for end in value if end not in (BEGIN, END)] or [0]
    micros = random.choice(ends) + random.choice(_SHIFTS)
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    form = random.choice(("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f"))
    if "T" not in form:
        return when.strftime(form)
    hours = random.choice((0, 0, 1, -5, 14))
    zone = "Z" if not hours else f"{'+' if hours > 0 else '-'}{abs(hours):02d}:00"
    return f"{(when + timedelta(hours=hours)).strftime(form)}{zone}"


def _numeral(random: Random, number: float) -> str:
    near = random.choice((number, number, number, number * 1.08, number + 0.04, round(number), number / 2))
    return random.choice((f"{near:.6g}", f"{near:.10f}".rstrip("0").rstrip("."), f"{near:.3e}", f"{near:.2f}", f"{near:.0f}"))


def _finite(value: NumberValue | QuantityValue) -> float:
    return next((end for end in (value.value, value.low, value.high) if abs(end) < UNBOUNDED), 1.0)


def _number(random: Random, parameter: SearchParameter, value: Value) -> str:
    assert isinstance(value, NumberValue)
    return f"{random.choice(PREFIXES)}{_numeral(random, _finite(value))}"


def _quantity(random: Random, parameter: SearchParameter, value: Value) -> str:
    assert isinstance(value, QuantityValue)
    number, code, system = _finite(value), value.code or value.unit, value.system
    form = random.choice(("", "||", "|s|", "|s|", "converted"))
    if form == "converted" and system == UCUM and code in _UNITS:
        code, factor = _UNITS[code]
        number *= factor
    unit = {"": "", "||": f"||{escaped(code)}"}.get(form, f"|{escaped(system)}|{escaped(code)}")
    return f"{random.choice(PREFIXES)}{_numeral(random, number)}{unit if code else ''}"


def _reference(random: Random, parameter: SearchParameter, value: Value) -> str:
    assert isinstance(value, ReferenceValue)
    type, _, id = value.target.partition("/")
    if not type.isalpha():
        return escaped(value.target)
    forms = [value.target, value.target, f"{value.target}/_history/2", id, f"http://elsewhere/{value.target}"]
    return escaped(random.choice(forms))


def _uri(random: Random, parameter: SearchParameter, value: Value) -> str:
    assert isinstance(value, UriValue)
    return escaped(random.choice((value.uri, value.uri, value.uri.partition("|")[0], value.uri.upper())))


def path(random: Random, value: UriValue) -> str:
    """A URL at, above or below this one."""
    parts = value.uri.split("/")
    return escaped(random.choice(("/".join(parts[: random.randint(3, max(len(parts), 3))]), value.uri, f"{value.uri}/more")))


def _position(random: Random, parameter: SearchParameter, value: Value) -> str:
    assert isinstance(value, PositionValue)
    latitude = max(-90.0, min(90.0, value.latitude + random.uniform(-0.3, 0.3)))
    distance = random.choice(("", "|1|km", "|12|mi", "|30", "|25000|m"))
    return f"{latitude:.5f}|{value.longitude + random.choice((0.0, 0.1)):.5f}{distance}"


_WRITERS: Mapping[type, Callable[[Random, SearchParameter, Value], str]] = {
    TokenValue: _token,
    StringValue: _string,
    DateValue: _date,
    NumberValue: _number,
    QuantityValue: _quantity,
    ReferenceValue: _reference,
    UriValue: _uri,
    PositionValue: _position,
}


def compared(random: Random, parameter: SearchParameter, value: Value) -> str:
    """One comparison of a `_filter` on the parameter: `family co "x"`."""
    code = parameter.code
    if random.random() < 0.1 and code not in ALWAYS:
        return f"{code} pr {random.choice(('true', 'false'))}"
    if isinstance(value, StringValue):
        operator = random.choice(("eq", "ne", "co", "sw", "ew"))
        text = {"eq": value.exact, "ne": value.exact, "ew": value.exact[-3:], "sw": value.exact[:4]}.get(operator, value.exact[1:4])
        return f"{code} {operator} {json.dumps(text or 'x')}"
    if isinstance(value, DateValue):
        return f"{code} {random.choice(('eq', 'ne', 'gt', 'lt', 'ge', 'le', 'sa', 'eb', 'ap', 'po'))} {instant(random, value)}"
    if isinstance(value, NumberValue | QuantityValue):
        return f"{code} {random.choice(('eq', 'ne', 'gt', 'lt', 'ge', 'le', 'ap'))} {_numeral(random, _finite(value))}"
    if isinstance(value, ReferenceValue):
        return f"{code} {random.choice(('eq', 're'))} {json.dumps(value.target)}"
    text = f"{value.system}|{value.code}" if isinstance(value, TokenValue) and code != "_id" else str(value[-1])
    return f"{code} {random.choice(('eq', 'ne'))} {json.dumps(text.removeprefix('|'))}"
