"""What R4 itself decides about resources that define things: paths of StructureDefinitions, types of search parameters.

https://hl7.org/fhir/R4/profiling.html
"""

from functools import lru_cache
from typing import Any

import pytest

from conformance.load import definitions
from conformance.validate import Validator

CLINICAL_STATUS = "http://hl7.org/fhir/SearchParameter/AllergyIntolerance-clinical-status"


@lru_cache(maxsize=1)
def validator() -> Validator:
    return Validator(definitions())


def errors(document: dict[str, Any]) -> list[tuple[str | None, str]]:
    found = validator().check(document["resourceType"], document)
    return [(issue.expression, issue.text) for issue in found if issue.severity == "error"]


def profile(type: str, *paths: str, **members: Any) -> dict[str, Any]:
    """A constraint of `type` with these paths in its differential."""
    return {
        "resourceType": "StructureDefinition", "url": "http://example.org/p", "name": "P", "status": "draft", "kind": "resource",
        "abstract": False, "type": type, "baseDefinition": f"http://hl7.org/fhir/StructureDefinition/{type}", "derivation": "constraint",
        "differential": {"element": [{"id": f"{path}:{number}", "path": path} for number, path in enumerate(paths)]}, **members,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("type", "path"),
    [
        ("Patient", "Patient"),
        ("Patient", "Patient.name.given"),
        ("Patient", "Patient.birthDate.extension.value[x]"),
        ("Patient", "Patient.contact.name.family"),
        ("Observation", "Observation.value[x]"),
        ("Observation", "Observation.valueQuantity.code"),
        ("Observation", "Observation.value[x].coding.system"),
        ("Observation", "Observation.component.referenceRange.low.value"),
        ("Questionnaire", "Questionnaire.item.item.item.text"),
        ("Patient", "Patient.contained.whatever"),
    ],
)
def test_a_profile_may_constrain_what_the_type_has(type: str, path: str) -> None:
    """Elements, children of data types, choices in both spellings, recursive items and what stands in contained resources."""
    assert errors(profile(type, path)) == []


@pytest.mark.parametrize(
    ("type", "path", "words"),
    [
        ("Patient", "Patient.nmae", "no element 'nmae' in Patient"),
        ("Patient", "Patient.name.surname", "no element 'surname' in Patient.name"),
        ("Observation", "Observation.value", "written with [x]"),
        ("Observation", "Observation.valueBla", "no element 'valueBla'"),
        ("Observation", "Observation.status[x]", "no element 'status[x]'"),
        ("Observation", "Observation.valueQuantity.coding", "no element 'coding' in Observation.valueQuantity"),
    ],
)
def test_a_profile_cannot_constrain_what_is_not_there(type: str, path: str, words: str) -> None:
    """A path that leads nowhere in the constrained type is refused, at its own place."""
    [(where, text)] = errors(profile(type, type, path))
    assert where == "StructureDefinition.differential.element[1].path"
    assert words in text


def test_an_extension_is_constrained_in_its_own_elements() -> None:
    """A profile of a data type is held to that type, nested extensions included."""
    context = [{"type": "element", "expression": "Patient"}]
    assert errors(profile("Extension", "Extension.extension.value[x]", kind="complex-type", context=context)) == []
    [(where, _)] = errors(profile("Extension", "Extension.extension.name", kind="complex-type", context=context))
    assert where == "StructureDefinition.differential.element[0].path"


def test_a_path_begins_with_the_type_that_is_constrained() -> None:
    """A path of another type is refused."""
    assert "does not begin with Patient" in " ".join(text for _, text in errors(profile("Patient", "Patient", "Person.name")))


def test_what_defines_a_type_anew_names_its_own_elements() -> None:
    """Specialisations and logical models are not held to an R4 type's elements."""
    assert errors(profile("Patient", "Patient.nmae", derivation="specialization", kind="logical")) == []


@pytest.mark.parametrize(
    ("kind", "definition", "places"),
    [
        ("token", CLINICAL_STATUS, []),
        ("date", CLINICAL_STATUS, ["CapabilityStatement.rest[0].resource[0].searchParam[0].type"]),
        ("date", f"{CLINICAL_STATUS}|4.0.1", ["CapabilityStatement.rest[0].resource[0].searchParam[0].type"]),
        ("date", "http://example.org/SearchParameter/mine", []),
    ],
)
def test_a_capability_statement_tells_an_official_parameter_with_its_type(kind: str, definition: str, places: list[str]) -> None:
    """The type beside a reference to an official SearchParameter is that parameter's; of others nothing is known."""
    parameter = {"name": "clinical-status", "definition": definition, "type": kind}
    statement = {
        "resourceType": "CapabilityStatement", "status": "draft", "date": "2020-01-01", "kind": "requirements", "fhirVersion": "4.0.1",
        "description": "x", "format": ["json"],
        "rest": [{"mode": "server", "resource": [{"type": "AllergyIntolerance", "searchParam": [parameter]}]}],
    }  # fmt: skip
    assert [where for where, _ in errors(statement)] == places
