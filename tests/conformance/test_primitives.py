"""The forms of primitive values (https://hl7.org/fhir/R4/datatypes.html#primitive), against the calendar of the standard library."""

from datetime import date
from functools import lru_cache

from hypothesis import given
from hypothesis import strategies as st

from conformance.load import definitions
from conformance.validate import Validator


@lru_cache(maxsize=1)
def validator() -> Validator:
    return Validator(definitions())


def errors(**members: object) -> list[str | None]:
    found = validator().check("Patient", {"resourceType": "Patient", **members})
    return [issue.expression for issue in found if issue.severity == "error"]


def is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


@given(st.integers(0, 9999), st.integers(1, 12), st.integers(1, 31))
def test_only_days_of_the_calendar_are_dates(year: int, month: int, day: int) -> None:
    """Also with a time behind the day."""
    text = f"{year:04d}-{month:02d}-{day:02d}"
    expected = [] if is_day(year, month, day) else ["Patient.birthDate"]
    assert errors(birthDate=text) == expected
    assert errors(deceasedDateTime=f"{text}T00:00:00Z") == [w.replace("birthDate", "deceased") for w in expected]


@given(st.integers(0, 9999), st.integers(1, 12))
def test_a_year_and_a_month_are_dates(year: int, month: int) -> None:
    """Partial dates, but for the year 0000."""
    expected = [] if year else ["Patient.birthDate"]
    assert errors(birthDate=f"{year:04d}") == errors(birthDate=f"{year:04d}-{month:02d}") == expected


@given(st.text(min_size=1))
def test_a_string_is_text(text: str) -> None:
    """Text without control characters and not blank is a string, whatever its script; the rest is not."""
    control = any((c < " " and c not in "\t\n\r") or c == "\x7f" for c in text)
    expected = ["Patient.name[0].text"] if control or text.isspace() else []
    assert errors(name=[{"text": text}]) == expected


@given(st.text(alphabet="aZ09-._ é", min_size=1, max_size=70))
def test_an_id_has_few_characters(text: str) -> None:
    """Letters, digits, hyphen and dot of ASCII, at most 64."""
    good = len(text) <= 64 and all(c in "aZ09-." for c in text)
    assert errors(id=text) == ([] if good else ["Patient.id"])
