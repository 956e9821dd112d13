"""Date parameters."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.parameters import registry
from search.query import Modifier, Prefix, Term
from search.types import date as dates
from search.types.text import BadValue, Reading
from search.values import BEGIN, END, DateValue

DATE = registry().of("Observation")["date"]
SECOND = 1_000_000
DAY = 86_400 * SECOND


def micros(text: str) -> int:
    """Microseconds of an ISO instant, counted by the standard library."""
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


NOW = micros("2026-03-01T00:00:00+00:00")
READING = Reading(("http://127.0.0.1/fhir/",), NOW)

# The term is [10, 20); which prefixes hold for a document's interval.
POSITIONS = [
    ("before", 0, 5, "ne lt le eb"),
    ("meets the start", 0, 10, "ne lt le eb"),
    ("overlaps the start", 5, 15, "ne lt le ap"),
    ("contains, same end", 5, 20, "ne lt le ap"),
    ("contains", 5, 25, "ne lt le gt ge ap"),
    ("inside, same start", 10, 15, "eq le ge ap"),
    ("inside", 12, 15, "eq le ge ap"),
    ("inside, same end", 15, 20, "eq le ge ap"),
    ("equal", 10, 20, "eq le ge ap"),
    ("contains, same start", 10, 25, "ne gt ge ap"),
    ("overlaps the end", 15, 25, "ne gt ge ap"),
    ("meets the end", 20, 25, "ne gt ge sa"),
    ("after", 25, 30, "ne gt ge sa"),
    ("open start", BEGIN, 15, "ne lt le ap"),
    ("open end", 15, END, "ne gt ge ap"),
    ("open end after", 20, END, "ne gt ge sa"),
]


@pytest.mark.parametrize(("low", "high", "holding"), [row[1:] for row in POSITIONS], ids=[row[0] for row in POSITIONS])
def test_prefixes(low: int, high: int, holding: str) -> None:
    """Each prefix by the position of the document's interval (https://hl7.org/fhir/R4/search.html#prefix)."""
    found = {p.value for p in Prefix if dates.match(Term(DateValue(10, 20), p), Modifier.NONE, DateValue(low, high))}
    assert found == set(holding.split())


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2026", "2026-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        ("2026-02", "2026-02-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00"),
        ("2024-02", "2024-02-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00"),
        ("2026-12", "2026-12-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        ("2024-02-29", "2024-02-29T00:00:00+00:00", "2024-03-01T00:00:00+00:00"),
        ("2000-02-29", "2000-02-29T00:00:00+00:00", "2000-03-01T00:00:00+00:00"),
        ("1969-12-31", "1969-12-31T00:00:00+00:00", "1970-01-01T00:00:00+00:00"),
        ("2026-03-08T02:30:00-05:00", "2026-03-08T07:30:00+00:00", "2026-03-08T07:30:01+00:00"),
        ("2026-03-08T03:30:00-04:00", "2026-03-08T07:30:00+00:00", "2026-03-08T07:30:01+00:00"),
        ("2026-11-01T01:30:00-04:00", "2026-11-01T05:30:00+00:00", "2026-11-01T05:30:01+00:00"),
        ("2026-11-01T01:30:00-05:00", "2026-11-01T06:30:00+00:00", "2026-11-01T06:30:01+00:00"),
        ("2026-02-23T09:00", "2026-02-23T09:00:00+00:00", "2026-02-23T09:01:00+00:00"),
        ("2026-02-23T09:00:00", "2026-02-23T09:00:00+00:00", "2026-02-23T09:00:01+00:00"),
        ("2026-02-23T00:00:00+14:00", "2026-02-22T10:00:00+00:00", "2026-02-22T10:00:01+00:00"),
        ("2026-02-23T23:59:59-12:00", "2026-02-24T11:59:59+00:00", "2026-02-24T12:00:00+00:00"),
        ("2026-02-23T09:00:00+05:45", "2026-02-23T03:15:00+00:00", "2026-02-23T03:15:01+00:00"),
        ("2026-02-23T09:00:00.5Z", "2026-02-23T09:00:00.500000+00:00", "2026-02-23T09:00:00.600000+00:00"),
        ("2026-02-23T09:00:00.123Z", "2026-02-23T09:00:00.123000+00:00", "2026-02-23T09:00:00.124000+00:00"),
        ("2026-02-23T09:00:00.123456789Z", "2026-02-23T09:00:00.123456+00:00", "2026-02-23T09:00:00.123457+00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00", "2017-01-01T00:00:01+00:00"),
    ],
)
def test_intervals(text: str, low: str, high: str) -> None:
    """A date covers what its precision leaves open; without a zone it is UTC; offsets, leap days and leap seconds count."""
    assert dates.interval(text) == DateValue(micros(low), micros(high))


def test_the_ends_of_time() -> None:
    """The first and last dates that can be written."""
    assert dates.interval("0001") == DateValue(BEGIN, BEGIN + 365 * DAY)
    assert dates.interval("9999-12-31") == DateValue(END - DAY, END)
    assert dates.interval("9999") == DateValue(END - 365 * DAY, END)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "20", "202", "20260", "0000", "2026-1", "2026-13", "2026-00", "2026-02-30", "2023-02-29", "1900-02-29", "2026-02-00",
        "2026-02-23T", "2026-02-23T9:00", "2026-02-23T24:00:00Z", "2026-02-23T09:60:00Z", "2026-02-23T09:00:61Z", "2026-02-23T09Z",
        "2026-02-23T09:00:00+15:00", "2026-02-23T09:00:00+14:01", "2026-02-23T09:00:00z", "2026-02-23 09:00:00", "2026-02-23T09:00:00.Z",
        "٢٠٢٦", "2026-02-23Z", "xx2026", "2026\n", "ge", "gege2026",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    """What no calendar or clock has is refused, with the forms that can be read."""
    with pytest.raises(BadValue, match="write YYYY"):
        dates.parse(text, DATE, Modifier.NONE, READING)


def test_a_lost_plus_is_put_back() -> None:
    """An unescaped + arrives as a blank; before a zone it can only have been a plus."""
    assert dates.parse("ge2026-02-23T09:00:00 02:00", DATE, Modifier.NONE, READING) == dates.parse(
        "ge2026-02-23T09:00:00+02:00", DATE, Modifier.NONE, READING
    )


@pytest.mark.parametrize(
    ("text", "margin"),
    [
        ("ap2026-03-01", DAY // 2),
        ("ap2026-02-27", DAY // 2),
        ("ap2026-01-01", int(58.5 * DAY / 10)),
        ("ap2027-01-01", int(306.5 * DAY / 10)),
    ],
)
def test_approximately(text: str, margin: int) -> None:
    """`ap` widens by a tenth of the distance between the middle of the value and now, at least by half a day."""
    [term] = dates.parse(text, DATE, Modifier.NONE, READING)
    plain = dates.interval(text[2:])
    assert plain is not None
    assert term == Term(DateValue(plain.low - margin, plain.high + margin), Prefix.AP)


@pytest.mark.parametrize(
    ("fhir_type", "value", "low", "high"),
    [
        ("date", "2026-02-23", "2026-02-23T00:00:00+00:00", "2026-02-24T00:00:00+00:00"),
        ("instant", "2026-02-23T09:00:00.000Z", "2026-02-23T09:00:00+00:00", "2026-02-23T09:00:00.001000+00:00"),
        ("Period", {"start": "2026-02-23", "end": "2026-02-24"}, "2026-02-23T00:00:00+00:00", "2026-02-25T00:00:00+00:00"),
        ("Period", {"start": "2026-02", "end": "2026"}, "2026-02-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        ("Period", {"start": "2026-02-23"}, "2026-02-23T00:00:00+00:00", None),
        ("Period", {"end": "2026-02-23"}, None, "2026-02-24T00:00:00+00:00"),
        ("Timing", {"event": ["2026-03-01", "2026-02-01", None]}, "2026-02-01T00:00:00+00:00", "2026-03-02T00:00:00+00:00"),
        (
            "Timing",
            {
                "repeat": {
                    "boundsPeriod": {"start": "2013-01-31", "end": "2013-03-24"},
                    "frequency": 1,
                    "period": 2,
                    "periodUnit": "d",
                }
            },
            "2013-01-31T00:00:00+00:00",
            "2013-03-25T00:00:00+00:00",
        ),
        ("Timing", {"event": ["2026"], "repeat": {"boundsPeriod": {"start": "2027"}}}, "2026-01-01T00:00:00+00:00", None),
    ],
)
def test_extraction(fhir_type: str, value: object, low: str | None, high: str | None) -> None:
    """Periods have open ends; of a Timing only the outer limits count."""
    convert = dates.converter(fhir_type, ())
    assert convert is not None
    assert list(convert([value])) == [DateValue(micros(low) if low else BEGIN, micros(high) if high else END)]


@pytest.mark.parametrize(
    ("fhir_type", "value"),
    [
        ("dateTime", "yesterday"),
        ("Period", {}),
        ("Period", {"extension": [{"url": "x"}]}),
        ("Period", {"start": "2026-02-24", "end": "2026-02-20"}),
        ("Timing", {"repeat": {"boundsDuration": {"value": 10}}}),
        ("Timing", {"code": {"text": "BID"}}),
    ],
)
def test_nothing_to_extract(fhir_type: str, value: object) -> None:
    """What covers no time makes no value."""
    convert = dates.converter(fhir_type, ())
    assert convert is not None
    assert list(convert([value])) == []


def test_text_is_no_date() -> None:
    """`performedString` is not searched as a date."""
    assert dates.converter("string", ()) is None


@given(st.dates(), st.sampled_from(["%Y", "%Y-%m", "%Y-%m-%d"]))
def test_every_precision_contains_its_day(day: date, form: str) -> None:
    """A day lies in its own day, month and year."""
    asked = dates.interval(f"{day.year:04}{day.strftime(form)[len(day.strftime('%Y')) :]}")
    held = dates.interval(day.isoformat())
    assert asked is not None and held is not None
    assert dates.match(Term(asked), Modifier.NONE, held)


@given(st.integers(0, 20), st.integers(1, 20), st.integers(0, 20), st.integers(1, 20))
def test_prefixes_fit_together(low: int, length: int, start: int, duration: int) -> None:
    """ge is gt or eq, le is lt or eq, ne is not eq, sa implies gt, eb implies lt, and something always holds."""
    asked, held = DateValue(low, low + length), DateValue(start, start + duration)
    found = {p: dates.match(Term(asked, p), Modifier.NONE, held) for p in Prefix}
    assert found[Prefix.GE] == (found[Prefix.GT] or found[Prefix.EQ])
    assert found[Prefix.LE] == (found[Prefix.LT] or found[Prefix.EQ])
    assert found[Prefix.NE] != found[Prefix.EQ]
    assert found[Prefix.GT] or not found[Prefix.SA]
    assert found[Prefix.LT] or not found[Prefix.EB]
    assert found[Prefix.AP] != (found[Prefix.SA] or found[Prefix.EB])
    assert found[Prefix.GE] or found[Prefix.LE]
