"""Places in a document, told as FHIRPath."""

import pytest

from conformance.load import fhirpath


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Patient.name[0].given", "Patient.name[0].given"),
        ("Observation.effectiveDateTime", "Observation.effective"),
        ("Observation.valueQuantity.unit", "Observation.value.unit"),
        ("Observation.component[2].valueCodeableConcept.coding[0].code", "Observation.component[2].value.coding[0].code"),
        ("Patient.extension[0].valueAddress.city", "Patient.extension[0].value.city"),
        ("Questionnaire.item[0].item[1].initial[0].valueString", "Questionnaire.item[0].item[1].initial[0].value"),
        ("Patient.unknown.thing", "Patient.unknown.thing"),
        ("Patient.contained[0].valueQuantity", "Patient.contained[0].valueQuantity"),
        ("Nothing.at.all", "Nothing.at.all"),
        ("Patient", "Patient"),
    ],
)
def test_a_choice_is_named_without_its_type(path: str, expected: str) -> None:
    """https://hl7.org/fhirpath/: an element with a choice of types is one element, whatever JSON calls it."""
    assert fhirpath(path) == expected
