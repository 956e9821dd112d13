"""Documents become entries."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from resources.documents import decode
from search.extract import Extractor
from search.indexes.sqlite.schema import Codebook
from search.parameters import CONTAINED, registry
from search.query import FACETS, Modifier
from search.types.kinds import KINDS, takes
from search.values import NO_DATE, CompositeValue, DateValue, StringValue, TokenValue

EXTRACTOR = Extractor(registry(), "http://127.0.0.1/fhir/")
EXAMPLES = Path(__file__).parents[1] / "data" / "r4-examples.ndjson.gz"
KIND_OF_VALUE = {
    "string": "StringValue",
    "token": "TokenValue",
    "date": "DateValue",
    "number": "NumberValue",
    "quantity": "QuantityValue",
    "reference": "ReferenceValue",
    "uri": "UriValue",
    "composite": "CompositeValue",
    "special": "PositionValue",
    "label": "LabelValue",
}


def examples() -> list[dict[str, Any]]:
    """The official examples."""
    with gzip.open(EXAMPLES) as lines:
        return [decode(line)["resource"] for line in lines]


def test_all_official_examples() -> None:
    """Each of the 746 examples is extracted: values of the right kind, none twice, none empty, dates and patients in order."""
    count = 0
    for document in examples():
        type = document["resourceType"]
        entry = EXTRACTOR.extract(type, document)
        count += 1
        for code, values in entry.values.items():
            plain, _, modifier = code.partition(":")
            parameter = registry().containing(type) if code == CONTAINED else registry().of(type)[plain]
            assert parameter is not None and parameter.stored == plain and parameter.kind in KINDS
            kind = FACETS[Modifier(modifier)] if modifier else parameter.kind
            assert len(set(values)) == len(values)
            assert {value.__class__.__name__ for value in values} <= {KIND_OF_VALUE[kind]}
        clinical = registry().order_date(type)
        dates = [v.low for v in entry.values.get(clinical or "", []) if isinstance(v, DateValue)]
        assert len(dates) <= 1 and entry.date == (dates[0] if dates else NO_DATE if clinical else 0)
        assert list(entry.patients) == sorted(set(entry.patients))
        assert "_id" not in entry.values and "_lastUpdated" not in entry.values
    assert count == 746


def test_most_parameters_are_met_by_some_example() -> None:
    """A path that silently finds nothing would show here: the examples fill this many (type, code) pairs."""
    met = {(d["resourceType"], code) for d in examples() for code in EXTRACTOR.extract(d["resourceType"], d).values}
    assert len(met) >= 1_150


PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "meta": {
        "profile": ["http://x/P|1.0"],
        "tag": [{"system": "t", "code": "1"}],
        "security": [{"code": "R"}],
        "source": "http://lab",
        "lastUpdated": "2026-01-01T00:00:00Z",
    },
    "active": True,
    "name": [{"family": "Chalmers", "given": ["Peter", "James"]}, {"family": "Chalmers", "given": ["Jim"]}],
    "telecom": [{"system": "phone", "value": "555"}, {"system": "email", "value": "p@x.org"}],
    "birthDate": "1974-12-25",
    "deceasedBoolean": False,
    "generalPractitioner": [{"reference": "Practitioner/1/_history/2"}],
}


def test_patient() -> None:
    """One Patient with all that may go wrong: repeated values, conditions on paths, choice types, meta."""
    entry = EXTRACTOR.extract("Patient", PATIENT)
    plain = {code: [tuple(value) for value in values] for code, values in entry.values.items()}
    assert plain["family"] == [("chalmers", "Chalmers")]
    assert plain["given"] == [("peter", "Peter"), ("james", "James"), ("jim", "Jim")]
    assert plain["name"] == [("chalmers", "Chalmers"), ("peter", "Peter"), ("james", "James"), ("jim", "Jim")]
    assert plain["phone"] == [("", "555")] and plain["email"] == [("", "p@x.org")]
    assert plain["telecom"] == [("", "555"), ("", "p@x.org")]
    assert plain["active"] == [("", "true")] and plain["deceased"] == [("", "false")]
    assert plain["general-practitioner"] == [("Practitioner/1",)]
    assert plain["_profile"] == [("http://x/P|1.0",), ("http://x/P",)]
    assert plain["_tag"] == [("t", "1")] and plain["_security"] == [("", "R")] and plain["_source"] == [("http://lab",)]
    assert "phonetic" not in plain and "death-date" not in plain
    assert entry.patients == ("p1",) and entry.date == 157_161_600_000_000


@pytest.mark.parametrize(
    ("effective", "date"),
    [
        ({"effectiveDateTime": "1970-01-02"}, 86_400_000_000),
        ({"effectivePeriod": {"start": "1970-01-02", "end": "1970-01-05"}}, 86_400_000_000),
        ({"effectiveInstant": "1970-01-01T00:00:00.001Z"}, 1_000),
        ({}, NO_DATE),
    ],
)
def test_clinical_date(effective: dict[str, Any], date: int) -> None:
    """The entry's date is the low end of the clinical date, whatever form that has."""
    assert EXTRACTOR.extract("Observation", {"resourceType": "Observation", "id": "1", **effective}).date == date


def test_union_of_paths() -> None:
    """`combo-code` has the codes of the observation and of its components; `code` only the former."""
    document = {
        "resourceType": "Observation",
        "id": "1",
        "code": {"coding": [{"system": "l", "code": "bp"}]},
        "component": [
            {"code": {"coding": [{"system": "l", "code": "sys"}]}},
            {"code": {"coding": [{"system": "l", "code": "bp"}]}},
        ],
    }
    values = EXTRACTOR.extract("Observation", document).values
    assert values["code"] == [TokenValue("l", "bp")]
    assert values["combo-code"] == [TokenValue("l", "bp"), TokenValue("l", "sys")]


def test_extraction_does_not_change_the_document() -> None:
    """The document goes on to be stored."""
    before = repr(PATIENT)
    EXTRACTOR.extract("Patient", PATIENT)
    assert repr(PATIENT) == before


def test_an_empty_document() -> None:
    """A document with nothing to find has an entry without values."""
    entry = EXTRACTOR.extract("Basic", {"resourceType": "Basic", "id": "1"})
    assert entry.values == {} and entry.patients == ()


def test_a_path_without_a_type_at_its_root() -> None:
    """InsurancePlan.name is published as `name | alias`."""
    entry = EXTRACTOR.extract("InsurancePlan", {"resourceType": "InsurancePlan", "id": "1", "name": "A", "alias": ["B"]})
    assert entry.values["name"] == [StringValue("a", "A"), StringValue("b", "B")]


def test_the_types_of_what_is_contained() -> None:
    """A document is found by the types of the resources in it, each once, and by nothing else of them; Bundles contain none so."""
    inside = [{"resourceType": "Patient", "id": "p", "active": True}, {"resourceType": "Group"}, {"resourceType": "Patient"}]
    entry = EXTRACTOR.extract("Basic", {"resourceType": "Basic", "id": "1", "contained": inside})
    assert entry.values == {CONTAINED: [TokenValue("", "Patient"), TokenValue("", "Group")]}
    assert registry().containing("Bundle") is None and registry().find("Basic", CONTAINED) is None


def test_composites_are_of_one_element() -> None:
    """Every combination of an element's own values, none of two elements; the root's own values make none."""
    part = {"code": {"coding": [{"code": "a"}, {"code": "b"}]}, "valueCodeableConcept": {"coding": [{"code": "x"}]}}
    other = {"code": {"coding": [{"code": "c"}]}, "valueCodeableConcept": {"coding": [{"code": "y"}]}}
    document = {"resourceType": "Observation", "id": "1", **part, "component": [part, other, {"code": other["code"]}]}
    values = EXTRACTOR.extract("Observation", document).values
    pairs = [("a", "x"), ("b", "x"), ("c", "y")]
    expected = [CompositeValue((TokenValue("", code), TokenValue("", value))) for code, value in pairs]
    assert values["component-code-value-concept"] == values["combo-code-value-concept"] == expected
    assert "code-value-concept" not in values


def test_component_values_are_those_of_their_parameters() -> None:
    """What a composite's part holds, the component's own parameter holds too: its clause may find the documents for it."""
    met = set()
    for document in examples():
        type = document["resourceType"]
        values = EXTRACTOR.extract(type, document).values
        for code, found in values.items():
            parameter = registry().find(type, code)
            for place, component in enumerate(parameter.components if parameter is not None else ()):
                own = set(values[component.parameter.stored])
                assert {v.parts[place] for v in found if isinstance(v, CompositeValue)} <= own, (type, code)
                met.add((type, code))
    assert len(met) >= 8


@pytest.mark.parametrize(
    ("element", "texts"),
    [
        ({"coding": [{"code": "a", "display": "Ä"}], "text": "B  b"}, {("b b", "a"), ("a", "a")}),
        ({"coding": [{"display": "x"}, {"code": "a"}]}, {("x", "a")}),
        ({"text": "only"}, {("only", "")}),
        ({"text": "\u0301"}, set()),
    ],
)
def test_labels(element: dict[str, Any], texts: set[tuple[str, str]]) -> None:
    """A concept's text and displays, each with a code of the concept if it has one."""
    values = EXTRACTOR.extract("Observation", {"resourceType": "Observation", "id": "1", "code": element}).values
    assert {tuple(value) for value in values.get("code:text", ())} == texts


def test_every_identifier_can_be_found_by_type() -> None:
    """No parameter over an Identifier lacks a place for `:of-type` in the rows of the SQLite index."""
    books = Codebook(registry()).books
    for type in registry().types:
        for code, parameter in registry().of(type).items():
            if parameter.searchable and parameter.stored == code and takes(parameter, Modifier.OF_TYPE):
                assert f"{code}:of-type" in books[type].fields
