"""Date parameters: intervals of time compared with intervals of time (https://hl7.org/fhir/R4/search.html#date).

`2026-02` is the whole of February. A date or time without a zone is UTC, in queries and in documents: so a search gives the same
answer wherever server and client are. Times are microseconds since the epoch, intervals half open.
"""

import re
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import Any

from resources.outcomes import shown
from search.parameter import SearchParameter
from search.query import Modifier, Prefix, Term
from search.types.text import BadValue, Bases, Converter, Reading, prefixed
from search.values import BEGIN, END, DateValue, Value

_TEXT = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d|60)(?:\.(\d+))?)?(?:Z|([+-])(\d\d):([0-5]\d))?)?)?)?",
    re.ASCII,
)
_EPOCH = date(1970, 1, 1).toordinal()
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_FARTHEST_ZONE = 14 * 60
_LOST_PLUS = re.compile(r"(T[\d:.]+) (\d\d:\d\d)$", re.ASCII)

MODIFIERS = frozenset({Modifier.MISSING})


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`ge2026-02-23` -> one term. Raises BadValue.

    A blank before the zone is read as the `+` that an unescaped URL loses. `ap` widens by a tenth of the distance to now, at least by
    half a day.
    """
    prefix, written = prefixed(text)
    found = interval(_LOST_PLUS.sub(r"\1+\2", written))
    if found is None:
        raise BadValue(
            f"{shown(text)} is no date: write YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with Z or an offset like +01:00"
        )
    if prefix is Prefix.AP:
        margin = max(abs(reading.now - (found.low + found.high) // 2) // 10, _DAY // 2)
        found = DateValue(max(found.low - margin, BEGIN), min(found.high + margin, END))
    return (Term(found, prefix),)


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """The interval of a date, dateTime or instant; of a Period with its open ends; the outer limits of a Timing."""
    return _CONVERTERS.get(fhir_type)


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """Compares as the table at `search.query.Prefix` says."""
    assert isinstance(term.value, DateValue) and isinstance(value, DateValue)
    (low, high), (start, end) = term.value, value
    inside = low <= start and end <= high
    return {
        Prefix.EQ: inside,
        Prefix.NE: not inside,
        Prefix.GT: end > high,
        Prefix.LT: start < low,
        Prefix.GE: end > high or inside,
        Prefix.LE: start < low or inside,
        Prefix.SA: start >= high,
        Prefix.EB: end <= low,
        Prefix.AP: start < high and end > low,
    }[term.prefix]


@lru_cache(maxsize=16_384)
def interval(text: str) -> DateValue | None:
    """The interval that a date or time covers given its precision; None if it is none (2026-02-30, 24:00, beyond ±14:00)."""
    parts = _TEXT.fullmatch(text)
    if parts is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = parts.groups()
    try:
        first = date(int(year), int(month or 1), int(day or 1)).toordinal()
    except ValueError:
        return None  # a date that no calendar has
    if hour is None:
        return DateValue((first - _EPOCH) * _DAY, (_last(int(year), month, day, first) + 1 - _EPOCH) * _DAY)
    offset = 0 if sign is None else int(zone_hours) * 60 + int(zone_minutes)
    if offset > _FARTHEST_ZONE:
        return None
    minutes = int(hour) * 60 + int(minute) + (offset if sign == "-" else -offset)
    low = (first - _EPOCH) * _DAY + minutes * 60 * _SECOND
    if second is None:
        return DateValue(low, low + 60 * _SECOND)
    low += int(second) * _SECOND
    if fraction is None:
        return DateValue(low, low + _SECOND)
    low += int(fraction[:6].ljust(6, "0"))
    return DateValue(low, low + 10 ** max(6 - len(fraction), 0))


def _last(year: int, month: str | None, day: str | None, first: int) -> int:
    """The ordinal of the last day of the year or month, or of the day itself."""
    if day is not None:
        return first
    if month is None or month == "12":
        return date(year, 12, 31).toordinal()
    return date(year, int(month) + 1, 1).toordinal() - 1


def _date(values: Sequence[str]) -> list[Value]:
    return [found for value in values if (found := interval(value)) is not None]


def _between(start: str | None, end: str | None) -> tuple[DateValue, ...]:
    """From the start of `start` to the end of `end`; nothing if both are missing or the end lies before the start."""
    first = interval(start) if start is not None else None
    last = interval(end) if end is not None else None
    if first is None and last is None:
        return ()
    found = DateValue(first.low if first else BEGIN, last.high if last else END)
    return (found,) if found.low < found.high else ()


def _period(values: Sequence[dict[str, Any]]) -> list[Value]:
    return [found for value in values for found in _between(value.get("start"), value.get("end"))]


def _timing(values: Sequence[dict[str, Any]]) -> list[Value]:
    """The outer limits only, as the specification has it: from the first event or bound to the last."""
    limits = map(_limits, values)
    return [DateValue(min(f.low for f in found), max(f.high for f in found)) for found in limits if found]


def _limits(timing: dict[str, Any]) -> list[DateValue]:
    bounds = timing.get("repeat", {}).get("boundsPeriod", {})
    found = list(_between(bounds.get("start"), bounds.get("end")))
    return found + [event for text in timing.get("event", ()) if text is not None and (event := interval(text))]


_CONVERTERS: dict[str, Converter] = {"date": _date, "dateTime": _date, "instant": _date, "Period": _period, "Timing": _timing}
