"""What a patient's scopes give of each type of FHIR R4."""

import pytest

from fhir_server.access.decision import LETTERS
from fhir_server.access.granting import decision_of
from fhir_server.access.types import ADMINISTRATION, BY_PATIENT, FREE, OF_AUDITORS, SHARED, WITHHELD, WRITTEN_BY
from search.compartments import linking
from search.parameters import registry
from search.query import Grant
from smart_auth.access import Access

TYPES = registry().types
KIM = Access("kim", "app", "patient/*.cruds", 0, role="patient", patient="1", fhir_user="Patient/1")
DECISION = decision_of(KIM, ("1",), ())


def of(type: str) -> dict[str, tuple[Grant, ...]]:
    """Letter -> the grants of documents of the type."""
    found = {}
    for letter in LETTERS:
        reach = DECISION.letter(letter)
        assert reach is not None
        found[letter] = reach.of(type)
    return found


def test_every_type_has_one_place() -> None:
    """All 146 types of R4, and ViewDefinition: in the compartment, shared, found by their patient, or withheld; a new type could not be forgotten."""  # noqa: E501
    lying = {type for type in TYPES if linking("Patient", type, registry()) is not None} - {OF_AUDITORS}
    places = (lying, SHARED, BY_PATIENT, set(WITHHELD))
    assert len(TYPES) == 147
    assert sorted(type for place in places for type in place) == sorted(TYPES)
    assert FREE in lying and ADMINISTRATION in SHARED and OF_AUDITORS in WITHHELD


@pytest.mark.parametrize("type", TYPES)
def test_a_patients_scopes(type: str) -> None:
    """[G4] What is in the record can be read and written, what is shared only read, the rest is out of reach; no grant of a record's type
    is without the patient."""
    grants = of(type)
    if type in WITHHELD:
        assert not any(grants.values())
    elif type in SHARED:
        assert {letter for letter, found in grants.items() if found} == {"r", "s"}
        assert grants["r"] == grants["s"] == (Grant(type),)
    else:
        never = {letter for writers in WRITTEN_BY.get(type, ()) if not writers.record for letter in writers.letters}
        assert {letter for letter, found in grants.items() if not found} == never
        for letter, found in grants.items():
            for grant in found:
                if grant.free:
                    assert type == FREE and letter in "rs"
                elif type in BY_PATIENT:
                    [clause] = grant.clauses
                    assert (clause.parameter.code, clause.terms[0].value[0]) == ("patient", "Patient/1")
                else:
                    assert grant.compartment is not None and grant.compartment.patient == "1"


@pytest.mark.parametrize("type", sorted(BY_PATIENT))
def test_types_that_are_found_by_their_patient_have_such_a_parameter(type: str) -> None:
    """The parameter `patient` exists and leads to Patients."""
    assert "Patient" in registry().of(type)["patient"].targets
