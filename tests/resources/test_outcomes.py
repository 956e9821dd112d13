"""Errors and the OperationOutcome they become: https://hl7.org/fhir/R4/operationoutcome.html"""

from resources.outcomes import FhirError, Issue, error


def test_the_reason_comes_first() -> None:
    """Of a refusal's issues the errors stand before the warnings, each in the order they were found."""
    found = [Issue("warning", "invalid", "a"), Issue("error", "invalid", "b"), Issue("information", "invalid", "c")]
    refusal = FhirError(422, [*found, Issue("fatal", "invalid", "d")])
    assert [issue.text for issue in refusal.issues] == ["b", "d", "a", "c"]
    assert str(error(400, "value", "why")) == "why"
