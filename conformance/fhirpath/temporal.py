"""Dates, dateTimes and times of any precision: reading, comparing and adding (http://hl7.org/fhirpath/N1/#datetime-arithmetic)."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final, Literal

from conformance.fhirpath.nodes import FhirPathError

Kind = Literal["Date", "DateTime", "Time"]

_DATE: Final = r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?"
_CLOCK: Final = r"(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?"
_ZONE: Final = r"(Z|[+-]\d\d:\d\d)?"
_DATETIME: Final = re.compile(rf"{_DATE}(T(?:{_CLOCK})?{_ZONE})?")
_TIME: Final = re.compile(rf"T?{_CLOCK}")
_LIMITS: Final = (9999, 12, 31, 23, 59, 60)
_UNKNOWN_ZONE: Final = 14 * 60
"""A zone that is not given may be off by as much as this, in minutes."""
_MONTHS: Final = {"year": 12, "month": 1}
_MICROSECONDS: Final = {
    "week": 604_800_000_000, "day": 86_400_000_000, "hour": 3_600_000_000, "minute": 60_000_000, "second": 1_000_000, "millisecond": 1_000,
}  # fmt: skip
_FIELD_UNITS: Final = ("year", "month", "day", "hour", "minute", "second")
_DAYS_ABOUT: Final = {"year": 365, "month": 30}


@dataclass(frozen=True, slots=True)
class Temporal:
    """A Date, DateTime or Time as far as it is known.

    `fields`: year, month, day, hour, minute, second (a Time begins at the hour), as many as are given; `fraction`: the digits after
    the second; `zone`: minutes east of UTC, None where not given; `zone_text` as written.
    """

    kind: Kind
    fields: tuple[int, ...]
    fraction: str = ""
    zone: int | None = None
    zone_text: str = ""

    def __str__(self) -> str:
        if self.kind == "Time":
            return _clock(self.fields, self.fraction)
        date = "-".join((f"{self.fields[0]:04d}", *(f"{f:02d}" for f in self.fields[1:3])))
        if self.kind == "Date":
            return date
        return f"{date}T{_clock(self.fields[3:], self.fraction)}{self.zone_text}"


def _clock(fields: tuple[int, ...], fraction: str) -> str:
    return ":".join(f"{f:02d}" for f in fields) + (f".{fraction}" if fraction else "")


def parse_literal(text: str, at: int) -> Temporal:
    """`@2015-02`, `@2015T`, `@T14:30`. Raises FhirPathError for days and hours that do not exist."""
    found = parse_time(text[1:]) if text.startswith("@T") else parse_datetime(text[1:])
    if found is None:
        raise FhirPathError(f"{text} does not exist", at)
    return found


@lru_cache(maxsize=8_192)
def parse_datetime(text: str) -> Temporal | None:
    """A Date or (where there is a `T`) a DateTime; None if the text is neither."""
    match = _DATETIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, time, hour, minute, second, fraction, zone = match.groups()
    fields = _numbers(year, month, day, hour, minute, second)
    if hour and not day:
        return None
    if not _exists(fields):
        return None
    kind: Kind = "DateTime" if time else "Date"
    return Temporal(kind, fields, fraction or "", zone_minutes(zone), zone or "")


@lru_cache(maxsize=1_024)
def parse_time(text: str) -> Temporal | None:
    """A Time (`14:30`, `T14`); None if the text is none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    fields = _numbers(*match.groups()[:3])
    if any(f > limit for f, limit in zip(fields, _LIMITS[3:], strict=False)):
        return None
    return Temporal("Time", fields, match[4] or "")


def _numbers(*texts: str | None) -> tuple[int, ...]:
    return tuple(int(t) for t in texts if t is not None)


def _exists(fields: tuple[int, ...]) -> bool:
    if fields[0] < 1 or any(f > limit for f, limit in zip(fields, _LIMITS, strict=False)) or 0 in fields[1:3]:
        return False
    return len(fields) < 3 or fields[2] <= monthrange(fields[0], fields[1])[1]


def zone_minutes(zone: str | None) -> int | None:
    """Minutes east of UTC of `Z`, `+02:00`; None for none."""
    if not zone:
        return None
    if zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    return -minutes if zone[0] == "-" else minutes


def compare(left: Temporal, right: Temporal) -> int | None:
    """-1, 0 or 1; None where the precision (or a missing time zone) leaves it open. Both are times, or neither is."""
    a, b = left, right
    if len(left.fields) > 3 and len(right.fields) > 3 and left.kind != "Time":
        if (left.zone is None) != (right.zone is None):
            return _compare_far(left, right)
        a, b = utc(left), utc(right)
    for x, y in zip(a.fields, b.fields, strict=False):
        if x != y:
            return -1 if x < y else 1
    if len(a.fields) != len(b.fields):
        return None
    x_digits, y_digits = a.fraction.rstrip("0"), b.fraction.rstrip("0")
    return 0 if x_digits == y_digits else -1 if x_digits < y_digits else 1


def _compare_far(left: Temporal, right: Temporal) -> int | None:
    """One has a time zone, the other none: decided only where no zone could change the order."""
    difference = _instant(left) - _instant(right)
    if abs(difference) <= timedelta(minutes=_UNKNOWN_ZONE):
        return None
    return -1 if difference < timedelta() else 1


def _instant(value: Temporal) -> timedelta:
    """Time since year 1 in UTC, as far as the fields go."""
    year, month, day, hour, minute, second = (*value.fields, *(1, 1, 1, 0, 0, 0)[len(value.fields) :])
    days = datetime(year, month, day).toordinal()  # noqa: DTZ001  (the zone is applied by hand)
    return timedelta(days=days, hours=hour, minutes=minute - (value.zone or 0), seconds=second)


def utc(value: Temporal) -> Temporal:
    """The same moment in UTC; the value itself where no zone is given."""
    if not value.zone:
        return value
    whole = _instant(value)
    seconds = whole.seconds
    try:
        date = datetime.fromordinal(whole.days)
    except (ValueError, OverflowError):  # the first and the last hours of the calendar
        return value
    fields = (date.year, date.month, date.day, seconds // 3600, seconds // 60 % 60, seconds % 60)
    return Temporal(value.kind, fields[: len(value.fields)], value.fraction, 0, "Z")


def add(value: Temporal, amount: Decimal, unit: str) -> Temporal | None:
    """`value` + `amount` of a calendar unit (year … millisecond, singular); the fraction of the amount is dropped.

    None where the result lies outside the calendar (years 1 to 9999).
    """
    count = int(amount)
    precision = _FIELD_UNITS[len(value.fields) - 1 + (3 if value.kind == "Time" else 0)]
    if value.kind == "Time":
        return _add_to_time(value, count * _MICROSECONDS.get(unit, 0))
    if precision in _MONTHS:
        months = count * _MONTHS[unit] if unit in _MONTHS else _months_about(count * _MICROSECONDS[unit], precision)
        return _add_months(value, months)
    if unit in _MONTHS:
        return _add_months(value, count * _MONTHS[unit])
    step = _MICROSECONDS[precision] if precision != "second" else 1
    microseconds = count * _MICROSECONDS[unit]
    return _add_microseconds(value, microseconds - (abs(microseconds) % step) * (1 if microseconds > 0 else -1))


def _months_about(microseconds: int, precision: str) -> int:
    """Days and less, in whole years or months (365 and 30 days), for a value that knows no days."""
    whole = abs(microseconds) // (_DAYS_ABOUT[precision] * _MICROSECONDS["day"]) * _MONTHS[precision]
    return whole if microseconds > 0 else -whole


def _add_months(value: Temporal, months: int) -> Temporal | None:
    if len(value.fields) == 1:
        months = int(months / 12) * 12
    year, month = divmod(value.fields[0] * 12 + (value.fields[1] if len(value.fields) > 1 else 1) - 1 + months, 12)
    if not 1 <= year <= 9999:
        return None
    fields = (year, month + 1, *value.fields[2:])
    if len(fields) > 2:
        fields = (*fields[:2], min(fields[2], monthrange(year, month + 1)[1]), *fields[3:])
    return Temporal(value.kind, fields[: len(value.fields)], value.fraction, value.zone, value.zone_text)


def _add_microseconds(value: Temporal, microseconds: int) -> Temporal | None:
    year, month, day, hour, minute, second = (*value.fields, 0, 0, 0)[:6]
    fraction = int((value.fraction + "000000")[:6])
    try:
        start = datetime(year, month, day, hour, minute, min(second, 59), fraction)  # noqa: DTZ001  (the zone stays as it is)
        sum_ = start + timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    made = (sum_.year, sum_.month, sum_.day, sum_.hour, sum_.minute, sum_.second)[: len(value.fields)]
    return Temporal(value.kind, made, _fraction(sum_.microsecond, value.fraction), value.zone, value.zone_text)


def _fraction(microsecond: int, like: str) -> str:
    return f"{microsecond:06d}"[: len(like)] + like[6:]


def _add_to_time(value: Temporal, microseconds: int) -> Temporal:
    hour, minute, second = (*value.fields, 0, 0)[:3]
    fraction = int((value.fraction + "000000")[:6])
    whole = ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction + microseconds
    seconds, rest = divmod(whole % _MICROSECONDS["day"], 1_000_000)
    made = (seconds // 3600, seconds // 60 % 60, seconds % 60)[: len(value.fields)]
    return Temporal("Time", made, _fraction(rest, value.fraction))
