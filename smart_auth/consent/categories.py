"""Parts of a type that a user may grant in place of the whole: categories that SMART App Launch and US Core define for granular scopes
(https://hl7.org/fhir/us/core/scopes.html), and those of R4's own required bindings."""

from types import MappingProxyType
from typing import Final

from smart_auth.scopes import ResourceScope

_HL7 = "http://terminology.hl7.org/CodeSystem"
_US = "http://hl7.org/fhir/us/core/CodeSystem"

CATEGORIES: Final = MappingProxyType(
    {
        "Condition": (
            (f"{_HL7}/condition-category|problem-list-item", "lasting health problems"),
            (f"{_HL7}/condition-category|encounter-diagnosis", "diagnoses of visits"),
            (f"{_US}/condition-category|health-concern", "health concerns"),
            (f"{_US}/us-core-category|sdoh", "social circumstances"),
        ),
        "Observation": (
            (f"{_HL7}/observation-category|laboratory", "laboratory results"),
            (f"{_HL7}/observation-category|vital-signs", "vital signs"),
            (f"{_HL7}/observation-category|social-history", "smoking, alcohol and other habits"),
            (f"{_HL7}/observation-category|survey", "answers to assessments"),
            (f"{_HL7}/observation-category|imaging", "findings of images"),
            (f"{_HL7}/observation-category|exam", "findings of examinations"),
            (f"{_HL7}/observation-category|procedure", "findings of procedures"),
            (f"{_HL7}/observation-category|therapy", "findings of therapies"),
            (f"{_HL7}/observation-category|activity", "physical activity"),
            (f"{_US}/us-core-category|sdoh", "social circumstances"),
            (f"{_US}/us-core-category|functional-status", "functional status"),
            (f"{_US}/us-core-category|disability-status", "disability status"),
            (f"{_US}/us-core-category|cognitive-status", "cognitive status"),
            (f"{_US}/us-core-category|treatment-intervention-preference", "wishes about treatment"),
            (f"{_US}/us-core-category|care-experience-preference", "wishes about care"),
        ),
        "DiagnosticReport": (
            (f"{_HL7}/v2-0074|LAB", "laboratory reports"),
            ("http://loinc.org|LP29684-5", "radiology reports"),
            ("http://loinc.org|LP29708-2", "cardiology reports"),
            ("http://loinc.org|LP7839-6", "pathology reports"),
        ),
        "DocumentReference": ((f"{_US}/us-core-documentreference-category|clinical-note", "clinical notes"),),
        "ServiceRequest": (
            (f"{_US}/us-core-category|sdoh", "orders for social circumstances"),
            (f"{_US}/us-core-category|functional-status", "orders for functional status"),
            (f"{_US}/us-core-category|disability-status", "orders for disability status"),
            (f"{_US}/us-core-category|cognitive-status", "orders for cognitive status"),
            ("http://snomed.info/sct|108252007", "orders for laboratory tests"),
            ("http://snomed.info/sct|363679005", "orders for images"),
            ("http://snomed.info/sct|409063005", "orders for counselling"),
            ("http://snomed.info/sct|409073007", "orders for education"),
            ("http://snomed.info/sct|387713003", "orders for operations"),
        ),
        "MedicationRequest": (
            (f"{_HL7}/medicationrequest-category|inpatient", "prescriptions of stays"),
            (f"{_HL7}/medicationrequest-category|outpatient", "prescriptions of visits"),
            (f"{_HL7}/medicationrequest-category|community", "prescriptions for home"),
            (f"{_HL7}/medicationrequest-category|discharge", "prescriptions at discharge"),
        ),
        "AllergyIntolerance": (
            ("http://hl7.org/fhir/allergy-intolerance-category|food", "allergies to food"),
            ("http://hl7.org/fhir/allergy-intolerance-category|medication", "allergies to medicines"),
            ("http://hl7.org/fhir/allergy-intolerance-category|environment", "allergies to the environment"),
            ("http://hl7.org/fhir/allergy-intolerance-category|biologic", "allergies to biological substances"),
        ),
        "CarePlan": ((f"{_US}/careplan-category|assess-plan", "assessments and plans of treatment"),),
    }
)
"""Type -> (value of its search parameter `category`, what a person calls the part)."""

_NAMES = {(type, value): name for type, parts in CATEGORIES.items() for value, name in parts}


def parts(scope: ResourceScope) -> tuple[tuple[ResourceScope, str], ...]:
    """The scope narrowed to each category of its type, with that one's name; none for a type without, or a scope narrowed already."""
    if scope.narrowed:
        return ()
    return tuple((_narrowed(scope, value), name) for value, name in CATEGORIES.get(scope.type, ()))


def category_name(scope: ResourceScope) -> str:
    """What a person calls what the scope is narrowed to; "" where it is not by one category, or by one that is not in the table."""
    if len(scope.narrowed) != 1 or scope.narrowed[0][0] != "category":
        return ""
    value = scope.narrowed[0][1]
    exact = _NAMES.get((scope.type, value))
    if exact or "|" in value:
        return exact or ""
    return next((name for (type, known), name in _NAMES.items() if type == scope.type and known.endswith(f"|{value}")), "")


def _narrowed(scope: ResourceScope, value: str) -> ResourceScope:
    text = f"{scope.level}/{scope.type}.{scope.letters}?category={value}"
    return ResourceScope(scope.level, scope.type, scope.letters, (("category", value),), text)
