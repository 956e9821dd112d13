"""Finding the references of a document."""

from typing import Any

from conformance.references import references


def test_every_reference_is_found_with_its_place() -> None:
    """In elements, choices, extensions, contained resources and entries; a URI that is called reference is none."""
    document: dict[str, Any] = {
        "resourceType": "Bundle",
        "entry": [
            {"resource": {
                "resourceType": "MedicationRequest",
                "subject": {"reference": "Patient/1"},
                "medicationReference": {"reference": "#m"},
                "extension": [{"url": "http://e.org", "valueReference": {"reference": "Patient/2"}}],
                "_authoredOn": {"extension": [{"url": "http://e.org", "valueReference": {"reference": "Patient/3"}}]},
                "contained": [{"resourceType": "Medication", "id": "m", "manufacturer": {"reference": "Organization/1"}}],
                "reasonReference": [{"identifier": {"value": "x"}}, {"reference": "http://e.org/Condition/1"}],
            }},
            {"resource": {"resourceType": "DetectedIssue", "reference": "http://e.org/literature"}},
        ],
    }  # fmt: skip
    resource = "Bundle.entry[0].resource"
    assert sorted(references(document)) == [
        (f"{resource}.authoredOn.extension[0].value.reference", "Patient/3"),
        (f"{resource}.contained[0].manufacturer.reference", "Organization/1"),
        (f"{resource}.extension[0].value.reference", "Patient/2"),
        (f"{resource}.medication.reference", "#m"),
        (f"{resource}.reasonReference[1].reference", "http://e.org/Condition/1"),
        (f"{resource}.subject.reference", "Patient/1"),
    ]
