"""The written rules: complete, about things that exist, and each does what it says."""

import re
import string
from datetime import date
from typing import Any

import pytest
from deidentifying.documents import SECRET, deidentifier, made

from conformance.load import definitions
from fhir_server.deidentifying.addresses import SPARSE
from fhir_server.deidentifying.codes import Codes
from fhir_server.deidentifying.deidentifier import LABEL, Deidentifier
from fhir_server.deidentifying.rules import Row, code_systems, form, rows, rules, sparse_prefixes

MASKED = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]}
LOINC, UCUM, SNOMED = "http://loinc.org", "http://unitsofmeasure.org", "http://snomed.info/sct"
US_CORE = "http://hl7.org/fhir/us/core/StructureDefinition/"


def elements() -> list[Row]:
    return [row for row in rows() if row.kind == "element"]


def test_every_type_of_r4_has_its_rule() -> None:
    """Resources and datatypes: a new one would not be forgotten but fail here."""
    types = definitions().types.values()
    assert set(definitions().resource_types) <= set(rules().resources)
    used = {code for type in types for element in type.elements.values() for code in element.json.values() if "." not in code}
    assert used <= set(rules().datatypes)
    assert set(rules().resources.values()) == {"walk", "remove"}


def test_no_rule_stands_twice() -> None:
    """One place, one rule."""
    assert len({(row.kind, row.where) for row in rows()}) == len(rows())


@pytest.mark.parametrize("row", elements(), ids=lambda row: row.where)
def test_a_rule_is_about_an_element_that_exists(row: Row) -> None:
    """Its path is that of an element of R4."""
    owner, _, name = row.where.rpartition(".")
    assert any(name == element.name or name in element.json for element in definitions().types[owner].elements.values())


def test_rules_name_identifiers_of_safe_harbor() -> None:
    """Letters A to R of 164.514(b)(2)(i); each of them is taken care of by some rule but L, which is always text or an Identifier."""
    letters = [letter for row in rows() for letter in row.identifiers.split()]
    assert set(letters) == set(string.ascii_uppercase[:18])


def test_sparse_prefixes() -> None:
    """The 17 of HHS's guidance are all there, and every one has its list."""
    guidance = {each.prefix for each in sparse_prefixes() if "2000" in each.listed_by.split()}
    assert guidance == {f"{n:03}" for n in (36, 59, 63, 102, 203, 556, 692, 790, 821, 823, 830, 831, 878, 879, 884, 890, 893)}
    assert all(re.fullmatch(r"\d{3}", each.prefix) and each.listed_by for each in sparse_prefixes())


@pytest.mark.parametrize("system", code_systems(), ids=lambda each: each.system)
def test_forms_of_codes_take_no_names(system: Any) -> None:
    """No code of a public system looks like two names, an e-mail address or a number with blanks."""
    for text in ("Mary Jones", "mary@example.org", "555 01 4477", "", "Jönsson"):
        assert not form(system.form).fullmatch(text) or (text == "mary@example.org" and "unitsofmeasure" in system.system)


@pytest.mark.parametrize(
    ("system", "code", "known"),
    [
        (SNOMED, "73211009", True),
        (SNOMED, "Mary", False),
        (LOINC, "8480-6", True),
        (LOINC, "LA29-8", True),
        (LOINC, "8480", False),
        (UCUM, "mm[Hg]", True),
        (UCUM, "{score}", True),
        (UCUM, "{Mary Jones}", False),
        ("http://hl7.org/fhir/sid/icd-10-cm", "E11.9", True),
        ("http://hl7.org/fhir/sid/us-ssn", "999-11-2222", False),
        ("http://hl7.org/fhir/sid/us-npi", "9999999299", False),
        ("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "S", True),
        ("http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "Mary", False),
        ("http://terminology.hl7.org/CodeSystem/newer-than-r4", "some-code", True),
        ("http://hospital.example/codes", "1", False),
        ("http://terminology.hl7.org/CodeSystem/of/mary jones", "some-code", False),
        ("http://snomed.info/sct/../mary", "73211009", False),
    ],
)
def test_codes(system: str, code: str, known: bool) -> None:
    """A code stays where its system is public and it is one of its codes, or looks like one."""
    assert Codes(definitions(), displays=False).known(system, code) is known


def quantity(number: Any, unit: str | None = None, code: str | None = None, **more: Any) -> dict[str, Any]:
    """A Quantity."""
    coded = {"system": UCUM, "code": code} if code else {}
    return {"value": number, **({"unit": unit} if unit else {}), **coded, **more}


OBSERVED = {"status": "final", "code": {"coding": [{"system": LOINC, "code": "30525-0"}]}}
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("boolean", "Patient", {"active": True}, {"active": True}),
    ("integer", "Patient", {"multipleBirthInteger": 2}, {"multipleBirthInteger": 2}),
    ("code", "Patient", {"gender": "female"}, {"gender": "female"}),
    ("code that is none", "Patient", {"gender": "Mary"}, {}),
    ("code that is required", "Observation", {"status": "Mary"}, {"_status": MASKED}),
    ("language", "Patient", {"language": "en-US"}, {"language": "en-US"}),
    ("language that is none", "Patient", {"language": "english spoken by Mary"}, {}),
    ("implicitRules", "Patient", {"implicitRules": "http://rules.example"}, {}),
    ("names", "Patient", {"name": [{"family": "Jones", "use": "official"}]}, {}),
    ("identifiers", "Patient", {"identifier": [{"system": "urn:mrn", "value": "1"}]}, {}),
    ("telecom", "Patient", {"telecom": [{"system": "phone", "value": "1"}]}, {}),
    ("contacts", "Patient", {"contact": [{"gender": "male"}]}, {}),
    ("photo", "Patient", {"photo": [{"contentType": "image/png", "data": "AAAA"}]}, {}),
    ("narrative", "Patient", {"text": {"status": "generated", "div": "<div>Mary</div>"}}, {}),
    ("concept", "Patient", {"maritalStatus": {"text": "lives with Bob"}}, {}),
    (
        "coding",
        "Condition",
        {"code": {"text": "x", "coding": [{"system": SNOMED, "code": "73211009", "display": "D", "version": "1", "userSelected": True}]}},
        {"code": {"coding": [{"system": SNOMED, "code": "73211009", "userSelected": True}]}},
    ),
    ("codings of one's own", "Condition", {"code": {"coding": [{"system": "http://here/codes", "code": "1"}]}}, {}),
    ("required concept", "Observation", {"code": {"text": "weight of Mary"}}, {"code": MASKED}),
    ("quantity", "Observation",
     {"valueQuantity": quantity(7.2, "mmol", "mmol/L")},
     {"valueQuantity": quantity(7.2, "mmol/L", "mmol/L")}),
    ("unit that UCUM knows", "Observation", {"valueQuantity": quantity(7, "mg")}, {"valueQuantity": quantity(7, "mg")}),
    ("unit of one's own", "Observation", {"valueQuantity": quantity(7, "Marys")}, {"valueQuantity": {"value": 7}}),
    ("age", "Condition", {"onsetAge": quantity(89, "a", "a")}, {"onsetAge": quantity(89, "a", "a")}),
    ("age over 89", "Condition", {"onsetAge": quantity(93, "a", "a")}, {"onsetAge": quantity(90, "a", "a", comparator=">=")}),
    ("age in months", "Condition",
     {"onsetAge": quantity(1100, code="mo")},
     {"onsetAge": quantity(1080, code="mo", comparator=">=")}),
    ("age in words", "Condition", {"onsetAge": quantity(93, "Years")}, {"onsetAge": {"value": 90, "comparator": ">="}}),
    ("age in a unit of one's own", "Condition", {"onsetAge": quantity(93, "Jahre")}, {"onsetAge": {"value": 90, "comparator": ">="}}),
    ("age below", "Observation", {**OBSERVED, "valueQuantity": quantity(89, "Jahre")}, {**OBSERVED, "valueQuantity": {"value": 89}}),
    ("observed age", "Observation", {**OBSERVED, "valueQuantity": quantity(93, "Jahre")},
     {**OBSERVED, "valueQuantity": {"value": 90, "comparator": ">="}}),
    ("age in what is no time", "Condition", {"onsetAge": quantity(93, "J")}, {"onsetAge": quantity(90, "J", comparator=">=")}),
    ("age in minutes", "Condition", {"onsetAge": quantity(93, code="min")}, {"onsetAge": quantity(93, code="min")}),
    ("no age", "Observation", {"valueQuantity": quantity(93, "Jahre")}, {"valueQuantity": {"value": 93}}),
    ("age as text", "Condition", {"onsetString": "at 93"}, {}),
    ("age as a number", "Observation", {**OBSERVED, "valueInteger": 93}, {**OBSERVED, "valueInteger": 90}),
    ("codes of extensions", "Patient",
     {"extension": [{"url": f"{US_CORE}us-core-birthsex", "valueCode": "F"}, {"url": f"{US_CORE}us-core-sex", "valueCode": "248152002"}]},
     {"extension": [{"url": f"{US_CORE}us-core-birthsex", "valueCode": "F"}, {"url": f"{US_CORE}us-core-sex", "valueCode": "248152002"}]}),
    ("number in the place of a code", "Patient", {"extension": [{"url": f"{US_CORE}us-core-birthsex", "valueCode": "123-45-6789"}]}, {}),
    ("ages from and to", "Condition",
     {"onsetRange": {"low": quantity(70, "a", "a"), "high": quantity(80, "a", "a")}},
     {"onsetRange": {"low": quantity(70, "a", "a"), "high": quantity(80, "a", "a")}}),
    ("ages beyond", "FamilyMemberHistory",
     {"ageRange": {"low": {"value": 93}, "high": {"value": 95}}}, {"ageRange": {"low": {"value": 90}}}),
    ("ages up to one beyond", "Condition",
     {"onsetRange": {"low": {"value": 70}, "high": quantity(93, "jaar")}}, {"onsetRange": {"low": {"value": 70}}}),
    ("ages that end beyond", "Procedure", {"performedRange": {"high": {"value": 95}}}, {}),
    ("observed ages", "Observation",
     {**OBSERVED, "valueRange": {"low": {"value": 91}, "high": {"value": 95}}}, {**OBSERVED, "valueRange": {"low": {"value": 90}}}),
    ("age by SNOMED CT", "Observation",
     {"code": {"coding": [{"system": SNOMED, "code": "424144002"}]}, "valueInteger": 95},
     {"code": {"coding": [{"system": SNOMED, "code": "424144002"}]}, "valueInteger": 90}),
    ("age by its text", "Observation",
     {"code": {"coding": [{"system": LOINC, "code": "1-1"}], "text": "Age at last visit"}, "valueQuantity": quantity(95, "years old")},
     {"code": {"coding": [{"system": LOINC, "code": "1-1"}]}, "valueQuantity": {"value": 90, "comparator": ">="}}),
    ("short and long answers", "QuestionnaireResponse",
     {"item": [{"linkId": "1", "answer": [{"valueInteger": 27}, {"valueInteger": 62701}, {"valueDecimal": 5551234567}]}]},
     {"item": [{"linkId": "1", "answer": [{"valueInteger": 27}]}]}),
    ("number that is no age", "Observation", {"valueInteger": 93}, {"valueInteger": 93}),
    (
        "age in a component",
        "Observation",
        {"component": [{"code": OBSERVED["code"], "valueInteger": 101}]},
        {"component": [{"code": OBSERVED["code"], "valueInteger": 90}]},
    ),
    ("sampled data", "Observation",
     {"valueSampledData": {"origin": {"value": 0}, "period": 1, "dimensions": 1, "data": "1 2"}},
     {}),
    ("note", "Observation", {"note": [{"text": "Mary came"}]}, {}),
    ("text as value", "Observation", {"valueString": "Mary"}, {}),
    ("money", "Invoice", {"totalNet": {"value": 7, "currency": "USD"}}, {"totalNet": {"value": 7, "currency": "USD"}}),
    ("reference", "Observation",
     {"subject": {"display": "Mary", "identifier": {"value": "1"}, "type": "Patient"}},
     {"subject": {"type": "Patient"}}),
    ("reference by a search", "Encounter", {"serviceProvider": {"reference": "Organization?identifier=urn:x|1"}}, {}),
    ("reference to what is no type", "Encounter", {"serviceProvider": {"reference": "Marys/1"}}, {}),
    ("required reference", "Condition", {"subject": {"display": "Mary"}}, {"subject": MASKED}),
    ("attachment", "Media",
     {"content": {"contentType": "image/png", "url": "http://x", "title": "Mary", "size": 7}},
     {"content": {"contentType": "image/png"}}),
    ("attachment without a type", "Media", {"content": {"url": "http://x"}}, {"content": MASKED}),
    ("document", "DocumentReference", {"content": [{"attachment": {"data": "AA"}}]}, {"content": [{"attachment": MASKED}]}),
    ("report", "DiagnosticReport", {"presentedForm": [{"contentType": "application/pdf"}], "conclusion": "Mary"}, {}),
    ("message", "Communication", {"payload": [{"contentString": "Dear Mary"}]}, {}),
    ("device", "Device",
     {"udiCarrier": [{"deviceIdentifier": "1"}], "serialNumber": "1", "lotNumber": "1", "distinctIdentifier": "1"},
     {}),
    ("lot", "Immunization", {"lotNumber": "1"}, {}),
    ("plan", "Coverage", {"class": [{"value": "1"}], "subscriberId": "1", "dependent": "1"}, {}),
    ("position", "Location", {"position": {"latitude": 1, "longitude": 2}, "name": "Room", "alias": ["R"]}, {}),
    ("race", "Patient", {"extension": [{"url": f"{US_CORE}us-core-race", "extension": [
        {"url": "ombCategory", "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3", "display": "White"}},
        {"url": "text", "valueString": "White"}, {"url": "mary", "valueBoolean": True}]}]},
     {"extension": [{"url": f"{US_CORE}us-core-race", "extension": [
        {"url": "ombCategory", "valueCoding": {"system": "urn:oid:2.16.840.1.113883.6.238", "code": "2106-3"}}]}]}),
    ("birth sex", "Patient",
     {"extension": [{"url": f"{US_CORE}us-core-birthsex", "valueCode": "F"}]},
     {"extension": [{"url": f"{US_CORE}us-core-birthsex", "valueCode": "F"}]}),
    ("other extensions", "Patient",
     {"extension": [{"url": "http://x", "valueBoolean": True}], "_active": {"extension": [{"url": "http://x", "valueCode": "a"}]}},
     {}),
    ("absent reason", "Patient", {"_gender": MASKED, "name": [MASKED]}, {"_gender": MASKED}),
    ("answers", "QuestionnaireResponse", {"item": [{"linkId": "1.2", "text": "Who?", "answer": [
        {"valueString": "Mary"}, {"valueInteger": 3}, {"valueUri": "http://x"}, {"valueBoolean": True},
        {"valueAttachment": {"title": "Mary"}}]}]},
     {"item": [{"linkId": "1.2", "answer": [{"valueInteger": 3}, {"valueBoolean": True}]}]}),
    ("provenance", "Provenance", {"signature": [{"who": {"display": "Mary"}}], "policy": ["http://x"]}, {}),
    ("consent", "Consent", {"sourceAttachment": {"title": "Mary"}, "status": "active"}, {"status": "active"}),
    ("basic", "Basic", {"extension": [{"url": "http://x", "valueString": "Mary"}]}, {}),
    ("profile", "Patient",
     {"meta": {"profile": [f"{US_CORE}us-core-patient"], "source": "http://x", "versionId": "3", "lastUpdated": "2020-01-01T00:00:00Z"}},
     {"meta": {"profile": [f"{US_CORE}us-core-patient"]}}),
    ("tag", "Patient", {"meta": {"tag": [{"system": "http://x", "code": "vip"}]}}, {}),
    ("label", "Patient", {"meta": {"security": [LABEL]}}, {}),
    ("element that R4 does not have", "Patient", {"nickname": "Mary"}, {}),
    ("modifierExtension inside", "Observation",
     {"component": [{"code": OBSERVED["code"], "modifierExtension": [{"url": "http://not"}]}]},
     {}),
]  # fmt: skip


@pytest.mark.parametrize(("type", "document", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_becomes_of_each_kind_of_element(type: str, document: dict[str, Any], expected: dict[str, Any]) -> None:
    """Kept, removed, replaced or generalised, as the table says; and every document gets the label."""
    out = made(type, document, "p")
    assert out.pop("resourceType") == type
    assert out["meta"].pop("security") == [LABEL]
    assert {name: value for name, value in out.items() if value != {}} == expected


ADDRESSES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"country": "US", "state": "MA", "postalCode": "02139"}, {"country": "US", "state": "MA", "postalCode": "021"}),
    ({"state": "Massachusetts", "postalCode": "02139-4307"}, {"state": "Massachusetts", "postalCode": "021"}),
    ({"country": "USA", "postalCode": "03601"}, {"country": "USA", "postalCode": "000"}),
    ({"country": "US", "postalCode": "893"}, {"country": "US", "postalCode": "000"}),
    ({"country": "US", "postalCode": "0213"}, {"country": "US"}),
    ({"country": "US", "postalCode": "Mary"}, {"country": "US"}),
    ({"country": "US", "state": "Marysland"}, {"country": "US"}),
    ({"country": "DE", "state": "BY", "postalCode": "80331"}, {"country": "DE"}),
    ({"country": "Deutschland", "postalCode": "80331"}, {}),
    ({"postalCode": "02139"}, {}),
    ({"use": "home", "type": "both", "text": "x", "line": ["1 Road"], "city": "Troy", "district": "Rensselaer", "state": "NY"},
     {"use": "home", "type": "both", "state": "NY"}),
]  # fmt: skip


@pytest.mark.parametrize("type", ["Patient", "Organization", "Location", "Practitioner"])
@pytest.mark.parametrize(("address", "expected"), ADDRESSES)
def test_addresses(type: str, address: dict[str, Any], expected: dict[str, Any]) -> None:
    """Nothing below the state but three digits of a zip code of the United States, and these only where enough people live."""
    many = type != "Location"
    out = made(type, {"address": [address] if many else address}, "p")
    assert out.get("address", [] if many else {}) == ([expected] if many and expected else expected or ([] if many else {}))


@pytest.mark.parametrize("prefix", sorted(SPARSE))
def test_every_sparse_prefix_becomes_000(prefix: str) -> None:
    """Of each prefix of the list."""
    out = made("Patient", {"address": [{"country": "US", "postalCode": f"{prefix}99"}]})
    assert out["address"] == [{"country": "US", "postalCode": "000"}]


def test_displays_stay_where_they_are_asked_for() -> None:
    """And only those of codings that stay."""
    codings = [
        {"system": SNOMED, "code": "73211009", "display": "Diabetes"},
        {"system": "http://x", "code": "1", "display": "Mary"},
    ]
    out = made("Condition", {"code": {"coding": codings, "text": "Mary"}}, displays=True)
    assert out["code"] == {"coding": codings[:1]}


def test_what_a_modifier_extension_would_change_is_left_out() -> None:
    """A document that must not be read without its modifierExtension does not come out without it."""
    document = {"resourceType": "Condition", "modifierExtension": [{"url": "http://not", "valueBoolean": True}]}
    assert deidentifier().document("Condition", document, ("p",)) is None


def test_a_secret_that_is_too_short_is_refused() -> None:
    """With how long it must be."""
    with pytest.raises(ValueError, match="32 bytes or more, not 31"):
        Deidentifier(definitions(), SECRET[:31], today=date(2026, 1, 1))
