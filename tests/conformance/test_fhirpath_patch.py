"""FHIRPath Patch (https://hl7.org/fhir/R4/fhirpatch.html): HL7's cases, and what they leave out."""

import gzip
import json
import time
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.dom.minidom import parseString

import pytest

from conformance.fhirpath_patch import apply
from resources.outcomes import FhirError

Json = dict[str, Any]

with gzip.open(Path(__file__).parents[1] / "data" / "fhir-patch-tests.r4.ndjson.gz", "rt", encoding="utf-8") as _file:
    CASES = [json.loads(line) for line in _file]


def same_narrative(resource: Json) -> Json:
    """The resource with its div written in one way (`"` and `&quot;` are the same)."""
    if "text" in resource:
        resource["text"]["div"] = parseString(resource["text"]["div"]).toxml()
    return resource


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_official_cases(case: Json) -> None:
    """Every case of HL7's test suite: the outcome, or a refusal."""
    source = deepcopy(case["input"])
    if "error" in case:
        with pytest.raises(FhirError) as caught:
            apply("Patient", source, case["diff"])
        assert caught.value.status == 422
    else:
        assert same_narrative(apply("Patient", source, case["diff"])) == same_narrative(case["output"])


def operation(type: str, path: str, **parts: Any) -> Json:
    """One operation as a Parameters.parameter; `value` is the value's part without its name."""
    made = [{"name": "type", "valueCode": type}, {"name": "path", "valueString": path}]
    for name, part in parts.items():
        made.append({"name": name, **part} if isinstance(part, dict) else {"name": name, **_plain(part)})
    return {"name": "operation", "part": made}


def _plain(value: str | int) -> Json:
    return {"valueInteger": value} if isinstance(value, int) else {"valueString": value}


def patched(document: Json, *operations: Json) -> Json:
    return apply(document["resourceType"], document, {"resourceType": "Parameters", "parameter": list(operations)})


def patient(**members: Any) -> Json:
    return {"resourceType": "Patient", "id": "1", **members}


FITTING: list[tuple[str, Json, Json, Json]] = [
    ("add a choice", {"resourceType": "Observation", "id": "1"},
     operation("add", "Observation", name="value", value={"valueQuantity": {"value": 1}}),
     {"resourceType": "Observation", "id": "1", "valueQuantity": {"value": 1}}),
    ("replace a choice by another type", {"resourceType": "Observation", "id": "1", "valueString": "x"},
     operation("replace", "Observation.value", value={"valueQuantity": {"value": 1}}),
     {"resourceType": "Observation", "id": "1", "valueQuantity": {"value": 1}}),
    ("replace a choice by the same type", patient(deceasedBoolean=True), operation("replace", "Patient.deceased",
     value={"valueBoolean": False}), patient(deceasedBoolean=False)),
    ("add a primitive to a list", patient(name=[{"given": ["a"]}]), operation("add", "Patient.name[0]", name="given",
     value={"valueString": "b"}), patient(name=[{"given": ["a", "b"]}])),
    ("add a primitive with an extension", patient(name=[{"given": ["a"]}]), operation("add", "Patient.name[0]", name="given",
     value={"valueString": "b", "_valueString": {"id": "x"}}), patient(name=[{"given": ["a", "b"], "_given": [None, {"id": "x"}]}])),
    ("add a primitive that is an extension only", patient(), operation("add", "Patient", name="birthDate",
     value={"_valueDate": {"extension": [{"url": "http://e.org", "valueCode": "x"}]}}),
     patient(_birthDate={"extension": [{"url": "http://e.org", "valueCode": "x"}]})),
    ("add an extension to a primitive", patient(birthDate="2000"), operation("add", "Patient.birthDate", name="extension",
     value={"part": [{"name": "url", "valueUri": "http://e.org"}, {"name": "value", "valueCode": "x"}]}),
     patient(birthDate="2000", _birthDate={"extension": [{"url": "http://e.org", "valueCode": "x"}]})),
    ("delete of a list takes the extension along", patient(name=[{"given": ["a", "b"], "_given": [None, {"id": "x"}]}]),
     operation("delete", "Patient.name[0].given[0]"), patient(name=[{"given": ["b"], "_given": [{"id": "x"}]}])),
    ("delete of the last one takes the list along", patient(name=[{"family": "x", "given": ["a"]}]),
     operation("delete", "Patient.name[0].given[0]"), patient(name=[{"family": "x"}])),
    ("delete of nothing", patient(), operation("delete", "Patient.birthDate"), patient()),
    ("delete by a condition", patient(telecom=[{"system": "phone", "value": "1"}, {"system": "email", "value": "2"}]),
     operation("delete", "Patient.telecom.where(system = 'phone')"), patient(telecom=[{"system": "email", "value": "2"}])),
    ("move takes the extension along", patient(name=[{"given": ["a", "b", "c"], "_given": [None, None, {"id": "x"}]}]),
     operation("move", "Patient.name[0].given", source=2, destination=0),
     patient(name=[{"given": ["c", "a", "b"], "_given": [{"id": "x"}, None, None]}])),
    ("insert into a list that is not there", patient(), operation("insert", "Patient.name", index=0,
     value={"valueHumanName": {"family": "x"}}), patient(name=[{"family": "x"}])),
    ("insert at the end", patient(name=[{"family": "x"}]), operation("insert", "Patient.name", index=1,
     value={"valueHumanName": {"family": "y"}}), patient(name=[{"family": "x"}, {"family": "y"}])),
    ("replace one of a list", patient(name=[{"family": "x"}, {"family": "y"}]), operation("replace", "Patient.name[0]",
     value={"valueHumanName": {"family": "z"}}), patient(name=[{"family": "z"}, {"family": "y"}])),
    ("replace drops the old extension", patient(birthDate="2000", _birthDate={"id": "x"}), operation("replace", "Patient.birthDate",
     value={"valueDate": "2001"}), patient(birthDate="2001")),
    ("parts within parts", patient(), operation("add", "Patient", name="contact", value={"part": [{"name": "name",
     "valueHumanName": {"family": "x"}}, {"name": "telecom", "valueContactPoint": {"value": "1"}}, {"name": "telecom",
     "valueContactPoint": {"value": "2"}}]}), patient(contact=[{"name": {"family": "x"}, "telecom": [{"value": "1"}, {"value": "2"}]}])),
    ("add a contained resource", patient(), operation("add", "Patient", name="contained", value={"resource": {"resourceType":
     "Organization", "id": "o"}}), patient(contained=[{"resourceType": "Organization", "id": "o"}])),
    ("add inside a contained resource", patient(contained=[{"resourceType": "Organization", "id": "o"}]),
     operation("add", "Patient.contained[0]", name="name", value={"valueString": "x"}),
     patient(contained=[{"resourceType": "Organization", "id": "o", "name": "x"}])),
    ("narrative", patient(text={"status": "empty", "div": "<div/>"}), operation("replace", "Patient.text.div",
     value={"valueString": "<div>x</div>"}), patient(text={"status": "empty", "div": "<div>x</div>"})),
]  # fmt: skip


@pytest.mark.parametrize(("before", "change", "after"), [row[1:] for row in FITTING], ids=[row[0] for row in FITTING])
def test_an_operation_that_fits(before: Json, change: Json, after: Json) -> None:
    """The document is what the specification says."""
    assert patched(before, change) == after


REFUSED: list[tuple[str, Json, int, str]] = [
    ("unknown type", operation("swap", "Patient.name"), 400, "add, insert, delete, replace, move"),
    ("no FHIRPath", operation("delete", "Patient.["), 400, "Operation 1"),
    ("no simple path", operation("delete", "Patient.name.given.upper()"), 400, "Operation 1"),
    ("unknown element in the path", operation("delete", "Patient.nome"), 400, "nome"),
    ("add without name", operation("add", "Patient", value={"valueString": "x"}), 400, "name"),
    ("add without value", operation("add", "Patient", name="birthDate"), 400, "value"),
    ("insert without index", operation("insert", "Patient.name", value={"valueHumanName": {}}), 400, "index"),
    ("negative index", operation("insert", "Patient.name", index=-1, value={"valueHumanName": {}}), 400, "index"),
    ("add what is there", operation("add", "Patient", name="gender", value={"valueCode": "male"}), 422, "already"),
    (
        "add a choice where another is there",
        operation("add", "Patient", name="deceased", value={"valueDateTime": "2000"}),
        422,
        "already",
    ),
    ("add an unknown element", operation("add", "Patient", name="nome", value={"valueString": "x"}), 422, "no element nome"),
    ("add another type", operation("add", "Patient", name="name", value={"valueString": "x"}), 422, "HumanName"),
    ("add a choice of another type", operation("add", "Patient", name="multipleBirth", value={"valueString": "x"}), 422, "integer"),
    ("add to several", operation("add", "Patient.name", name="family", value={"valueString": "x"}), 422, "2 elements"),
    ("replace nothing", operation("replace", "Patient.birthDate", value={"valueDate": "2000"}), 422, "nothing"),
    ("replace several", operation("replace", "Patient.name", value={"valueHumanName": {"family": "x"}}), 422, "2 elements"),
    ("delete several", operation("delete", "Patient.name"), 422, "2 elements"),
    (
        "index beyond the end",
        operation("insert", "Patient.name", index=3, value={"valueHumanName": {"family": "x"}}),
        422,
        "index 3",
    ),
    ("move beyond the end", operation("move", "Patient.name", source=0, destination=2), 422, "2 items"),
    ("insert into what does not repeat", operation("insert", "Patient.gender", index=0, value={"valueCode": "x"}), 422, "list"),
    ("the id", operation("replace", "Patient.id", value={"valueId": "2"}), 422, "id"),
]


@pytest.mark.parametrize(("change", "status", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_an_operation_that_does_not_fit_is_refused(change: Json, status: int, words: str) -> None:
    """400 where the patch is wrong by itself, 422 where it does not fit the document; the text names the operation."""
    document = patient(gender="female", deceasedBoolean=False, name=[{"family": "a"}, {"family": "b"}])
    with pytest.raises(FhirError) as caught:
        patched(document, change)
    assert caught.value.status == status
    assert words in str(caught.value)


def test_the_second_operation_is_named() -> None:
    """Operations are counted from 1, and each sees what the ones before it have done."""
    good = operation("add", "Patient", name="birthDate", value={"valueDate": "2000"})
    with pytest.raises(FhirError, match="Operation 2"):
        patched(patient(), good, good)


@pytest.mark.parametrize("parameters", [{"resourceType": "Patient"}, {"resourceType": "Parameters", "parameter": [{"name": "x"}]}])
def test_what_is_no_patch_is_refused(parameters: Json) -> None:
    """Only a Parameters resource of operations is a patch."""
    with pytest.raises(FhirError) as caught:
        apply("Patient", patient(), parameters)
    assert caught.value.status == 400


TYPES = "extension.value.where(" * 6 + "true" + ").count() > 0" * 6
COSTLY = {
    "elements of all types": [operation("delete", f"Patient.name.where({TYPES})")],
    "many operations on many elements": [operation("delete", "Patient.name.where(given = 'none')") for _ in range(2_000)],
    "many operations that go through it": [operation("add", "Patient", name="gender", value={"valueCode": "male"}), *(
        operation("replace", "Patient.gender", value={"valueCode": "female"}) for _ in range(2_000)
    )],
}  # fmt: skip


@pytest.mark.parametrize("operations", COSTLY.values(), ids=COSTLY.keys())
def test_patches_that_take_too_long(operations: list[Json]) -> None:
    """A patch that would keep the server busy is refused, and says at which operation."""
    before = time.process_time()
    with pytest.raises(FhirError) as caught:
        patched(patient(name=[{"family": f"f{i}", "given": ["a", "b"]} for i in range(1_000)]), *operations)
    assert time.process_time() - before < 8
    assert (caught.value.status, caught.value.issues[0].code) == (422, "too-costly")
    assert "Operation " in caught.value.issues[0].text


def test_long_patches() -> None:
    """Hundreds of operations on a document of the usual size are no trouble."""
    names = [{"family": f"f{i}"} for i in range(20)]
    changes = [operation("replace", f"Patient.name[{i % 20}].family", value={"valueString": f"g{i}"}) for i in range(500)]
    assert [name["family"] for name in patched(patient(name=names), *changes)["name"]] == [f"g{i}" for i in range(480, 500)]
