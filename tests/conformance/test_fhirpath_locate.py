"""Places for FHIRPath Patch: https://hl7.org/fhir/R4/fhirpatch.html#concept."""

from typing import Any

import pytest

from conformance.fhirpath import FhirPathError, locate

DOCUMENT: dict[str, Any] = {
    "resourceType": "Patient",
    "name": [{"given": ["a", "b"], "_given": [None, {"id": "x"}], "use": "official"}, {"use": "old"}],
    "deceasedBoolean": True,
    "_birthDate": {"extension": [{"url": "u", "valueCode": "unknown"}]},
    "extension": [{"url": "u", "valueQuantity": {"value": 1}}, {"url": "v", "valueString": "s"}],
    "contained": [{"resourceType": "Observation", "valueString": "s"}],
}


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("Patient.name", [("Patient.name[0]", 0, "HumanName", "name"), ("Patient.name[1]", 1, "HumanName", "name")]),
        ("name[1].use", [("Patient.name[1].use", "use", "code", "use")]),
        ("Patient.name.where(use = 'old')", [("Patient.name[1]", 1, "HumanName", "name")]),
        ("Patient.name.where(use = 'official').given.last()", [("Patient.name[0].given[1]", 1, "string", "given")]),
        ("Patient.deceased", [("Patient.deceased", "deceasedBoolean", "boolean", "deceasedBoolean")]),
        ("Patient.deceased.as(dateTime)", []),
        ("Patient.birthDate", [("Patient.birthDate", "birthDate", "date", "birthDate")]),
        ("Patient.birthDate.extension('u').value", [("Patient.birthDate.extension[0].value", "valueCode", "code", "valueCode")]),
        ("Patient.name[0].given[1].id", [("Patient.name[0].given[1].id", "id", "string", "id")]),
        ("Patient.extension('u').value", [("Patient.extension[0].value", "valueQuantity", "Quantity", "valueQuantity")]),
        ("Patient.extension.value.ofType(string)", [("Patient.extension[1].value", "valueString", "string", "valueString")]),
        ("(Patient.extension.value as Quantity).value", [("Patient.extension[0].value.value", "value", "decimal", "value")]),
        ("Patient.contained[0].value", [("Patient.contained[0].value", "valueString", "string", "valueString")]),
        ("Patient.name.first().use", [("Patient.name[0].use", "use", "code", "use")]),
        ("Patient.maritalStatus", []),
        ("Patient.contact.name", []),
        ("Patient.name[7]", []),
    ],
)
def test_places(path: str, places: list[tuple[str, Any, str, str]]) -> None:
    """A simple path leads to the JSON places, choices to the property that is there."""
    found = locate(DOCUMENT, "Patient", path)
    assert [(p.path, p.key, p.fhir_type, p.name) for p in found] == places


def test_place_can_be_changed() -> None:
    """The owner, parent and key of a place are those of the document itself."""
    (use,) = locate(DOCUMENT, "Patient", "Patient.name[1].use")
    assert use.parent is use.owner is DOCUMENT["name"][1]
    (name,) = locate(DOCUMENT, "Patient", "Patient.name[1]")
    assert (name.owner, name.parent, name.value) == (DOCUMENT, DOCUMENT["name"], DOCUMENT["name"][1])
    (birth,) = locate(DOCUMENT, "Patient", "Patient.birthDate")
    assert birth.value is None


@pytest.mark.parametrize(
    "path",
    [
        "Patient", "Patient.nothing", "Patient.valueQuantity", "Patient.name.given & 'x'", "Patient.descendants()",
        "Patient.name.where(%resource.id = 'x')", "Patient.name.where()", "Observation.value",
        "Patient.name.where(family.matches('(a+)+$'))", "Patient.name.where(children().exists())", "name.",
    ],
)  # fmt: skip
def test_other_paths_are_refused(path: str) -> None:
    """Paths that are not simple, lead to the document itself or name what the type has not are errors."""
    with pytest.raises(FhirPathError):
        locate(DOCUMENT, "Patient", path)
