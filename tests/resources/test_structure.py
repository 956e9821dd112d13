"""Structure: what is no JSON or no resource is 400, what is a wrong resource is a list of problems; fhirkit and fhir.resources alike."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from resources.models import ModelValidator, model
from resources.outcomes import FhirError
from resources.structure import MOST, FhirkitValidator, StructuralValidator, check, validator

BOTH: list[StructuralValidator] = [FhirkitValidator(), ModelValidator()]
by_validator = pytest.mark.parametrize("judge", BOTH, ids=["fhirkit", "fhir.resources"])

UNREADABLE: list[tuple[str, bytes, str]] = [
    ("empty", b"", "body"),
    ("cut off", b'{"resourceType":"Patient"', "line 1, column 26"),
    ("bad literal", b'{"resourceType":"Patient",\n "active":tru}', "line 2, column 11"),
    ("something after it", b'{"resourceType":"Patient"} x', "line 1, column 28"),
    ("not UTF-8", b'{"resourceType":"Patient","language":"\xff"}', "UTF-8"),
    ("a key twice", b'{"resourceType":"Patient","id":"a","id":"b"}', "more than once"),
    ("an inner key twice", b'{"resourceType":"Patient","name":[{"use":"usual","use":"old"}]}', "more than once"),
    ("nested too deeply", b'{"resourceType":"Patient","extension":' + b'[{"extension":' * 900 + b"1" + b"}]" * 900 + b"}", "deep"),
    ("a list", b"[]", "FHIR"),
    ("no resourceType", b'{"id":"a"}', "resourceType"),
]


@by_validator
@pytest.mark.parametrize(("body", "words"), [row[1:] for row in UNREADABLE], ids=[row[0] for row in UNREADABLE])
def test_what_cannot_be_read_is_400(judge: StructuralValidator, body: bytes, words: str) -> None:
    """FhirError 400 with a sentence; line and column where they are known."""
    with pytest.raises(FhirError) as caught:
        judge.check(body)
    assert caught.value.status == 400
    assert words in str(caught.value)


WRONG: list[tuple[str, bytes, str]] = [
    ("unknown element", b'{"resourceType":"Patient","x":1}', "Patient.x"),
    ("number for a string", b'{"resourceType":"Patient","name":[{"family":3}]}', "Patient.name[0].family"),
    ("null", b'{"resourceType":"Patient","birthDate":null}', "Patient.birthDate"),
    ("missing element", b'{"resourceType":"Patient","link":[{"type":"seealso"}]}', "Patient.link[0].other"),
    ("element of a list item", b'{"resourceType":"Patient","name":[{},{"given":["a"],"x":1}]}', "Patient.name[1].x"),
]


@by_validator
@pytest.mark.parametrize(("body", "where"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_resource_gives_issues_with_their_place(judge: StructuralValidator, body: bytes, where: str) -> None:
    """Errors, each with the expression of the element."""
    found = judge.check(body)
    assert where in {issue.expression for issue in found}
    assert {issue.severity for issue in found} == {"error"}


def test_a_wrong_value_is_one_problem() -> None:
    """A value that was set aside as wrong is not also told as missing; a text names the underscore of what stands beside a value."""
    for body in (b'{"resourceType":"Flag","code":[]}', b'{"resourceType":"Patient","meta":{"profile":["not a url"]}}'):
        told = [issue.expression for issue in FhirkitValidator().check(body)]
        assert len(told) == len(set(told))
    [uneven, _] = FhirkitValidator().check(b'{"resourceType":"Patient","name":[{"given":["a"],"_given":[null,null]}]}')
    assert uneven.text.startswith("Patient.name[0]._given: has 2") and uneven.expression == "Patient.name[0].given"


@by_validator
def test_a_good_resource_has_no_issues(judge: StructuralValidator) -> None:
    """Also with a byte order mark in front."""
    body = b'{"resourceType":"Patient","name":[{"family":"x","given":["a",null],"_given":[null,{"id":"1"}]}]}'
    assert judge.check(body) == judge.check(b"\xef\xbb\xbf" + body) == []


def test_paths_of_fhirkit_are_made_fhirpath() -> None:
    """`_given[1]` is written `given[1]`, `multipleBirth[x]` `multipleBirth`."""
    body = b'{"resourceType":"Patient","name":[{"given":["a"],"_given":[{"x":1}]}],"multipleBirthBoolean":true,"multipleBirthInteger":2}'
    found = {issue.expression for issue in check(body)}
    assert {"Patient.name[0].given[0].x", "Patient.multipleBirth"} <= found


def test_the_number_of_issues_is_bounded() -> None:
    """A body with thousands of faults does not get thousands of issues; the rest is counted."""
    body = b'{"resourceType":"Patient",' + b",".join(b'"x%d":1' % n for n in range(5000)) + b"}"
    found = check(body)
    assert len(found) == MOST + 1
    assert "4900 further" in found[-1].text


def test_without_fhirkit_the_models_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fhirkit has no wheel, the same door leads to fhir.resources."""
    monkeypatch.setitem(sys.modules, "fhirkit", None)
    validator.cache_clear()
    try:
        assert isinstance(validator(), ModelValidator)
    finally:
        validator.cache_clear()


def test_unknown_types_have_no_model() -> None:
    """KeyError names the type."""
    with pytest.raises(KeyError, match="Foo"):
        model("Foo")


def test_types_that_r4b_lacks_are_warned_of() -> None:
    """fhir.resources cannot judge 12 types of R4, and says so instead of refusing them."""
    [issue] = ModelValidator().check(b'{"resourceType":"EffectEvidenceSynthesis"}')
    assert issue.severity == "warning"


def test_models_build_resources() -> None:
    """The typed models are there for code that builds resources."""
    patient = model("Patient")(active=True)
    assert patient.active is True


def test_both_validators_accept_the_official_examples_of_what_this_server_is_about() -> None:
    """A second opinion: Patient, Practitioner, Appointment, Schedule and Slot examples pass both."""
    wanted = {"Patient", "Practitioner", "Appointment", "Schedule", "Slot"}
    count = 0
    with gzip.open(Path(__file__).parents[1] / "data" / "r4-examples.ndjson.gz", "rt", encoding="utf-8") as file:
        for line in file:
            resource = json.loads(line)["resource"]
            if resource["resourceType"] in wanted:
                count += 1
                body = json.dumps(resource).encode()
                assert [judge.check(body) for judge in BOTH] == [[], []]
    assert count > 20
