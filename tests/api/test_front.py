"""Addresses outside of the FHIR base."""

import httpx
import pytest

from tests.api.conftest import Running, problem


def test_a_newcomer_is_led_to_the_fhir_base(running: Running) -> None:
    """The root names the base, and what it names is there."""
    parts = httpx.get(f"{running.root}/").json()
    assert parts["fhir"] == f"{running.root}/fhir"
    for name in ("what it offers", "a first search"):
        assert httpx.get(parts[name]).status_code == 200
    assert httpx.get(running.root + parts["is it well"]).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [
        ("GET", "/nowhere", "/fhir/metadata"),
        ("GET", "/fhirr/Patient", "/fhir/metadata"),
        ("GET", "/FHIR/Patient/1", "did you mean '/fhir/Patient/1'?"),
        ("POST", "/Fhir/Patient", "did you mean '/fhir/Patient'?"),
        ("GET", "/fhir/.well-known/nowhere", "There is nothing at '/fhir/.well-known/nowhere'; the FHIR interface is at"),
        ("GET", "/" + "x" * 5_000, "x…'"),
    ],
)
def test_elsewhere_there_is_nothing(running: Running, method: str, path: str, says: str) -> None:
    """404 with an OperationOutcome that says where the FHIR interface is."""
    answer = httpx.request(method, running.root + path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/fhir+json")
    assert says in problem(answer)
