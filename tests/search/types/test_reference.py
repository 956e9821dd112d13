"""Reference parameters."""

import pytest

from conformance.load import definitions
from search.parameters import registry
from search.query import Modifier
from search.types import reference
from search.types.text import BadValue, Reading, bases_of
from search.values import ReferenceValue

BASE = "http://127.0.0.1:8000/fhir"
OWN = bases_of(BASE)
READING = Reading(OWN, 0)
SUBJECT = registry().of("Observation")["subject"]
PATIENT = registry().of("Observation")["patient"]
CANONICAL = registry().of("RequestGroup")["instantiates-canonical"]


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("Patient/23", "Patient/23"),
        (f"{BASE}/Patient/23", "Patient/23"),
        ("Patient/23/_history/4", "Patient/23"),
        (f"{BASE}/Patient/23/_history/4", "Patient/23"),
        ("http://elsewhere.org/fhir/Patient/23", "http://elsewhere.org/fhir/Patient/23"),
        (f"{BASE}2/Patient/23", f"{BASE}2/Patient/23"),
        (f"{BASE}/Nonsense/23", f"{BASE}/Nonsense/23"),
        ("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", "urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0"),
        ("Practitioner/a.b-C", "Practitioner/a.b-C"),
    ],
)
def test_addresses(asked: str, target: str) -> None:
    """Own base and version are cut off, in queries and in documents."""
    [term] = reference.parse(asked, SUBJECT, Modifier.NONE, READING)
    assert term.value == ReferenceValue(target) and term.types == ()
    convert = reference.converter("Reference", OWN)
    assert convert is not None
    assert list(convert([{"reference": asked}])) == [ReferenceValue(target)]


def test_several_own_bases() -> None:
    """Each URL that means this server is cut off, in queries and in documents."""
    own = bases_of((BASE, "https://fhir.example.org/fhir/"))
    convert = reference.converter("Reference", own)
    assert convert is not None
    for base in (BASE, "https://fhir.example.org/fhir"):
        [term] = reference.parse(f"{base}/Patient/23", SUBJECT, Modifier.NONE, Reading(own, 0))
        assert term.value == ReferenceValue("Patient/23")
        assert list(convert([{"reference": f"{base}/Patient/23"}])) == [ReferenceValue("Patient/23")]


def test_the_base_that_was_asked() -> None:
    """Below a base that was asked but is not known to mean this server, a reference is both: relative, and as it was written."""
    reading = Reading(OWN, 0, "http://ehr/fhir/")
    terms = reference.parse("http://ehr/fhir/Patient/23/_history/2", SUBJECT, Modifier.NONE, reading)
    assert {str(term.value[0]) for term in terms} == {"Patient/23", "http://ehr/fhir/Patient/23"}
    assert len(reference.parse("http://ehr/Patient/23", SUBJECT, Modifier.NONE, reading)) == 1
    assert len(reference.parse("http://ehr/fhir/Nonsense/23", SUBJECT, Modifier.NONE, reading)) == 1


@pytest.mark.parametrize(
    ("held", "matches"),
    [("Patient/23", True), ("Group/23", True), ("Patient/24", False), ("Practitioner/23", False), ("http://x/Patient/23", False)],
)
def test_bare_id(held: str, matches: bool) -> None:
    """An id alone means any of the types that the parameter may point to."""
    [term] = reference.parse("23", SUBJECT, Modifier.NONE, READING)
    assert set(term.types) == {"Patient", "Group", "Device", "Location"}
    assert reference.match(term, Modifier.NONE, ReferenceValue(held)) is matches


def test_bare_id_with_one_type() -> None:
    """Where there is but one type, the id alone is the whole address."""
    [term] = reference.parse("23", PATIENT, Modifier.NONE, READING)
    assert term.value == ReferenceValue("Patient/23") and term.types == ()


def test_bare_id_without_declared_types() -> None:
    """A parameter that may point to anything takes all types."""
    [term] = reference.parse("23", CANONICAL, Modifier.NONE, READING)
    assert term.types == definitions().resource_types


@pytest.mark.parametrize(
    ("asked", "target"), [("23", "Patient/23"), ("Patient/23", "Patient/23"), ("http://x/Patient/1", "http://x/Patient/1")]
)
def test_typed(asked: str, target: str) -> None:
    """`subject:Patient=23` is Patient/23."""
    [term] = reference.parse_typed(asked, SUBJECT, "Patient", READING)
    assert term.value == ReferenceValue(target)


def test_typed_contradiction() -> None:
    """`subject:Patient=Group/1` can find nothing."""
    with pytest.raises(BadValue, match="no Patient"):
        reference.parse_typed("Group/1", SUBJECT, "Patient", READING)


@pytest.mark.parametrize("text", ["", "Nonsense/1", "Patient/", "/Patient/1", "Patient/1/name", "a b", "#x", "Patient?a=1", "../x"])
def test_refused(text: str) -> None:
    """What is no address of a resource is refused."""
    with pytest.raises(BadValue, match="no reference"):
        reference.parse(text, SUBJECT, Modifier.NONE, READING)


@pytest.mark.parametrize(
    ("fhir_type", "value", "targets"),
    [
        ("Reference", {"reference": "#contained"}, []),
        ("Reference", {"display": "Somebody"}, []),
        ("Reference", {"identifier": {"value": "1"}}, []),
        ("Reference", {"reference": "Patient?identifier=1"}, []),
        ("Reference", {"reference": "Nonsense/1"}, []),
        ("uri", "http://x/a", ["http://x/a"]),
        ("canonical", "http://x/a", ["http://x/a"]),
        ("canonical", "http://x/a|1.0", ["http://x/a|1.0", "http://x/a"]),
        ("canonical", f"{BASE}/Questionnaire/1|2", ["Questionnaire/1|2", "Questionnaire/1"]),
        ("canonical", "#contained", []),
        ("Resource", {"resourceType": "Composition", "id": "1"}, ["Composition/1"]),
        ("Resource", {"resourceType": "Composition"}, []),
    ],
)
def test_extraction(fhir_type: str, value: object, targets: list[str]) -> None:
    """Literal references only; a canonical with and without its version."""
    convert = reference.converter(fhir_type, OWN)
    assert convert is not None
    assert list(convert([value])) == [ReferenceValue(target) for target in targets]


def test_attachments_are_no_references() -> None:
    """Consent.sourceAttachment is not searched as a reference."""
    assert reference.converter("Attachment", OWN) is None
