"""Paths for search parameters: https://hl7.org/fhir/R4/searchparameter-registry.html."""

from typing import Any

import pytest

from conformance.fhirpath import FhirPathError, compile_paths
from conformance.load import definitions


def bases(published: tuple[str, ...]) -> tuple[str, ...]:
    abstract = {"Resource", "DomainResource"} & set(published)
    return definitions().resource_types if abstract else published


def found(expression: str, document: dict[str, Any], type_name: str = "") -> list[tuple[str, Any]]:
    paths = compile_paths(expression, type_name or document["resourceType"])
    return [(p.fhir_type, v) for p in paths for v in p.get(document)]


def test_every_official_expression_compiles_for_every_base() -> None:
    """No official search parameter is left without paths for any of its types, composites' components included."""
    without = []
    for parameter in definitions().search_parameters:
        for base in bases(parameter.base) if parameter.expression else ():
            paths = compile_paths(parameter.expression, base)
            parts = [compile_paths(expression, p.fhir_type) for p in paths for _, expression in parameter.components]
            if not paths or not all(parts):
                without.append((base, parameter.code))
    assert without == []


@pytest.mark.parametrize(
    ("type_name", "expression", "types"),
    [
        ("Observation", "Observation.effective", {"dateTime", "Period", "Timing", "instant"}),
        ("Observation", "Resource.id", {"string"}),
        ("Patient", "Patient.birthDate | Person.birthDate", {"date"}),
        ("Person", "Patient.birthDate", set()),
        ("InsurancePlan", "name | alias", {"string"}),
        ("Condition", "Condition.onset.as(Age) | Condition.onset.as(Range)", {"Age", "Range"}),
        ("ConceptMap", "(ConceptMap.source as uri)", {"uri", "canonical"}),
        ("Observation", "value.as(DateTime) | value.as(Period)", {"dateTime", "Period"}),
        ("Bundle", "Bundle.entry[0].resource", {"Resource"}),
        ("Patient", "Patient.deceased.exists() and Patient.deceased != false", {"boolean"}),
        ("Patient", "Patient.extension('http://x').value as code", {"code"}),
        ("Patient", "Patient.name.given.first() & 'x'", None),
        ("Patient", "Patient.name.family.lower()", {"string"}),
    ],
)
def test_types_of_the_branches(type_name: str, expression: str, types: set[str] | None) -> None:
    """Each statically known type of the result has its path; an expression whose types cannot be told is refused."""
    if types is None:
        with pytest.raises(FhirPathError, match="types"):
            compile_paths(expression, type_name)
    else:
        assert {p.fhir_type for p in compile_paths(expression, type_name)} == types


OBSERVATION = {
    "resourceType": "Observation",
    "valueQuantity": {"value": 1},
    "component": [{"valueQuantity": {"value": 2}}, {"valueString": "x"}, {"valueQuantity": {"value": 3}}],
    "subject": {"reference": "Patient/1"},
}
PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "name": [{"given": ["A", None], "_given": [None, {"id": "x"}]}, {"family": "F"}],
    "telecom": [{"system": "phone", "value": "1"}, {"system": "email", "value": "e"}, {"value": "?"}],
    "contact": [{"name": {"family": "K"}}, {}],
}
APPOINTMENT = {
    "resourceType": "Appointment",
    "participant": [
        {"actor": {"reference": "Patient/1"}},
        {"actor": {"reference": "http://other/fhir/Patient/2/_history/3"}},
        {"actor": {"reference": "urn:uuid:4", "type": "Patient"}},
        {"actor": {"reference": "Practitioner?identifier=http://x/Patient/|5"}},
        {"actor": {"display": "nobody"}},
        {"actor": {"reference": "#Patient"}},
    ],
}


@pytest.mark.parametrize(
    ("document", "expression", "values"),
    [
        (PATIENT, "Resource.id", [("string", "p")]),
        (PATIENT, "Patient.name.given", [("string", "A")]),
        (PATIENT, "Patient.contact.name.family", [("string", "K")]),
        (PATIENT, "Patient.telecom.where(system='email').value", [("string", "e")]),
        (PATIENT, "Patient.address.city", []),
        (PATIENT, "Patient.deceased.exists() and Patient.deceased != false", [("boolean", False)]),
        ({**PATIENT, "deceasedBoolean": False}, "Patient.deceased.exists() and Patient.deceased != false", [("boolean", False)]),
        ({**PATIENT, "deceasedDateTime": "2020"}, "Patient.deceased.exists() and Patient.deceased != false", [("boolean", True)]),
        (OBSERVATION, "(Observation.component.value as Quantity)", [("Quantity", {"value": 2}), ("Quantity", {"value": 3})]),
        (OBSERVATION, "Observation.subject.where(resolve() is Patient)", [("Reference", {"reference": "Patient/1"})]),
        (OBSERVATION, "Observation.subject.where(resolve() is Group)", []),
    ],
)
def test_values(document: dict[str, Any], expression: str, values: list[tuple[str, Any]]) -> None:
    """The paths give the document's own values, in order."""
    assert found(expression, document) == values


def test_resolve_is_decided_by_the_text() -> None:
    """Relative, absolute, versioned and conditional references tell their type; others are asked for `type`."""
    actors = [p["actor"] for p in APPOINTMENT["participant"]]  # type: ignore[index]
    assert [v for _, v in found("Appointment.participant.actor.where(resolve() is Patient)", APPOINTMENT)] == actors[:3]
    assert [v for _, v in found("Appointment.participant.actor.where(resolve() is Practitioner)", APPOINTMENT)] == [actors[3]]


def test_component_may_begin_at_the_resource() -> None:
    """A component of a composite that begins at %resource takes the whole resource."""
    (path,) = compile_paths("%resource.referenceSeq.chromosome", "MolecularSequence.variant")
    sequence = {"resourceType": "MolecularSequence", "referenceSeq": {"chromosome": {"text": "1"}}, "variant": [{"start": 1}]}
    assert path.of_resource
    assert path.get(sequence) == [{"text": "1"}]


@pytest.mark.parametrize(
    "expression", ["Patient.nmae", "Patient.name.given1", "nonsense()", "Patient.name.where(", "Patient.name.where(x='1')"]
)
def test_wrong_expressions_are_refused(expression: str) -> None:
    """A search parameter that names what the type does not have is an error, not an empty index."""
    with pytest.raises(FhirPathError):
        compile_paths(expression, "Patient")
