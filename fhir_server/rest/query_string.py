"""Reading the parameters that are not search parameters: pages, cursors, instants."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from fhir_server.context import Context
from resources.bundles import Link
from resources.outcomes import bad_request
from search import shaping

CURSOR = "_cursor"
"""The parameter of next links that carries the place to go on from. Its value is signed; callers cannot make one."""

_MOMENT = re.compile(
    r"(?P<day>\d{4}(-\d\d(-\d\d)?)?)(T(?P<time>\d\d:\d\d(:\d\d(?P<fraction>\.\d{1,9})?)?)(?P<zone>Z|[+-]\d\d:\d\d)?)?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def take(query: str, name: str) -> tuple[str, str | None]:
    """The query string without the parameter `name`, and that parameter's undecoded value (None: not there)."""
    if name not in query:
        return query, None
    value, rest = None, []
    for pair in query.split("&"):
        found, _, text = pair.partition("=")
        if found == name:
            value = text
        else:
            rest.append(pair)
    return "&".join(rest), value


def page_size(ctx: Context, value: str | None) -> int:
    """`_count`, at most what the settings allow; the default where it is not given. Raises FhirError 400."""
    if value is None:
        return ctx.settings.default_count
    size = shaping.page_size(value, ctx.settings.max_count)
    if size is None:
        raise bad_request("_count must be a number, 0 or more", code="value")
    return size


def page_links(url: str, applied: str, cursor: str | None) -> Iterator[Link]:
    """The links of a page of `url`, whose parameters were `applied` (encoded): itself, and where `cursor` (sealed) leads on, the first
    page and the next."""
    own = f"{url}?{applied}" if applied else url
    yield "self", own
    if cursor is not None:
        yield "first", own
        yield "next", f"{own}{'&' if applied else '?'}{CURSOR}={cursor}"


def instant_range(name: str, text: str) -> tuple[int, int]:
    """The moments that a date, dateTime or instant covers, [low, high), in microseconds since the epoch; UTC where it names no zone.

    Raises FhirError 400 if it is none. A space stands for a plus sign that was not escaped.
    """
    found = _MOMENT.fullmatch(text.replace(" ", "+"))
    if found is None:
        raise bad_request(f"{name} must be a date or an instant, such as 2026-02-23 or 2026-02-23T09:00:00Z", name, "value")
    try:
        return _covered(found)
    except (ValueError, OverflowError):
        raise bad_request(f"{name} names a moment that does not exist", name, "value") from None


def _covered(found: re.Match[str]) -> tuple[int, int]:
    day, time, fraction = found["day"], found["time"], found["fraction"]
    if time is None:
        low = datetime.fromisoformat(day + "-01-01"[len(day) - 4 :]).replace(tzinfo=UTC)
        return _micros(low), _micros(_next(low, len(day)))
    whole = time if len(time) > 5 else f"{time}:00"
    moment = datetime.fromisoformat(f"{day}T{whole.partition('.')[0]}{found['zone'] or '+00:00'}")
    if fraction is None:
        return _micros(moment), _micros(moment + (timedelta(seconds=1) if len(time) > 5 else timedelta(minutes=1)))
    low = moment + timedelta(microseconds=int(fraction[1:7].ljust(6, "0")))
    return _micros(low), _micros(low) + max(1, 10 ** (7 - len(fraction)))


def _next(low: datetime, digits: int) -> datetime:
    """The first moment after the year (4), month (7) or day (10 characters) that begins at `low`."""
    if digits == 4:
        return low.replace(year=low.year + 1)
    if digits == 7:
        return (low + timedelta(days=31)).replace(day=1)
    return low + timedelta(days=1)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
