"""Every rule beyond structure, one violating document each: what is found, how bad it is, and exactly where.

https://hl7.org/fhir/R4/validation.html
"""

import json
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pytest

from conformance.load import definitions
from conformance.validate import MOST, Validator
from resources.documents import decode
from resources.outcomes import Issue

Json = dict[str, Any]


@lru_cache(maxsize=1)
def validator() -> Validator:
    return Validator(definitions())


def check(document: Json) -> list[Issue]:
    """All that is found, but for the advice to have narrative."""
    found = validator().check(document["resourceType"], document)
    return [issue for issue in found if "dom-6" not in issue.text]


def patient(**members: Any) -> Json:
    return {"resourceType": "Patient", **members}


def observation(**members: Any) -> Json:
    return {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, **members}


def extension(**members: Any) -> Json:
    return patient(extension=[{"url": "http://example.org/e", **members}])


def only(document: Json) -> tuple[str, str | None, str]:
    """Severity, expression and text of the one issue of a document."""
    [issue] = check(document)
    return issue.severity, issue.expression, issue.text


REFUSED: list[tuple[str, Json, str, str]] = [
    # (what, document, where, words of the message)
    ("id with underscore", patient(id="a_b"), "Patient.id", "no id"),
    ("id with space", patient(id="a b"), "Patient.id", "no id"),
    ("id too long", patient(id="a" * 65), "Patient.id", "65 characters"),
    ("element id with space", patient(name=[{"id": "a b", "text": "x"}]), "Patient.name[0].id", "space"),
    ("date not in the calendar", patient(birthDate="2023-02-30"), "Patient.birthDate", "calendar"),
    ("29 February of no leap year", patient(birthDate="2023-02-29"), "Patient.birthDate", "calendar"),
    ("year 0000", patient(birthDate="0000"), "Patient.birthDate", "0000"),
    ("year 0000 with a day", patient(birthDate="0000-01-01"), "Patient.birthDate", "0000"),
    ("dateTime not in the calendar", patient(deceasedDateTime="2023-04-31T10:00:00Z"), "Patient.deceased", "calendar"),
    ("instant not in the calendar", observation(issued="2023-02-30T10:00:00Z"), "Observation.issued", "calendar"),
    ("decimal out of range", observation(valueQuantity={"value": Decimal("1e400")}), "Observation.value.value", "range"),
    ("integer-like decimal out of range", observation(valueQuantity={"value": 10**400}), "Observation.value.value", "range"),
    ("decimal beyond all floats", observation(valueQuantity={"value": Decimal("2e308")}), "Observation.value.value", "at most"),
    ("integer beyond all floats", observation(valueQuantity={"value": 2 * 10**308}), "Observation.value.value", "at most"),
    ("decimal too small", observation(valueQuantity={"value": Decimal("1e-400")}), "Observation.value.value", "close to zero"),
    ("negative one too small", observation(valueQuantity={"value": Decimal("-9e-309")}), "Observation.value.value", "close to zero"),
    ("NUL in a string", patient(name=[{"family": "a\0b"}]), "Patient.name[0].family", "U+0000"),
    ("control character in a list", patient(name=[{"given": ["ok", "a\x1bb"]}]), "Patient.name[0].given[1]", "U+001B"),
    ("NUL in a code", patient(language="d\0e"), "Patient.language", "U+0000"),
    ("only white space", patient(name=[{"family": "  \n"}]), "Patient.name[0].family", "white space"),
    ("string over 1 MB", patient(name=[{"family": "a" * 1_048_577}]), "Patient.name[0].family", "1 MB"),
    ("Identifier.system relative", patient(identifier=[{"system": "mrn", "value": "1"}]), "Patient.identifier[0].system", "absolute"),
    ("Coding.system relative", observation(method={"coding": [{"system": "x/y", "code": "1"}]}), "Observation.method.coding[0].system",
     "absolute"),
    ("Coding.system a ValueSet", observation(method={"coding": [{"system": "http://hl7.org/fhir/ValueSet/x", "code": "1"}]}),
     "Observation.method.coding[0].system", "ValueSet"),
    ("meta.profile relative", patient(meta={"profile": ["http://example.org/p", "Patient"]}), "Patient.meta.profile[1]", "profile"),
    ("urn:uuid malformed", patient(identifier=[{"system": "urn:uuid:12"}]), "Patient.identifier[0].system", "no UUID"),
    ("urn:oid malformed", patient(identifier=[{"system": "urn:oid:9.9"}]), "Patient.identifier[0].system", "no OID"),
    ("code not bound", patient(gender="mail"), "Patient.gender", "female, male"),
    ("code in a list not bound", {"resourceType": "HealthcareService", "availableTime": [{"daysOfWeek": ["mon", "tu"]}]},
     "HealthcareService.availableTime[0].daysOfWeek[1]", "required binding"),
    ("CodeableConcept not bound", {"resourceType": "Condition", "subject": {"reference": "Patient/1"}, "clinicalStatus": {"coding": [
        {"system": "http://example.org/s", "code": "active"}]}}, "Condition.clinicalStatus", "required binding"),
    ("CodeableConcept bound but text only", {"resourceType": "Condition", "subject": {"reference": "Patient/1"},
     "clinicalStatus": {"text": "active"}}, "Condition.clinicalStatus", "needs a coding"),
    ("code that its FHIR system lacks", observation(method={"coding": [{"system": "http://hl7.org/fhir/administrative-gender",
     "code": "x"}]}), "Observation.method.coding[0].code", "is not a code of"),
    ("reference without id", observation(subject={"reference": "Patient"}), "Observation.subject.reference", "no reference"),
    ("reference to an unknown type", observation(subject={"reference": "Foo/1"}), "Observation.subject.reference", "no resource type"),
    ("reference and type differ", observation(subject={"reference": "Patient/1", "type": "Group"}), "Observation.subject.type", "Group"),
    ("#x not contained", observation(subject={"reference": "#p"}), "Observation.subject.reference", "ref-1"),
    ("contained without id", patient(contained=[{"resourceType": "Organization", "name": "x"}]), "Patient.contained[0].id", "id"),
    ("contained not referred to", patient(contained=[{"resourceType": "Organization", "id": "o", "name": "x"}]), "Patient.contained[0]",
     "dom-3"),
    ("contained id malformed", patient(contained=[{"resourceType": "Organization", "id": "o_", "name": "x"}],
     managingOrganization={"reference": "#o_"}), "Patient.contained[0].id", "no id"),
    ("contained twice", patient(contained=[{"resourceType": "Organization", "id": "o", "name": n} for n in "ab"],
     managingOrganization={"reference": "#o"}), "Patient.contained[1].id", "two contained"),
    ("contained with a version", patient(contained=[{"resourceType": "Organization", "id": "o", "name": "x", "meta": {"versionId": "1"}}],
     managingOrganization={"reference": "#o"}), "Patient.contained[0].meta.versionId", "dom-4"),
    ("contained with security labels", patient(contained=[{"resourceType": "Organization", "id": "o", "name": "x", "meta": {"security": [
        {"code": "R"}]}}], managingOrganization={"reference": "#o"}), "Patient.contained[0].meta.security", "dom-5"),
    ("narrative with script", patient(text={"status": "generated", "div":
     '<div xmlns="http://www.w3.org/1999/xhtml">a<script>b</script></div>'}), "Patient.text.div", "script"),
    ("empty object", patient(maritalStatus={}), "Patient.maritalStatus", "ele-1"),
    ("object with an id only", patient(name=[{"id": "a"}]), "Patient.name[0]", "ele-1"),
    ("empty object beside a primitive", patient(birthDate="2000", _birthDate={}), "Patient.birthDate", "ele-1"),
    ("extension without value", extension(), "Patient.extension[0]", "ext-1"),
    ("extension with both", extension(valueString="x", extension=[{"url": "a", "valueString": "x"}]), "Patient.extension[0]", "ext-1"),
    ("nested extension without value", extension(extension=[{"url": "a"}]), "Patient.extension[0].extension[0]", "ext-1"),
    ("extension url relative", patient(extension=[{"url": "e", "valueString": "x"}]), "Patient.extension[0].url", "absolute"),
    ("extension url with version", patient(extension=[{"url": "http://e.org/e|1", "valueString": "x"}]), "Patient.extension[0].url",
     "version"),
    ("extension of a primitive", patient(_birthDate={"extension": [{"url": "e", "valueString": "x"}]}),
     "Patient.birthDate.extension[0].url", "absolute"),
    ("extension of a primitive in a list", patient(name=[{"given": ["a", "b"], "_given": [None, {"extension": [{"url": "http://e.org"}]}]}]),
     "Patient.name[0].given[1].extension[0]", "ext-1"),
    ("attachment size", patient(photo=[{"contentType": "image/png", "data": "aGVscCBpJ20gYSBidWc=", "size": 100}]),
     "Patient.photo[0].size", "14"),
    ("fhir_comments", patient(name=[{"family": "x", "fhir_comments": ["c"]}]), "Patient.name[0].fhir_comments", "fhir_comments"),
    ("invariant of the resource", {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "valueString": "x",
     "dataAbsentReason": {"text": "y"}}, "Observation", "obs-6"),
    ("invariant of a backbone element", patient(contact=[{"gender": "male"}]), "Patient.contact[0]", "pat-1"),
    ("invariant of a data type", observation(valueQuantity={"value": 1, "code": "kg"}), "Observation.value", "qty-3"),
    ("period turned round", observation(effectivePeriod={"start": "2020-02-01", "end": "2020-01-01"}), "Observation.effective", "per-1"),
    ("period of mixed precision that cannot be compared", observation(effectivePeriod={"start": "2020-02-01",
     "end": "2020-02-01T10:00:00Z"}), "Observation.effective", "per-1"),
    ("que-12 as meant", {"resourceType": "Questionnaire", "status": "draft", "item": [{"linkId": "1", "type": "string"}, {"linkId": "2",
     "type": "string", "enableWhen": [{"question": "1", "operator": "exists", "answerBoolean": True}] * 2}]},
     "Questionnaire.item[1]", "que-12"),
    ("que-7 as meant", {"resourceType": "Questionnaire", "status": "draft", "item": [{"linkId": "1", "type": "string"}, {"linkId": "2",
     "type": "string", "enableWhen": [{"question": "1", "operator": "exists", "answerInteger": 1}]}]},
     "Questionnaire.item[1].enableWhen[0]", "que-7"),
    ("ras-2", {"resourceType": "RiskAssessment", "status": "final", "subject": {"reference": "Patient/1"},
     "prediction": [{"probabilityDecimal": Decimal("100.5")}]}, "RiskAssessment.prediction[0]", "ras-2"),
    ("tim-9 with several times of day", {"resourceType": "MedicationRequest", "status": "active", "intent": "order",
     "medicationCodeableConcept": {"text": "x"}, "subject": {"reference": "Patient/1"}, "dosageInstruction": [{"timing": {"repeat": {
     "offset": 10, "when": ["AC", "CM"]}}}]}, "MedicationRequest.dosageInstruction[0].timing.repeat", "tim-9"),
    ("Bundle.fullUrl relative", {"resourceType": "Bundle", "type": "collection", "entry": [{"fullUrl": "Patient/1", "resource":
     patient(id="1")}]}, "Bundle.entry[0].fullUrl", "absolute"),
    ("Bundle.fullUrl with a version", {"resourceType": "Bundle", "type": "collection", "entry": [{"fullUrl":
     "http://e.org/Patient/1/_history/1", "resource": patient(id="1")}]}, "Bundle.entry[0]", "bdl-8"),
    ("Bundle entries the same", {"resourceType": "Bundle", "type": "collection", "entry": [{"fullUrl": "http://e.org/Patient/1", "resource":
     patient(id="1")}] * 2}, "Bundle", "bdl-7"),
    ("Bundle link twice", {"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "self", "url": "http://e.org"}] * 2},
     "Bundle.link[1]", "twice"),
    ("Bundle outcome", {"resourceType": "Bundle", "type": "searchset", "entry": [{"search": {"mode": "outcome"}, "resource":
     patient(id="1")}]}, "Bundle.entry[0].resource", "OperationOutcome"),
    ("Bundle match without id", {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": patient(active=True)}]},
     "Bundle.entry[0].resource.id", "has an id"),
    ("entry of a Bundle", {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": patient(gender="x")}]},
     "Bundle.entry[0].resource.gender", "required binding"),
    ("#x of another entry", {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": patient(contained=[{"resourceType":
     "Organization", "id": "o", "name": "x"}], managingOrganization={"reference": "#o"})}, {"resource": patient(
     managingOrganization={"reference": "#o"})}]}, "Bundle.entry[1].resource.managingOrganization.reference", "ref-1"),
    ("parameter", {"resourceType": "Parameters", "parameter": [{"name": "a", "resource": patient(birthDate="2023-02-30")}]},
     "Parameters.parameter[0].resource.birthDate", "calendar"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "where", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_document_that_breaks_a_rule_is_refused(document: Json, where: str, words: str) -> None:
    """One error, at the exact FHIRPath, in words that say what is wrong."""
    severity, expression, text = only(document)
    assert (severity, expression) == ("error", where)
    assert words in text
    assert text.startswith(f"{where}: ")


WARNED: list[tuple[str, Json, str, str]] = [
    ("reference to another type", observation(subject={"reference": "Practitioner/1"}), "Observation.subject.reference", "Device, Group"),
    ("absolute reference to another type", observation(subject={"reference": "http://e.org/Practitioner/1"}),
     "Observation.subject.reference", "not to Practitioner"),
    ("unknown modifier extension", patient(modifierExtension=[{"url": "http://e.org/e", "valueString": "x"}]),
     "Patient.modifierExtension[0]", "unknown"),
    ("core extension, other value type", patient(extension=[{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
     "valueString": "x"}]), "Patient.extension[0]", "valueAddress"),
    ("core extension, other place", observation(extension=[{"url": "http://hl7.org/fhir/StructureDefinition/patient-birthPlace",
     "valueAddress": {"city": "x"}}]), "Observation.extension[0]", "Patient"),
    ("relative canonical", {"resourceType": "Measure", "status": "draft", "library": ["Library/1"]}, "Measure.library[0]", "absolute"),
    ("upper-case UUID", patient(identifier=[{"system": "urn:uuid:68D043B5-9ECF-4559-A57A-396E0D452311"}]),
     "Patient.identifier[0].system", "lower case"),
    ("code newer than R4", observation(method={"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ZZZZ"}]}),
     "Observation.method.coding[0].code", "published with R4"),
    ("fullUrl of another id", {"resourceType": "Bundle", "type": "collection", "entry": [{"fullUrl": "http://e.org/Patient/2", "resource":
     patient(id="1")}]}, "Bundle.entry[0].fullUrl", "Patient/1"),
    ("invariant that warns", {"resourceType": "Library", "status": "draft", "type": {"text": "x"}, "name": "a b"}, "Library", "lib-0"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "where", "words"), [row[1:] for row in WARNED], ids=[row[0] for row in WARNED])
def test_what_implementers_argue_about_is_warned_of(document: Json, where: str, words: str) -> None:
    """A warning, never an error: the document may be stored."""
    severity, expression, text = only(document)
    assert (severity, expression) == ("warning", where)
    assert words in text


ACCEPTED: list[tuple[str, Json]] = [
    ("noshow with a reason (app-4 as corrected)", {"resourceType": "Appointment", "status": "noshow", "start": "2026-01-01T10:00:00Z",
     "end": "2026-01-01T10:30:00Z", "cancelationReason": {"text": "x"}, "participant": [{"status": "accepted",
     "actor": {"reference": "Patient/1"}}]}),
    ("a value that is an extension", patient(_birthDate={"extension": [{
     "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]})),
    ("29 February of a leap year", patient(birthDate="2024-02-29")),
    ("a second of 60", observation(issued="2016-12-31T23:59:60Z")),
    ("id beside a primitive", patient(birthDate="2024", _birthDate={"id": "a"})),
    ("text with line breaks", patient(name=[{"text": "a\n\tb\r\n"}])),
    ("text in any script", patient(name=[{"text": "Ψ 名\u200d字\u00a0"}])),
    ("HTML in a string", patient(name=[{"text": "<b>x</b> a<b"}])),
    ("conditional reference", observation(subject={"reference": "Patient?identifier=http://e.org|1"})),
    ("version of a reference", observation(subject={"reference": "Patient/1/_history/2"})),
    ("reference by URN", observation(subject={"reference": "urn:uuid:68d043b5-9ecf-4559-a57a-396e0d452311"})),
    ("reference by identifier", observation(subject={"identifier": {"value": "x"}})),
    ("reference to the container", patient(contained=[{"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"},
     "subject": {"reference": "#"}}])),
    ("contained named by a canonical", {"resourceType": "QuestionnaireResponse", "status": "completed", "questionnaire": "#q",
     "contained": [{"resourceType": "Questionnaire", "id": "q", "status": "draft"}]}),
    ("contained named by a contained one", patient(managingOrganization={"reference": "#a"}, contained=[
     {"resourceType": "Organization", "id": "a", "partOf": {"reference": "#b"}, "name": "x"},
     {"resourceType": "Organization", "id": "b", "name": "x"}])),
    ("nested extension with a plain name", extension(extension=[{"url": "a", "valueString": "x"}])),
    ("core extension at its place", patient(birthDate="2000-01-01", _birthDate={"extension": [{
     "url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": "2000-01-01T10:00:00Z"}]})),
    ("code of no required binding", observation(category=[{"coding": [{"system": "http://e.org/s", "code": "x"}]}])),
    ("searchset outcome without id", {"resourceType": "Bundle", "type": "searchset", "entry": [{"search": {"mode": "outcome"}, "resource":
     {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "processing"}]}}]}),
    ("largest number", observation(valueQuantity={"value": Decimal("1.797e308")})),
    ("smallest number", observation(valueQuantity={"value": Decimal("-1e-308")})),
    ("zero with an exponent", observation(valueQuantity={"value": Decimal("0e-500")})),
]  # fmt: skip


@pytest.mark.parametrize("document", [row[1] for row in ACCEPTED], ids=[row[0] for row in ACCEPTED])
def test_what_only_looks_wrong_is_accepted(document: Json) -> None:
    """Nothing is found."""
    assert check(document) == []


@pytest.mark.parametrize("status", ["no-show", "arrived"])
def test_other_statuses_with_a_reason_for_cancelling_are_refused(status: str) -> None:
    """app-4 as corrected still allows the reason for noshow and cancelled only; no-show is no code at all."""
    document = {
        "resourceType": "Appointment", "status": status, "start": "2026-01-01T10:00:00Z", "end": "2026-01-01T10:30:00Z",
        "cancelationReason": {"text": "x"}, "participant": [{"status": "accepted", "actor": {"reference": "Patient/1"}}],
    }  # fmt: skip
    [issue] = check(document)
    assert ("app-4" in issue.text) is (status == "arrived")


def test_nested_contained_resources_are_refused() -> None:
    """A contained resource contains nothing (dom-2), and what it wrongly contains is looked at nevertheless."""
    inner = {"resourceType": "Organization", "id": "b", "name": "x"}
    outer = {"resourceType": "Organization", "id": "a", "name": "x", "contained": [inner], "partOf": {"reference": "#b"}}
    found = {issue.expression for issue in check(patient(contained=[outer], managingOrganization={"reference": "#a"}))}
    assert found == {"Patient.contained[0].contained", "Patient.contained[0].partOf.reference"}


def test_all_problems_are_answered_errors_first() -> None:
    """Nothing stops at the first problem, and what refuses the document comes before what only warns."""
    document = patient(
        id="a_b", gender="x", birthDate="2023-02-30", modifierExtension=[{"url": "http://e.org/e", "valueString": "x"}],
        name=[{"given": ["a", " "]}],
    )  # fmt: skip
    found = check(document)
    assert [issue.severity for issue in found] == ["error"] * 4 + ["warning"]
    expected = {"Patient.id", "Patient.gender", "Patient.birthDate", "Patient.modifierExtension[0]", "Patient.name[0].given[1]"}
    assert {issue.expression for issue in found} == expected


def test_the_number_of_issues_is_bounded() -> None:
    """A hostile document does not get an answer of megabytes; what is left out is counted."""
    found = validator().check("Patient", patient(name=[{"given": [" "] * 1000}]))
    assert len(found) == MOST + 1
    assert "801 further" in found[-1].text
    assert found[-1].severity == "error"


def test_documents_without_narrative_get_advice_once() -> None:
    """dom-6 warns of the document itself, not of contained resources or entries."""
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": patient(active=True)}]}
    assert validator().check("Bundle", bundle) == []
    [issue] = validator().check("Patient", patient(active=True))
    assert (issue.severity, issue.expression) == ("warning", "Patient")


def test_deep_nesting_is_walked() -> None:
    """As deep as structure lets through: the walk does not run out of stack."""
    depth = 120
    body = '{"resourceType":"Patient","extension":' + '[{"url":"http://e.org/e","extension":' * depth
    body += '[{"url":"http://e.org/e","valueString":"x"}]' + "}]" * depth + "}"
    assert check(decode(body.encode())) == []


def test_what_structure_has_refused_does_not_break_the_walk() -> None:
    """Wrong JSON types are structure's to name; the walk passes over them."""
    document = json.loads(
        '{"resourceType":"Patient","id":3,"name":{"family":["x"]},"birthDate":[1],"identifier":"x","text":{"div":1},'
        '"contained":[1,{}],"extension":[{"url":1}],"photo":[{"size":"x","data":1}],"managingOrganization":{"reference":1}}'
    )
    assert isinstance(check(document), list)


def test_a_type_that_r4_lacks() -> None:
    """An unknown resource type is an error of its own."""
    [issue] = validator().check("Foo", {"resourceType": "Foo"})
    assert issue.severity == "error"
