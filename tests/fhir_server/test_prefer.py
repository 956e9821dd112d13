"""The Prefer header: RFC 7240, section 2."""

import pytest

from fhir_server.rest.prefer import Preferences, preferences


@pytest.mark.parametrize(
    ("header", "means"),
    [
        ("handling=lenient", Preferences(lenient=True)),
        ("handling=strict,handling=lenient", Preferences()),
        ("handling=lenient, handling=strict", Preferences(lenient=True)),
        ("handling=foo", Preferences()),
        ("handling=foo, handling=lenient", Preferences()),
        ("return=everything", Preferences()),
        ("return=minimal; return=representation", Preferences("minimal")),
        ("wait=10, return=OperationOutcome, respond-async", Preferences("OperationOutcome", asynchronous=True)),
        ("", Preferences()),
        (",;=", Preferences()),
    ],
)
def test_the_first_counts_and_what_is_not_understood_does_not(header: str, means: Preferences) -> None:
    """A preference that is given twice counts as it was given first; an unknown one, or an unknown value, is none."""
    assert preferences({"prefer": header}) == means
