"""FHIR_REFERENCE_EXISTENCE=on: references to this server must lead somewhere"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.api.conftest import FHIR, Running, problem


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    running = Running(tmp_path_factory.mktemp("strict"), reference_existence="on")
    running.start()
    with httpx.Client(base_url=f"{running.root}/fhir/", headers=FHIR) as client:
        yield client
    running.stop()


def observation(reference: str) -> dict[str, Any]:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": reference}}


def test_only_what_is_there_can_be_referred_to(strict: httpx.Client) -> None:
    """A reference to nothing here is 422 that names it; one to elsewhere, or to what exists, is taken."""
    refused = strict.post("Observation", json=observation("Patient/nobody"))
    assert refused.status_code == 422
    assert "Patient/nobody, which does not exist" in problem(refused)
    assert strict.post("Observation", json=observation("http://elsewhere/Patient/nobody")).status_code == 201
    strict.put("Patient/somebody", json={"resourceType": "Patient", "id": "somebody"})
    assert strict.post("Observation", json=observation("Patient/somebody")).status_code == 201
    assert strict.post("Observation", json=observation("Patient/somebody/_history/1")).status_code == 201
    assert strict.post("Observation", json=observation(f"{strict.base_url}Patient/nobody")).status_code == 422
    strict.delete("Patient/somebody")
    assert strict.post("Observation", json=observation("Patient/somebody")).status_code == 422


def test_a_transaction_may_bring_both(strict: httpx.Client) -> None:
    """What the same transaction makes counts as being there."""
    patient = {"resourceType": "Patient", "id": "both"}
    entries = [
        {"resource": observation("Patient/both"), "request": {"method": "POST", "url": "Observation"}},
        {"resource": patient, "request": {"method": "PUT", "url": "Patient/both"}},
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    assert strict.post("", json=bundle).status_code == 200
