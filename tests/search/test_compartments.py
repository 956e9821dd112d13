"""Compartments."""

import pytest

from search.compartments import linking, owners
from search.extract import Extractor
from search.parameters import registry

EXTRACTOR = Extractor(registry(), "http://127.0.0.1/fhir")

APPOINTMENT = {
    "resourceType": "Appointment",
    "id": "1",
    "participant": [
        {"actor": {"reference": "Patient/b"}},
        {"actor": {"reference": "Patient/a"}},
        {"actor": {"reference": "http://127.0.0.1/fhir/Practitioner/c"}},
        {"actor": {"reference": "http://elsewhere/fhir/Patient/d"}},
        {"actor": {"display": "somebody"}},
    ],
}


@pytest.mark.parametrize(
    ("compartment", "document", "expected"),
    [
        ("Patient", APPOINTMENT, ("a", "b")),
        ("Practitioner", APPOINTMENT, ("c",)),
        ("Device", APPOINTMENT, ()),
        ("Encounter", APPOINTMENT, ()),
        ("Patient", {"resourceType": "Patient", "id": "x", "link": [{"other": {"reference": "Patient/y"}}]}, ("x", "y")),
        ("Patient", {"resourceType": "Observation", "id": "1", "subject": {"reference": "Group/g"}}, ()),
        ("Patient", {"resourceType": "Observation", "id": "1", "performer": [{"reference": "Patient/p"}]}, ("p",)),
        ("Practitioner", {"resourceType": "Practitioner", "id": "x"}, ("x",)),
        ("Encounter", {"resourceType": "Encounter", "id": "x"}, ("x",)),
        ("Device", {"resourceType": "Device", "id": "x"}, ("x",)),
        ("Patient", {"resourceType": "Organization", "id": "x"}, ()),
        ("RelatedPerson", {"resourceType": "RelatedPerson", "id": "x", "patient": {"reference": "Patient/p"}}, ("x",)),
        ("Patient", {"resourceType": "RelatedPerson", "id": "x", "patient": {"reference": "Patient/p"}}, ("p",)),
    ],
)
def test_owners(compartment: str, document: dict[str, object], expected: tuple[str, ...]) -> None:
    """The references that the official definitions name put a document into compartments; a resource lies in its own."""
    type, id = str(document["resourceType"]), str(document["id"])
    assert (
        owners(compartment, type, id, EXTRACTOR.extract(type, document).values, linking(compartment, type, registry())) == expected
    )


def test_never_in_the_compartment() -> None:
    """No parameter puts an Organization into a Patient compartment; an unknown compartment is a mistake."""
    assert linking("Patient", "Organization", registry()) is None
    with pytest.raises(KeyError):
        linking("Organization", "Patient", registry())


def test_aliases_are_followed() -> None:
    """A compartment that names an alias reads where its values are kept (Coverage.patient is Coverage.beneficiary)."""
    coverage = {"resourceType": "Coverage", "id": "1", "beneficiary": {"reference": "Patient/p"}}
    values = EXTRACTOR.extract("Coverage", coverage).values
    assert owners("Patient", "Coverage", "1", values, linking("Patient", "Coverage", registry())) == ("p",)
