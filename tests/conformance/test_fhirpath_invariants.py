"""The invariants of R4 as conditions: what they accept and refuse, and that the quick form says what the complete engine says."""

import gzip
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from conformance.fhirpath import FhirPathError, compile_expression
from conformance.fhirpath.expression import complete_truth
from conformance.fhirpath.parser import parse
from conformance.load import definitions

EXAMPLES = Path(__file__).parents[1] / "data" / "r4-examples.ndjson.gz"


def places() -> set[tuple[str, str]]:
    """(type, key) of every invariant where it stands."""
    types = definitions().types.values()
    at_types = {(t.name, key) for t in types for key in t.constraints}
    return at_types | {(code, key) for t in types for e in t.elements.values() for key in e.constraints for code in e.json.values()}


def test_every_invariant_compiles_everywhere() -> None:
    """All invariants of all types and elements are conditions that compile."""
    found = places()
    for type_name, key in found:
        compile_expression(definitions().constraints[key].expression, type_name)
    assert {key for _, key in found} == set(definitions().constraints)


UCUM = "http://unitsofmeasure.org"
ENTERED = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": "entered-in-error"}]}
WRONG_AND_RIGHT = [
    ("age-1", "Age", {"value": 3}, {"value": 3, "system": UCUM, "code": "a"}),
    ("age-1", "Age", {"value": -3, "system": UCUM, "code": "a"}, {}),
    ("app-1", "Appointment.participant", {"status": "accepted"}, {"actor": {"display": "x"}}),
    ("app-2", "Appointment", {"start": "2020-01-01T10:00:00Z"}, {"start": "2020-01-01T10:00:00Z", "end": "2020-01-01T11:00:00Z"}),
    ("app-3", "Appointment", {"status": "booked"}, {"status": "waitlist"}),
    ("att-1", "Attachment", {"data": "eA=="}, {"data": "eA==", "contentType": "text/plain"}),
    ("bdl-1", "Bundle", {"type": "batch", "total": 1}, {"type": "searchset", "total": 1}),
    (
        "bdl-2",
        "Bundle",
        {"type": "batch", "entry": [{"search": {"mode": "match"}}]},
        {"type": "searchset", "entry": [{"search": {}}]},
    ),
    ("bdl-3", "Bundle", {"type": "batch", "entry": [{}]}, {"type": "batch", "entry": [{"request": {"method": "GET"}}]}),
    ("bdl-3", "Bundle", {"type": "searchset", "entry": [{"request": {}}]}, {"type": "searchset", "entry": [{}]}),
    (
        "bdl-7",
        "Bundle",
        {"type": "batch", "entry": [{"fullUrl": "urn:x"}, {"fullUrl": "urn:x"}]},
        {"type": "batch", "entry": [{"fullUrl": "urn:x"}, {"fullUrl": "urn:y"}]},
    ),
    ("bdl-9", "Bundle", {"type": "document"}, {"type": "document", "identifier": {"system": "s", "value": "v"}}),
    ("bdl-10", "Bundle", {"type": "document"}, {"type": "document", "timestamp": "2020-01-01T00:00:00Z"}),
    (
        "bdl-11",
        "Bundle",
        {"type": "document", "entry": [{"resource": {"resourceType": "Patient"}}]},
        {"type": "document", "entry": [{"resource": {"resourceType": "Composition"}}, {"resource": {"resourceType": "Patient"}}]},
    ),
    ("cnt-3", "Count", {"value": Decimal("1.5"), "system": UCUM, "code": "1"}, {"value": 2, "system": UCUM, "code": "1"}),
    ("con-4", "Condition", {"abatementAge": {"value": 1}}, {"recordedDate": "2020"}),
    ("con-5", "Condition", {"verificationStatus": ENTERED, "clinicalStatus": {}}, {"verificationStatus": ENTERED}),
    (
        "cpb-9",
        "CapabilityStatement.rest",
        {"resource": [{"type": "A"}, {"type": "A"}]},
        {"resource": [{"type": "A"}, {"type": "B"}]},
    ),
    ("cpt-2", "ContactPoint", {"value": "1"}, {"value": "1", "system": "phone"}),
    ("csd-1", "CodeSystem", {"concept": [{"code": "a", "concept": [{"code": "a"}]}]}, {"concept": [{"code": "a"}, {"code": "b"}]}),
    ("ctm-1", "CareTeam.participant", {"onBehalfOf": {}, "member": {"reference": "Patient/1"}}, {"onBehalfOf": {}}),
    ("eld-2", "ElementDefinition", {"min": 2, "max": "1"}, {"min": 1, "max": "*"}),
    ("eld-16", "ElementDefinition", {"sliceName": "a b"}, {"sliceName": "a@b"}),
    ("gol-1", "Goal.target", {"detailString": "x"}, {"detailString": "x", "measure": {"text": "m"}}),
    ("inv-1@Task", "Task", {"lastModified": "2020-01-01", "authoredOn": "2020-01-02"}, {"lastModified": "2020-01-02T00:00:00Z"}),
    ("ipn-1", "InsurancePlan", {"status": "draft"}, {"name": "x"}),
    ("lst-2", "List", {"mode": "working", "entry": [{"deleted": True}]}, {"mode": "changes", "entry": [{"deleted": True}]}),
    ("msq-3", "MolecularSequence", {"coordinateSystem": 2}, {"coordinateSystem": 0}),
    ("msq-6", "MolecularSequence.referenceSeq", {}, {"genomeBuild": "x"}),
    (
        "obs-7",
        "Observation",
        {"code": {"coding": [{"code": "a"}]}, "valueString": "x", "component": [{"code": {"coding": [{"code": "a"}]}}]},
        {"code": {"coding": [{"code": "a"}]}, "valueString": "x", "component": [{"code": {"coding": [{"code": "b"}]}}]},
    ),
    ("obs-6", "Observation", {"valueInteger": 0, "dataAbsentReason": {}}, {"valueInteger": 0}),
    ("obs-6", "Observation", {"_valueString": {"id": "x"}, "dataAbsentReason": {}}, {"dataAbsentReason": {}}),
    ("pat-1", "Patient.contact", {"gender": "male"}, {"name": {"text": "x"}}),
    ("per-1", "Period", {"start": "2020-02", "end": "2020-01"}, {"start": "2020-01-01", "end": "2020-01-01"}),
    ("per-1", "Period", {"start": "2023-06-21", "end": "2023-06-21T10:00:00Z"}, {"start": "2020", "end": "2023-06-21T10:00:00Z"}),
    (
        "per-1",
        "Period",
        {"start": "2020-01-01T10:00:00+02:00", "end": "2020-01-01T07:59:59Z"},
        {"start": "2020-01-01T10:00:00+02:00", "end": "2020-01-01T08:00:00.0Z"},
    ),
    ("qrs-1", "QuestionnaireResponse.item", {"answer": [{}], "item": [{}]}, {"answer": [{}]}),
    ("que-1", "Questionnaire.item", {"type": "group"}, {"type": "group", "item": [{"linkId": "1"}]}),
    (
        "que-2",
        "Questionnaire",
        {"item": [{"linkId": "1", "item": [{"linkId": "1"}]}]},
        {"item": [{"linkId": "1"}, {"linkId": "2"}]},
    ),
    (
        "que-7",
        "Questionnaire.item.enableWhen",
        {"operator": "exists", "answerString": "x"},
        {"operator": "exists", "answerBoolean": False},
    ),
    ("que-10", "Questionnaire.item", {"type": "group", "maxLength": 3}, {"type": "string", "maxLength": 3}),
    ("qty-3", "Quantity", {"code": "mg"}, {"code": "mg", "system": UCUM}),
    ("ras-2", "RiskAssessment.prediction", {"probabilityDecimal": Decimal(101)}, {"probabilityDecimal": Decimal("99.5")}),
    (
        "rat-1",
        "Ratio",
        {"numerator": {"value": 1}},
        {"numerator": {"value": 1}, "denominator": {"value": 2}},
    ),
    ("ref-1", "Reference", {"reference": "#a"}, {"reference": "Patient/a"}),
    (
        "rng-2",
        "Range",
        {"low": {"value": 2, "unit": "mg", "code": "mg"}, "high": {"value": 1, "unit": "mg", "code": "mg"}},
        {"low": {"value": 2, "code": "mg"}, "high": {"value": 1, "code": "g"}},
    ),
    (
        "sdf-1",
        "StructureDefinition",
        {"derivation": "specialization", "snapshot": {"element": [{"path": "A"}, {"path": "A"}]}},
        {"derivation": "specialization", "snapshot": {"element": [{"path": "A"}, {"path": "A.b"}]}},
    ),
    (
        "sdf-20",
        "StructureDefinition.differential",
        {"element": [{"path": "A", "slicing": {}}]},
        {"element": [{"path": "A.b", "slicing": {}}]},
    ),
    ("tim-4", "Timing.repeat", {"duration": Decimal("-0.1")}, {"duration": Decimal("0.0")}),
    ("tim-9", "Timing.repeat", {"offset": 1, "when": ["C"]}, {"offset": 1, "when": ["MORN"]}),
    (
        "txt-1",
        "xhtml",
        '<div xmlns="http://www.w3.org/1999/xhtml"><script/>x</div>',
        '<div xmlns="http://www.w3.org/1999/xhtml">x</div>',
    ),
]


@pytest.mark.parametrize(
    ("key", "type_name", "wrong", "right"), WRONG_AND_RIGHT, ids=[f"{r[0]}-{i}" for i, r in enumerate(WRONG_AND_RIGHT)]
)
def test_invariant_tells_wrong_from_right(key: str, type_name: str, wrong: Any, right: Any) -> None:
    """The published expression fails on a document that breaks it and holds on one that keeps it."""
    expression = compile_expression(definitions().constraints[key].expression, type_name)
    if isinstance(wrong, dict) and type_name in definitions().resource_types:
        wrong, right = {"resourceType": type_name, **wrong}, {"resourceType": type_name, **right}
    assert not expression.truth(wrong, wrong, wrong)
    assert expression.truth(right, right, right)


def test_part_is_checked_within_its_resource() -> None:
    """%resource is the resource around the part, %rootResource the one around a contained resource."""
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{}]}
    expression = compile_expression("%resource.type = 'batch' and %rootResource is Bundle", "Bundle.entry")
    assert expression.truth({}, bundle, bundle)
    contained = {"resourceType": "Patient", "contained": [{"resourceType": "Group", "id": "a"}]}
    reference = compile_expression(definitions().constraints["ref-1"].expression, "Reference")
    assert reference.truth({"reference": "#a"}, contained["contained"][0], contained)
    assert not reference.truth({"reference": "#b"}, contained["contained"][0], contained)


def test_empty_is_told_from_false() -> None:
    """`truth` gives None for an empty result."""
    expression = compile_expression("probability > 1", "RiskAssessment.prediction")
    node: dict[str, Any] = {}
    assert expression.truth(node, node, node) is None


# the quick form and the complete engine


@lru_cache(maxsize=1)
def nodes() -> list[tuple[str, str, Any, Any]]:
    """(type, key, node, resource) of every invariant on every node of the examples."""
    with gzip.open(EXAMPLES, "rt", encoding="utf-8") as file:
        documents = [json.loads(line, parse_float=Decimal)["resource"] for line in file]
    return [found for d in documents if len(json.dumps(d, default=str)) < 20_000 for found in walk(d, "Resource", d)]


def walk(node: Any, type_name: str, resource: Any) -> Iterator[tuple[str, str, Any, Any]]:
    type_name = node["resourceType"] if type_name == "Resource" else type_name
    definition = definitions().types[type_name]
    for key in definition.constraints:
        yield type_name, key, node, resource
    for element in definition.elements.values() if isinstance(node, dict) else ():
        for name, code in element.json.items():
            value = node.get(name)
            for item in (value if isinstance(value, list) else [value]) if value is not None else ():
                if item is None:
                    continue
                for key in element.constraints:
                    yield code, key, item, resource
                yield from walk(item, code, item if code == "Resource" else resource)


def outcome(truth: Any, node: Any, resource: Any) -> Any:
    try:
        return truth(node, resource, resource)
    except FhirPathError:
        return "error"


def mutated(node: Any, chance: random.Random) -> Any:
    """The node with some of its members taken away, at every depth."""
    if isinstance(node, dict):
        return {k: mutated(v, chance) for k, v in node.items() if k == "resourceType" or chance.random() > 0.25}
    return [mutated(v, chance) for v in node] if isinstance(node, list) else node


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_quick_form_agrees_with_the_complete_engine(seed: int) -> None:
    """On the examples (0) and on examples with members taken away, both halves of the engine give one verdict."""
    chance = random.Random(seed)
    rows = [row for row in nodes() if row[1] not in ("dom-3", "txt-1", "txt-2", "que-2")]
    differences, failed = [], set()
    for type_name, key, node, resource in rows if seed else chance.sample(rows, 8_000):
        changed = mutated(node, chance) if seed else node
        around = changed if node is resource else resource
        text = definitions().constraints[key].expression
        quick = outcome(compile_expression(text, type_name).truth, changed, around)
        slow = outcome(complete(text, type_name), changed, around)
        if quick is not slow:
            differences.append((type_name, key, quick, slow, changed))
        elif quick is False:
            failed.add(key)
    assert differences == []
    assert not seed or len(failed) > 20


@lru_cache(maxsize=4_096)
def complete(text: str, type_name: str) -> Any:
    return complete_truth(parse(text), type_name, strict=False)
