"""Scopes in words that a patient understands. Tables, so that a translation or a better word is one line."""

import re
from types import MappingProxyType
from typing import Final

from smart_auth.scopes import ResourceScope

GROUPS: Final = MappingProxyType(
    {
        "Person": {
            "Patient": "name, address and other personal details",
            "RelatedPerson": "relatives and other contacts",
            "Person": "links between personal records",
        },
        "Health": {
            "Condition": "health problems and diagnoses",
            "AllergyIntolerance": "allergies and intolerances",
            "Procedure": "operations and other procedures",
            "FamilyMemberHistory": "illnesses in the family",
            "ClinicalImpression": "clinical assessments",
            "RiskAssessment": "assessments of risk",
            "DetectedIssue": "warnings found by checks",
            "AdverseEvent": "adverse events",
            "Flag": "alerts",
        },
        "Results and measurements": {
            "Observation": "laboratory results, vital signs and other observations",
            "DiagnosticReport": "diagnostic reports",
            "ImagingStudy": "images such as X-rays",
            "Media": "photos, videos and sound",
            "Specimen": "samples",
            "MolecularSequence": "genetic data",
        },
        "Medicines and vaccines": {
            "MedicationRequest": "prescriptions",
            "MedicationStatement": "medicines taken",
            "MedicationDispense": "medicines handed out",
            "MedicationAdministration": "medicines given",
            "Immunization": "vaccinations",
            "ImmunizationEvaluation": "checks of vaccinations",
            "ImmunizationRecommendation": "recommended vaccinations",
            "Device": "implants and other devices",
            "DeviceUseStatement": "use of devices",
            "DeviceRequest": "requests for devices",
        },
        "Visits, plans and care": {
            "Appointment": "appointments",
            "AppointmentResponse": "answers to appointments",
            "Encounter": "visits and stays",
            "EpisodeOfCare": "episodes of care",
            "CarePlan": "care plans",
            "CareTeam": "care teams",
            "Goal": "health goals",
            "ServiceRequest": "referrals and orders",
            "NutritionOrder": "diets",
            "Task": "tasks",
        },
        "Documents and messages": {
            "DocumentReference": "documents and notes",
            "Composition": "clinical documents",
            "QuestionnaireResponse": "answers to questionnaires",
            "Communication": "messages",
            "CommunicationRequest": "requested messages",
            "Consent": "consents",
            "Provenance": "who wrote what",
            "AuditEvent": "who looked at what",
            "List": "lists",
        },
        "Insurance and payment": {
            "Coverage": "insurance",
            "Claim": "claims",
            "ClaimResponse": "answers to claims",
            "ExplanationOfBenefit": "statements of what insurance paid",
            "Account": "accounts",
            "Invoice": "invoices",
        },
        "The organization": {
            "Practitioner": "doctors, nurses and other staff",
            "PractitionerRole": "what staff do where",
            "Organization": "organizations",
            "Location": "places",
            "HealthcareService": "services on offer",
            "Schedule": "calendars",
            "Slot": "free times",
            "Endpoint": "technical addresses",
            "Medication": "the list of medicines",
            "Questionnaire": "questionnaires",
            "ValueSet": "lists of codes",
            "CodeSystem": "systems of codes",
        },
    }
)
"""Title -> resource type -> what a person calls it. Types that are in none of them are shown below OTHER by their own name."""

EVERYTHING, OTHER = "Everything", "Other"

NAMES: Final = MappingProxyType({type: name for group in GROUPS.values() for type, name in group.items()})
_GROUP_OF = {type: title for title, group in GROUPS.items() for type in group}
_OF_NOBODY = frozenset(GROUPS["The organization"])
"""Types that are about no patient."""

WORDS: Final = MappingProxyType(
    {
        "openid": "Know who you are",
        "fhirUser": "Know your own entry in the record system",
        "profile": "Know your name",
        "launch": "Know what is open in the record system",
        "launch/patient": "Know which patient is chosen",
        "launch/encounter": "Know which visit is chosen",
        "offline_access": "Stay connected until you end it",
        "online_access": "Stay connected while you are signed in",
        "smart/orchestrate_launch": "Start other apps",
        "smart/app-state": "Keep its own settings here",
    }
)

_VERBS = (("rs", "see"), ("r", "see"), ("s", "search"), ("c", "add"), ("u", "change"), ("d", "delete"))


def group_of(type: str) -> str:
    """The title below which a type is shown."""
    return EVERYTHING if type == "*" else _GROUP_OF.get(type, OTHER)


def name_of(type: str) -> str:
    """What a person calls documents of this type."""
    return NAMES.get(type) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type).lower() + " entries"


def word(text: str) -> str:
    """What a scope without a type means; `launch/patient?role=x` means what `launch/patient` does."""
    return WORDS.get(text.partition("?")[0], text)


def sentence(scope: ResourceScope, whose: str, what: str = "") -> str:
    """What the scope lets an app do. `whose`: "" for the reader's own record, else the words that say whose ("of Anna Smith"). `what`
    names a part of the type (a category) in place of the whole."""
    does = doing(scope.letters)
    if scope.type == "*":
        in_record = f"in the record {whose}" if whose and scope.level == "patient" else whose or "in your record"
        return f"{does} everything {in_record}"
    thing = what or name_of(scope.type)
    condition = "" if what or not scope.narrowed else f", only where {_condition(scope)}"
    if scope.type in _OF_NOBODY:
        return f"{does} {thing}{condition}"
    return f"{does} {thing} {whose}{condition}" if whose else f"{does} your {thing}{condition}"


def doing(letters: str) -> str:
    """The letters of a scope as verbs: "See, add and change"."""
    verbs, left = [], letters
    for part, verb in _VERBS:
        if set(part) <= set(left):
            verbs.append(verb)
            left = "".join(letter for letter in left if letter not in part)
    text = " and ".join((", ".join(verbs[:-1]), verbs[-1])) if len(verbs) > 1 else verbs[0]
    return text[0].upper() + text[1:]


def _condition(scope: ResourceScope) -> str:
    return " and ".join(f"{name} is {value.rpartition('|')[2] or value}" for name, value in scope.narrowed)
