"""What becomes of a token: its scopes, within what the user's role may ever do."""

import pytest

from fhir_server.access.decision import LETTERS, Decision, Reach
from fhir_server.access.granting import decision_of
from fhir_server.access.narrowing import problem
from search.query import Compartment, Grant
from smart_auth.access import Access


def decided(scopes: str, role: str = "", patient: str = "", own: tuple[str, ...] = (), fhir_user: str = "") -> Decision:
    return decision_of(Access("anna", "app", scopes, 0, role=role, patient=patient, fhir_user=fhir_user), own, ())


def reached(decision: Decision, type: str) -> str:
    """The letters that reach any document of the type, those that reach all of them as capitals."""
    found = ""
    for letter in LETTERS:
        reach = decision.letter(letter)
        if reach is None or reach.whole(type):
            found += letter.upper()
        elif reach.of(type):
            found += letter
    return found


TOKENS = [
    ("system/*.cruds", "", "Observation", "CRUDS"),
    ("system/*.rs", "", "AuditEvent", "RS"),
    ("system/Patient.read", "", "Observation", ""),
    ("system/Patient.write", "", "Patient", "CUD"),
    ("system/*.cruds", "practitioner", "Patient", ""),
    ("system/*.cruds", "admin", "Patient", ""),
    ("user/*.cruds", "practitioner", "Patient", "CRUDS"),
    ("user/*.cruds", "practitioner", "AuditEvent", ""),
    ("user/*.cruds", "practitioner", "SearchParameter", "RS"),
    ("user/*.cruds", "admin", "SearchParameter", "CRUDS"),
    ("user/*.rs", "admin", "AuditEvent", "RS"),
    ("user/*.cruds", "analyst", "Patient", "RS"),
    ("user/*.cruds", "auditor", "AuditEvent", "RS"),
    ("user/*.cruds", "auditor", "Observation", ""),
    ("user/*.cruds", "front-desk", "Appointment", "CRUDS"),
    ("user/*.cruds", "front-desk", "Practitioner", "RS"),
    ("user/*.cruds", "front-desk", "Observation", ""),
    ("user/*.cruds", "", "Patient", ""),
    ("user/*.cruds", "somebody", "Patient", ""),
    ("patient/*.rs", "somebody", "Patient", ""),
    ("user/Observation.rs?category=laboratory", "practitioner", "Observation", "rs"),
    ("user/Observation.rs?category=laboratory user/Observation.s", "practitioner", "Observation", "rS"),
    ("user/Observation.rs?subject.name=anna", "practitioner", "Observation", ""),
    ("user/Nonsense.rs", "practitioner", "Nonsense", ""),
    ("openid fhirUser", "practitioner", "Practitioner", ""),
]


@pytest.mark.parametrize(("scopes", "role", "type", "letters"), TOKENS)
def test_scopes_within_the_role(scopes: str, role: str, type: str, letters: str) -> None:
    """[G6] Letters by letters, types by types: never more than the scope, never more than the role, nothing for who is unknown."""
    assert reached(decided(scopes, role), type) == letters


@pytest.mark.parametrize(
    ("scopes", "patient", "own", "records"),
    [
        ("patient/Observation.rs", "1", ("1",), {"1"}),
        ("user/Observation.rs", "", ("1",), {"1"}),
        ("user/Observation.rs", "", ("1", "2"), {"1", "2"}),
        ("patient/Observation.rs", "2", ("1", "2"), {"2"}),
        ("patient/Observation.rs", "2", ("1",), set()),
        ("patient/Observation.rs", "", ("1",), set()),
        ("patient/Observation.rs user/Observation.rs", "2", (), set()),
    ],
)
def test_patients_reach_their_own_record(scopes: str, patient: str, own: tuple[str, ...], records: set[str]) -> None:
    """Whatever patient a token of the role patient names, and whatever level its scopes have: only the user's own records."""
    reach = decided(scopes, "patient", patient, own).read
    assert reach is not None
    found = [grant.compartment for grant in reach.of("Observation")]
    assert {compartment.patient for compartment in found if compartment is not None} == records
    assert None not in found


@pytest.mark.parametrize("patient", ["1,Patient/2", "", "1 2", "../2", "*"])
def test_an_id_that_is_none_gives_nothing(patient: str) -> None:
    """Whoever made the token: what cannot be a patient's id stands for no record, and not for two."""
    decision = decided("patient/*.cruds", patient=patient)
    assert {reached(decision, type) for type in ("Patient", "Observation", "Task")} == {""}


def test_users_read_who_they_are() -> None:
    """[F7] openid and fhirUser give the one resource that stands for the user, to be read and nothing else."""
    decision = decided("openid fhirUser", "practitioner", fhir_user="Practitioner/7")
    assert reached(decision, "Practitioner") == "r"
    assert reached(decided("openid", "practitioner", fhir_user="Practitioner/7"), "Practitioner") == ""


@pytest.mark.parametrize(
    ("scopes", "role", "administers"),
    [
        ("system/*.cruds", "", True),
        ("system/SearchParameter.cu", "", True),
        ("system/*.rs", "", False),
        ("user/*.cruds", "admin", True),
        ("user/*.rs", "admin", False),
        ("user/*.cruds", "practitioner", False),
    ],
)
def test_who_administers(scopes: str, role: str, administers: bool) -> None:
    """$reindex is for those who may write SearchParameters."""
    assert decided(scopes, role).administers is administers


def test_only_whole_access_needs_no_views() -> None:
    """What keeps nothing back is told from what keeps anything back."""
    assert decided("system/*.cruds").everything
    for scopes in ("system/*.crud", "system/*.rs", "system/Patient.cruds", "patient/*.cruds"):
        assert not decided(scopes, patient="1").everything


def test_what_a_mark_tells_apart() -> None:
    """The same scopes for the same patient have one mark, and nothing else has it."""
    marks = [
        decided("patient/*.rs", patient="1").mark,
        decided("patient/*.rs", patient="2").mark,
        decided("patient/*.r", patient="1").mark,
        decided("patient/*.rs", "patient", "1", ("1",)).mark,
    ]
    assert len(set(marks)) == 4
    assert decided("patient/*.rs", patient="1").mark == marks[0]


def test_reaches_can_be_joined() -> None:
    """What one of two reaches has, both have together, and no more."""
    narrow = Reach({"Observation": (Grant("Observation", Compartment("1")),), "Patient": (Grant("Patient", Compartment("1")),)})
    both = narrow.joined(Reach({"Observation": (Grant("Observation"),)}))
    assert both.whole("Observation") and not both.whole("Patient")
    assert both.of("Patient") == narrow.of("Patient") and set(both.by_type) == {"Observation", "Patient"}


@pytest.mark.parametrize(
    ("type", "name", "value", "fits"),
    [
        ("Observation", "category", "laboratory", True),
        ("Observation", "category", "http://terminology.hl7.org/CodeSystem/observation-category|laboratory,vital-signs", True),
        ("Observation", "code:text", "glucose", True),
        ("Observation", "status:not", "cancelled", True),
        ("Observation", "date", "ge2024", True),
        ("Observation", "code-value-quantity", "1234$gt5", True),
        ("Observation", "_tag", "http://a|b", True),
        ("Observation", "_id", "1", True),
        ("Observation", "subject", "Patient/1", True),
        ("Observation", "subject.name", "anna", False),
        ("Observation", "subject:Patient.name", "anna", False),
        ("Patient", "_has:Observation:patient:code", "1", False),
        ("Observation", "_filter", "code eq 1", False),
        ("Observation", "_text", "anna", False),
        ("Observation", "_list", "1", False),
        ("Observation", "_include", "Observation:subject", False),
        ("Observation", "_count", "5", False),
        ("Observation", "_sort", "date", False),
        ("Observation", "category", "", False),
        ("Observation", "nonsense", "1", False),
        ("Observation", "date", "yesterday", False),
        ("Observation", "code:in", "http://example.org/ValueSet/a", False),
        ("Nonsense", "code", "1", False),
    ],
)
def test_what_can_narrow_a_scope(type: str, name: str, value: str, fits: bool) -> None:
    """Parameters of the type with plain values. What is not understood is never given out, and gives nothing."""
    assert (problem(type, ((name, value),), ()) is None) is fits
    beside = problem(type, (("_id", "1"), (name, value)), ())
    assert (beside is None) is fits
