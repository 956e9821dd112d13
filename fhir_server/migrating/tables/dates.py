"""Dates and times of columns as FHIR's: of no more precision than is there, and with the offset of their time zone
(https://hl7.org/fhir/R4/datatypes.html#dateTime)."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

TYPES = ("date", "dateTime", "instant", "time")

_DIRECTIVE = re.compile(r"%(.)", re.DOTALL)
_TIME, _DAY, _MONTH = frozenset("HIMSfp"), frozenset("dj"), frozenset("mbBj")
_KNOWN = _TIME | _DAY | _MONTH | frozenset("YzZaA%")
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?", re.ASCII)
_LOCAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", re.ASCII)


def format_problem(format: str, type: str, *, zone: bool) -> str | None:
    """Why dates of this format cannot be made values of the type; None if they can. `zone`: whether a time zone is named."""
    found = set(_DIRECTIVE.findall(format))
    if "y" in found:
        return "%y, a year of two digits, may be of two centuries: give years of four digits (%Y)"
    if unknown := found - _KNOWN:
        return f"%{min(unknown)} is not known; known are Y m b B d j H I M S f p z and %%"
    if type == "time":
        return None if "H" in found or "I" in found else "a time needs %H"
    if "Y" not in found:
        return "a date needs a year (%Y)"
    if found & _TIME and not (found & _DAY and found & _MONTH):
        return "a time of day needs a day and a month"
    if found & _DAY and not found & _MONTH:
        return "a day needs a month"
    if type == "instant" and not found & _TIME:
        return "an instant needs a time of day"
    if type != "date" and found & _TIME and "z" not in found and not zone:
        return "times without an offset need a time zone: zone: Europe/Berlin"
    return None


def read_date(text: str, type: str, formats: Sequence[str], zone: tzinfo | None) -> str:
    """The text as a FHIR value of the type. Raises ValueError with what is wrong."""
    if not formats:
        return _as_it_is(text, type, zone)
    for format in formats:
        try:
            return _told(datetime.strptime(text, format), set(_DIRECTIVE.findall(format)), type, zone)  # noqa: DTZ007
        except _NoSuchTime as problem:
            raise ValueError(str(problem)) from None
        except ValueError:
            continue
    raise ValueError(f"is no {type} of the form {' or '.join(formats)}")


def zone_of(name: str) -> ZoneInfo:
    """The time zone of this name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"{name} is no time zone such as Europe/Berlin") from None


class _NoSuchTime(ValueError):
    pass


def _as_it_is(text: str, type: str, zone: tzinfo | None) -> str:
    """What is FHIR's form already; a time without an offset gets that of its zone. Whether the rest is right is checked later."""
    if type in ("dateTime", "instant") and _LOCAL.fullmatch(text):
        if zone is None:
            raise ValueError("has no offset, and no zone is named")
        offset = _with_zone(datetime.fromisoformat(text[:19]), zone).isoformat()[19:]
        return f"{text}{'Z' if offset == '+00:00' else offset}"
    if type == "date" and not _DATE.fullmatch(text):
        raise ValueError("is not of the form YYYY-MM-DD; say of which it is: date: '%d.%m.%Y'")
    return text


def _told(value: datetime, directives: set[str], type: str, zone: tzinfo | None) -> str:
    if type == "time":
        return value.time().isoformat()
    if type != "date" and directives & _TIME:
        aware = value if value.tzinfo is not None else _with_zone(value, zone or UTC)
        return aware.isoformat().replace("+00:00", "Z")
    if not directives & _MONTH:
        return f"{value.year:04d}"
    return value.date().isoformat() if directives & _DAY else f"{value.year:04d}-{value.month:02d}"


def _with_zone(value: datetime, zone: tzinfo) -> datetime:
    """A local time with its offset: of an hour that comes twice, the first. Raises ValueError for one that a clock never showed."""
    aware = value.replace(tzinfo=zone)
    if aware.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != value:
        raise _NoSuchTime(f"is an hour that was left out in {zone}, when clocks were put forward")
    offset = aware.utcoffset()
    return aware.astimezone(UTC) if offset is not None and offset.total_seconds() % 60 else aware
