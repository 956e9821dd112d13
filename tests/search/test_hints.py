"""What a query may not mean as it is written."""

import difflib
import sys
from types import FrameType

import pytest

from resources.outcomes import FhirError
from search.parameters import registry
from search.parse import parse
from search.query import Parsed


def read(query: str, type: str = "Patient") -> Parsed:
    return parse(type, query, parameters=registry(), base_url="http://here/fhir", max_count=100)


@pytest.mark.parametrize(
    ("type", "query", "says"),
    [
        ("Patient", "gender=femal", "did you mean female"),
        ("Patient", "gender=x,male", "there are female, male, other, unknown"),
        ("Observation", "status=finl&patient.gender=male", "did you mean final"),
        ("Observation", "patient.gender=mal", "did you mean male"),
        ("Observation", "_filter=status eq finl", "did you mean final"),
        ("Patient", "_elements=nme", "did you mean name"),
        ("Patient", "_elements=Patient.nme", "did you mean name"),
        ("Observation", "_elements=valueQuantit", "did you mean valueQuantity"),
        ("Patient", "_count=101", "cut to 100"),
        ("Patient", "active=yes", "there are false, true"),
        ("Observation", "status=http://x|final", "they are of http://hl7.org/fhir/observation-status"),
        ("Patient", "active=http://x|true", "of the system 'http://x'"),
        ("Observation", "value-quantity=5.4|http://unitsofmeasure.org|mgg", "did you mean mg?"),
    ],
)
def test_told(type: str, query: str, says: str) -> None:
    """Codes that nothing can have, elements that do not exist and pages that are cut are told, not refused."""
    [hint] = read(query, type).hints
    assert says in hint


@pytest.mark.parametrize(
    ("type", "query"),
    [
        ("Patient", "gender=male&gender:not=http://hl7.org/fhir/administrative-gender|female&gender:missing=true"),
        ("Observation", "code=whatever"),
        ("Observation", "code=http://x|whatever"),
        ("Patient", "active=true&active=http://hl7.org/fhir/special-values|false&deceased:not=true"),
        ("Observation", "value-quantity=5.4|http://unitsofmeasure.org|mg&value-quantity=1||mgg&value-quantity=1|urn:x|mgg"),
        ("Observation", "value-quantity:missing=true&status=|final"),
        ("Patient", "_elements=name,Patient.active,deceasedBoolean,id,meta"),
        ("Observation", "_elements=status,name&_include=Observation:patient"),
        ("Patient", "_count=100"),
    ],
)
def test_nothing_to_tell(type: str, query: str) -> None:
    """What can be meant is left alone."""
    assert read(query, type).hints == ()


def test_summary_before_elements() -> None:
    """Both together cannot be had: _elements is ignored, and that is told."""
    found = read("_summary=true&_elements=name")
    assert found.elements == () and found.ignored == (("_elements", "_summary says already what is shown"),)
    assert found.applied == (("_summary", "true"),)
    assert read("_summary=false&_elements=name").elements == ("name",)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("_coun=5", "did you mean _count"),
        ("_filtr=x", "did you mean _filter"),
        ("_includ=Patient:link", "did you mean _include"),
        ("name:exat=x", "did you mean exact"),
        ("organization:Organisation=1", "did you mean Organization"),
        ("general-practitioner:Practitionr.name=x", "did you mean Practitioner"),
        ("_has:Observaton:patient:code=1", "did you mean Observation"),
    ],
)
def test_did_you_mean(query: str, says: str) -> None:
    """What is refused because it is misspelled says what is close."""
    with pytest.raises(FhirError) as refused:
        read(query)
    assert says in refused.value.issues[0].text


@pytest.mark.parametrize(
    ("type", "query"),
    [
        ("List", "&".join(f"item.name{n}=x" for n in range(200))),
        ("List", "&".join(f"item.subject.name{n}=x" for n in range(200))),
        ("List", "&".join(f"item.subject:Patient{n}.name=x" for n in range(20))),
        ("List", "&".join(f"item._has:Observation{n}:patient:code=x" for n in range(200))),
        ("Observation", "&".join(f"subject.organization.name{n}=x" for n in range(200))),
        ("Patient", "_sort=" + ",".join(f"birthdate{n}" for n in range(5000))),
        ("Patient", "_elements=" + ",".join(f"name{n}" for n in range(5000))),
        ("Patient", "gender=" + ",".join(f"male{n}" for n in range(1000))),
        ("Observation", "value-quantity=" + ",".join(f"5|http://unitsofmeasure.org|mgg{n}" for n in range(1000))),
    ],
)
def test_what_may_be_meant_is_not_looked_for_thousands_of_times(type: str, query: str) -> None:
    """However much is misspelled: no name is compared for a sentence that nobody is shown, and none twice with the same ones."""
    compared = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal compared
        compared += event == "call" and frame.f_code is difflib.get_close_matches.__code__

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        read(query, type)
    except FhirError:
        pass
    finally:
        sys.setprofile(before)
    assert compared <= 400
