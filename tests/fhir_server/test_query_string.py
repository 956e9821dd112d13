"""Dates and instants in parameters that are not search parameters: http://hl7.org/fhir/R4/datatypes.html#instant"""

from datetime import UTC, datetime, timedelta

import pytest

from fhir_server.rest.query_string import instant_range, take
from resources.outcomes import FhirError


def micros(*parts: int) -> int:
    return (datetime(*parts, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2024", micros(2024, 1, 1), micros(2025, 1, 1)),
        ("2024-02", micros(2024, 2, 1), micros(2024, 3, 1)),
        ("2024-12", micros(2024, 12, 1), micros(2025, 1, 1)),
        ("2024-02-29", micros(2024, 2, 29), micros(2024, 3, 1)),
        ("2024-01-01T10:00Z", micros(2024, 1, 1, 10), micros(2024, 1, 1, 10, 1)),
        ("2024-01-01T10:00:05Z", micros(2024, 1, 1, 10, 0, 5), micros(2024, 1, 1, 10, 0, 6)),
        ("2024-01-01T10:00:05", micros(2024, 1, 1, 10, 0, 5), micros(2024, 1, 1, 10, 0, 6)),
        ("2024-01-01T10:00:05+02:00", micros(2024, 1, 1, 8, 0, 5), micros(2024, 1, 1, 8, 0, 6)),
        ("2024-01-01T10:00:05 02:00", micros(2024, 1, 1, 8, 0, 5), micros(2024, 1, 1, 8, 0, 6)),
        ("2024-01-01T10:00:05.123Z", micros(2024, 1, 1, 10, 0, 5, 123_000), micros(2024, 1, 1, 10, 0, 5, 124_000)),
        ("2024-01-01T10:00:05.123456789Z", micros(2024, 1, 1, 10, 0, 5, 123_456), micros(2024, 1, 1, 10, 0, 5, 123_457)),
    ],
)
def test_covers_what_it_says(text: str, low: int, high: int) -> None:
    """A date covers its day, month or year, a time its minute, second or fraction."""
    assert instant_range("_since", text) == (low, high)


@pytest.mark.parametrize(
    "text", ["", "x", "2024-13", "2024-02-30", "24", "2024-01-01T25:00Z", "9999", "2024-01-01T10:00:05.Z", "٢٠٢٤", "2024-1-1"]
)
def test_refuses_what_is_none(text: str) -> None:
    """Anything else is 400."""
    with pytest.raises(FhirError) as refused:
        instant_range("_since", text)
    assert refused.value.status == 400


def test_take() -> None:
    """One parameter is taken out, the others stay as they were written."""
    assert take("a=1&_cursor=x%20&b=%2F", "_cursor") == ("a=1&b=%2F", "x%20")
    assert take("a=1", "_cursor") == ("a=1", None)
