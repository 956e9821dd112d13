"""Finding and replacing references (https://hl7.org/fhir/R4/http.html#trules)."""

from copy import deepcopy
from typing import Any

from conformance.references import references, rewrite_references

URN = "urn:uuid:68d043b5-9ecf-4559-a57a-396e0d452311"
OTHER = "urn:uuid:00000000-0000-4000-8000-000000000000"


def mapping(text: str) -> str | None:
    return {URN: "Patient/1"}.get(text)


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


def test_references_uris_and_links_are_replaced() -> None:
    """Reference.reference, uri, url, oid and uuid elements, and href and src in the narrative; each counts."""
    document: dict[str, Any] = {
        "resourceType": "Observation",
        "subject": {"reference": URN},
        "text": {"div": f'<div xmlns="http://www.w3.org/1999/xhtml"><a href="{URN}">{URN}</a><img src=\'{URN}\'/></div>'},
        "implicitRules": URN,
        "extension": [{"url": "http://e.org", "valueUrl": URN}, {"url": "http://e.org", "valueUuid": OTHER}],
        "contained": [{"resourceType": "Patient", "id": "p", "generalPractitioner": [{"reference": URN}]}],
    }
    assert rewrite_references(document, mapping) == 5
    assert document["subject"]["reference"] == "Patient/1"
    assert document["text"]["div"].count('href="Patient/1"') == 1
    assert document["text"]["div"].count("src='Patient/1'") == 1
    assert f">{URN}<" in document["text"]["div"]
    assert document["implicitRules"] == document["extension"][0]["valueUrl"] == "Patient/1"
    assert document["extension"][1]["valueUuid"] == OTHER
    assert document["contained"][0]["generalPractitioner"] == [{"reference": "Patient/1"}]


def test_canonicals_strings_and_identifiers_stay() -> None:
    """A canonical names a definition, an identifier's value is a string: neither is a reference."""
    document = {
        "resourceType": "QuestionnaireResponse",
        "questionnaire": URN,
        "identifier": {"system": "urn:ietf:rfc:3986", "value": URN},
        "item": [{"linkId": URN, "text": URN}],
    }
    before = deepcopy(document)
    assert rewrite_references(document, mapping) == 0
    assert document == before
