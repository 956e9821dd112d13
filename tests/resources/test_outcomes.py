"""Errors and the OperationOutcome they become: https://hl7.org/fhir/R4/operationoutcome.html"""

from resources.outcomes import FhirError, Issue, counted, error


def test_the_reason_comes_first() -> None:
    """Of a refusal's issues the errors stand before the warnings, each in the order they were found."""
    found = [Issue("warning", "invalid", "a"), Issue("error", "invalid", "b"), Issue("information", "invalid", "c")]
    refusal = FhirError(422, [*found, Issue("fatal", "invalid", "d")])
    assert [issue.text for issue in refusal.issues] == ["b", "d", "a", "c"]
    assert str(error(400, "value", "why")) == "why"


def test_one_and_many() -> None:
    """What is counted is told in the singular where there is one."""
    assert [counted(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert counted(2, "match", "matches") == "2 matches"
