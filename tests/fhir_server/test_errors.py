"""Failures of the store as answers of the HTTP interface."""

import pytest

from fhir_server.rest.errors import as_fhir_error
from resources.store import StoreUnavailable


@pytest.mark.parametrize(
    ("full", "uncertain", "status", "code", "again"),
    [
        (False, False, 503, "transient", True),
        (True, False, 507, "no-store", True),
        (False, True, 503, "exception", False),
        (True, True, 507, "exception", False),
    ],
)
def test_only_what_was_surely_not_written_invites_to_send_it_again(
    full: bool, uncertain: bool, status: int, code: str, again: bool
) -> None:
    """Where nobody knows whether the change was kept there is no Retry-After, which some clients obey by themselves."""
    failure = as_fhir_error(StoreUnavailable("What to do.", full=full, uncertain=uncertain), "update", "1")
    assert (failure.status, failure.issues[0].code, "Retry-After" in failure.headers) == (status, code, again)
    assert failure.issues[0].text == "What to do."
