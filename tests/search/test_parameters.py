"""Search parameters by type and code."""

import pytest

from conformance.load import definitions
from search.parameters import CLINICAL_DATES, registry

PARAMETERS = registry()
ALL = [parameter for type in PARAMETERS.types for parameter in PARAMETERS.of(type).values()]


def test_every_type_has_those_of_resource() -> None:
    """All 146 resource types of R4, and ViewDefinition, can be searched by _id, _lastUpdated, _tag, _profile, _security and _source."""
    assert len(PARAMETERS.types) == 147
    for type in PARAMETERS.types:
        assert {"_id", "_lastUpdated", "_tag", "_profile", "_security", "_source"} <= set(PARAMETERS.of(type))


def test_every_official_parameter_is_there() -> None:
    """Each of the 1,375 official definitions applies to at least one type."""
    assert {p.url for p in ALL} == {definition.url for definition in definitions().search_parameters}


@pytest.mark.parametrize(
    ("type", "code", "number"),
    [
        ("Patient", "_id", 392),
        ("Patient", "_lastUpdated", 538),
        ("Observation", "code", 1368),
        ("Observation", "date", 1385),
        ("Observation", "patient", 1448),
        ("Observation", "subject", 2548),
        ("Patient", "gender", 2633),
        ("Patient", "name", 2643),
        ("Provenance", "target", 2738),
    ],
)
def test_numbers_never_change(type: str, code: str, number: int) -> None:
    """The numbers stand in databases: these are pinned, so that no release can renumber unnoticed."""
    found = PARAMETERS.find(type, code)
    assert found is not None and found.number == number


def test_numbers_are_unique_but_for_aliases() -> None:
    """Two parameters share a number only if one keeps its values under the other's code."""
    by_number: dict[int, set[tuple[str, str]]] = {}
    for parameter in ALL:
        assert 0 < parameter.number < 10_000
        by_number.setdefault(parameter.number, set()).add((parameter.type, parameter.stored))
    assert all(len(found) == 1 for found in by_number.values())


@pytest.mark.parametrize(
    ("type", "code", "stored"),
    [
        ("Patient", "phonetic", "name"),
        ("Coverage", "patient", "beneficiary"),
        ("CodeSystem", "system", "url"),
        ("Observation", "patient", "patient"),
        ("Observation", "combo-code", "combo-code"),
    ],
)
def test_aliases(type: str, code: str, stored: str) -> None:
    """A parameter with the same kind and expression as another is its alias; subject and patient of an Observation differ."""
    found = PARAMETERS.find(type, code)
    assert found is not None and found.stored == stored


@pytest.mark.parametrize(
    ("type", "code", "targets"),
    [
        ("Observation", "patient", {"Patient"}),
        ("Immunization", "patient", {"Patient"}),
        ("Observation", "subject", {"Patient", "Group", "Device", "Location"}),
        ("Appointment", "practitioner", {"Practitioner"}),
    ],
)
def test_targets_are_those_that_the_element_can_refer_to(type: str, code: str, targets: set[str]) -> None:
    """The official targets of a parameter for several types are narrowed to what this type's element may hold."""
    found = PARAMETERS.find(type, code)
    assert found is not None and set(found.targets) == targets


def test_expression_is_narrowed_to_the_type() -> None:
    """Of an expression for several types only the type's own part is left."""
    found = PARAMETERS.find("Observation", "code")
    assert found is not None and found.expression == "Observation.code"
    without_root = PARAMETERS.find("InsurancePlan", "name")
    assert without_root is not None and without_root.expression == "name | alias"


def test_bound_codes_come_from_the_required_binding() -> None:
    """A parameter over a `code` element knows the systems that its binding implies."""
    gender = PARAMETERS.find("Patient", "gender")
    assert gender is not None
    assert gender.bound == {"http://hl7.org/fhir/administrative-gender": frozenset({"male", "female", "other", "unknown"})}
    code = PARAMETERS.find("Observation", "code")
    assert code is not None and not code.bound


@pytest.mark.parametrize(
    ("type", "code", "searchable"),
    [
        ("Patient", "name", True),
        ("Observation", "code-value-quantity", True),
        ("Location", "near", True),
        ("Patient", "_text", False),
        ("Patient", "_content", False),
    ],
)
def test_searchable(type: str, code: str, searchable: bool) -> None:
    """Every parameter with an expression can be searched by."""
    found = PARAMETERS.find(type, code)
    assert found is not None and found.searchable is searchable


@pytest.mark.parametrize(
    ("type", "code"),
    [
        ("Observation", "date"),
        ("Encounter", "date"),
        ("Appointment", "date"),
        ("AuditEvent", "date"),
        ("Condition", "onset-date"),
        ("Procedure", "date"),
        ("MedicationRequest", "authoredon"),
        ("ServiceRequest", "authored"),
        ("DiagnosticReport", "date"),
        ("Immunization", "date"),
        ("DocumentReference", "date"),
        ("Claim", "created"),
        ("ExplanationOfBenefit", "created"),
        ("Slot", "start"),
        ("Task", "authored-on"),
        ("Patient", None),
        ("Practitioner", None),
        ("Medication", None),
        ("Nonsense", None),
    ],
)
def test_clinical_date(type: str, code: str | None) -> None:
    """Each type's clinical date follows from the order of CLINICAL_DATES."""
    assert PARAMETERS.clinical_date(type) == code


def test_clinical_dates_name_existing_parameters() -> None:
    """No code in the rule is a slip: each is a date parameter of some type."""
    assert set(CLINICAL_DATES) <= {p.code for p in ALL if p.kind == "date"}


@pytest.mark.parametrize(
    ("type", "code", "suggested"),
    [
        ("Patient", "birth_date", ["birthdate"]),
        ("Patient", "birthDate", ["birthdate"]),
        ("Patient", "famly", ["family"]),
        ("Patient", "xyzzy", []),
        ("Nonsense", "name", []),
    ],
)
def test_suggestions(type: str, code: str, suggested: list[str]) -> None:
    """A misspelt code is answered with codes that look like it."""
    assert PARAMETERS.suggest(type, code) == suggested
