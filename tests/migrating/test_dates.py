"""Dates of columns become FHIR's, of no more precision than is there, with the offset that clocks had."""

import pytest

from fhir_server.migrating.tables.dates import read_date, zone_of

BERLIN = zone_of("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "type", "formats", "expected"),
    [
        ("1.2.1980", "date", ["%d.%m.%Y"], "1980-02-01"),
        ("02/1980", "date", ["%m/%Y"], "1980-02"),
        ("1980", "dateTime", ["%Y"], "1980"),
        ("1980", "date", ["%d.%m.%Y", "%Y"], "1980"),
        ("Feb 3 1980", "date", ["%b %d %Y"], "1980-02-03"),
        ("1980-02-03 23:30", "date", ["%Y-%m-%d %H:%M"], "1980-02-03"),
        ("01.07.2024 08:05", "dateTime", ["%d.%m.%Y %H:%M"], "2024-07-01T08:05:00+02:00"),
        ("01.01.2024 08:05", "dateTime", ["%d.%m.%Y %H:%M"], "2024-01-01T08:05:00+01:00"),
        ("27.10.2024 02:30", "dateTime", ["%d.%m.%Y %H:%M"], "2024-10-27T02:30:00+02:00"),  # comes twice: the first one
        ("2024-07-01T08:05:00.25", "instant", ["%Y-%m-%dT%H:%M:%S.%f"], "2024-07-01T08:05:00.250000+02:00"),
        ("2024-07-01T08:05:00-0500", "dateTime", ["%Y-%m-%dT%H:%M:%S%z"], "2024-07-01T08:05:00-05:00"),
        ("2024-07-01T08:05:00+0000", "dateTime", ["%Y-%m-%dT%H:%M:%S%z"], "2024-07-01T08:05:00Z"),
        ("01.01.1880 12:00", "dateTime", ["%d.%m.%Y %H:%M"], "1880-01-01T11:06:32Z"),  # no offset of whole minutes then
        ("8:05", "time", ["%H:%M"], "08:05:00"),
        ("2024-07-01T08:05:00", "dateTime", [], "2024-07-01T08:05:00+02:00"),
        ("2024-07-01T08:05:00.123456789", "dateTime", [], "2024-07-01T08:05:00.123456789+02:00"),
        ("2024-07-01T08:05:00Z", "dateTime", [], "2024-07-01T08:05:00Z"),
        ("2024-07", "dateTime", [], "2024-07"),
        ("1980-02-03", "date", [], "1980-02-03"),
    ],
)
def test_dates(text: str, type: str, formats: list[str], expected: str) -> None:
    """By the forms that a mapping names, or in FHIR's own."""
    assert read_date(text, type, formats, BERLIN) == expected


@pytest.mark.parametrize(
    ("text", "type", "formats", "problem"),
    [
        ("31.02.1980", "date", ["%d.%m.%Y"], "is no date of the form %d.%m.%Y"),
        ("80", "date", ["%d.%m.%Y", "%Y"], "is no date of the form %d.%m.%Y or %Y"),
        ("1.2.1980", "date", [], "is not of the form YYYY-MM-DD; say of which it is: date: '%d.%m.%Y'"),
        ("31.03.2024 02:30", "dateTime", ["%d.%m.%Y %H:%M"], "is an hour that was left out in Europe/Berlin"),
        ("2024-03-31T02:30:00", "dateTime", [], "is an hour that was left out in Europe/Berlin"),
        ("2024-02-31T02:30:00", "dateTime", [], "day is out of range"),
    ],
)
def test_no_dates(text: str, type: str, formats: list[str], problem: str) -> None:
    """The reason is said."""
    with pytest.raises(ValueError, match=problem):
        read_date(text, type, formats, BERLIN)


def test_a_time_without_a_zone() -> None:
    """It is not guessed."""
    with pytest.raises(ValueError, match="has no offset, and no zone is named"):
        read_date("2024-07-01T08:05:00", "dateTime", [], None)
