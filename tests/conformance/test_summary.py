"""_summary and _elements (https://hl7.org/fhir/R4/search.html#summary)."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from conformance.load import definitions
from conformance.summary import subset
from conformance.validate import Validator
from resources import structure
from resources.documents import decode

PATIENT = (
    b'{"resourceType":"Patient","id":"1","meta":{"versionId":"1","lastUpdated":"2026-01-01T00:00:00.000Z","profile":["http://e.org/p"]},'
    b'"text":{"status":"empty","div":"<div>x</div>"},"extension":[{"url":"http://e.org","valueDecimal":1.50}],'
    b'"modifierExtension":[{"url":"http://e.org/m","valueBoolean":true}],'
    b'"active":true,"name":[{"id":"n","extension":[{"url":"http://e.org","valueString":"x"}],"family":"a"}],"birthDate":"2000",'
    b'"_birthDate":{"extension":[{"url":"http://e.org","valueString":"x"}]},"maritalStatus":{"text":"x"},'
    b'"contact":[{"gender":"male","name":{"family":"b"}}]}'
)


def part(mode: str | None = None, elements: tuple[str, ...] = (), body: bytes = PATIENT) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(subset(json.loads(body)["resourceType"], body, mode, elements))
    return document


def test_summary_true_keeps_what_is_marked() -> None:
    """Also inside elements; modifiers stay, whatever they are marked."""
    found = part("true")
    expected = {"resourceType", "id", "meta", "modifierExtension", "active", "name", "birthDate", "_birthDate"}
    assert set(found) == expected
    assert found["name"] == [{"id": "n", "family": "a"}]


def test_summary_text_keeps_narrative_and_mandatory_elements() -> None:
    """id, meta, text and what must be there."""
    assert set(part("text")) == {"resourceType", "id", "meta", "text"}
    observation = (
        b'{"resourceType":"Observation","id":"1","text":{"div":"x"},"status":"final","code":{"text":"x"},"valueString":"y"}'
    )
    assert set(part("text", body=observation)) == {"resourceType", "id", "meta", "text", "status", "code"}


def test_summary_data_drops_the_narrative_only() -> None:
    """Everything else stays, in its order."""
    assert list(part("data")) == [name for name in json.loads(PATIENT) if name != "text"]


def test_text_that_is_no_narrative_is_data() -> None:
    """An element called text is dropped where it is a resource's narrative, nowhere else."""
    assert "text" in json.dumps(part("data", body=b'{"resourceType":"Observation","id":"1","code":{"text":"x"}}'))


@pytest.mark.parametrize("mode", ["false", "count", None])
def test_no_wish_gives_the_document_itself(mode: str | None) -> None:
    """The very bytes, without a tag."""
    assert subset("Patient", PATIENT, mode) == PATIENT


@pytest.mark.parametrize("names", [("name", "birthDate"), ("Patient.name", "Patient.birthDate"), ("name.family", "birthDate")])
def test_elements_keep_the_ones_named(names: tuple[str, ...]) -> None:
    """Whole, with what belongs to them, and modifiers."""
    found = part(None, names)
    assert set(found) == {"resourceType", "id", "meta", "modifierExtension", "active", "name", "birthDate", "_birthDate"}
    assert "extension" in found["name"][0]


def test_elements_keep_mandatory_ones_and_find_choices() -> None:
    """status and code of an Observation always; `value` is valueQuantity here."""
    body = (
        b'{"resourceType":"Observation","id":"1","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.50},"issued":"x"}'
    )
    out = subset("Observation", body, None, ("value",))
    assert set(json.loads(out)) == {"resourceType", "id", "meta", "status", "code", "valueQuantity"}
    assert b'"valueQuantity":{"value":1.50}' in out
    assert set(json.loads(subset("Observation", body, None, ("valueQuantity",)))) == set(json.loads(out))


def test_parts_are_tagged_once() -> None:
    """SUBSETTED is added to the tags that are there, and not twice."""
    once = subset("Patient", PATIENT.replace(b'"profile"', b'"tag":[{"code":"x"}],"profile"'), "true")
    twice = subset("Patient", once, "true")
    tags = json.loads(twice)["meta"]["tag"]
    assert [tag["code"] for tag in tags] == ["x", "SUBSETTED"]
    assert tags[1]["system"] == "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"


def test_official_examples_stay_good() -> None:
    """Whatever is left of an example is what was there, and has the structure of a resource."""
    validator = Validator(definitions())
    with gzip.open(Path(__file__).parents[1] / "data" / "r4-examples.ndjson.gz", "rt", encoding="utf-8") as file:
        for line in list(file)[::5]:
            resource = json.loads(line)["resource"]
            name, body = resource["resourceType"], json.dumps(resource).encode()
            if structure.check(body):
                continue
            for mode in ("true", "text", "data"):
                out = subset(name, body, mode)
                kept = json.loads(out)
                assert {k: v for k, v in kept.items() if k in ("id", "text", "status")}.items() <= resource.items()
                assert not [i for i in structure.check(out) if "required" not in i.text]
                validator.check(name, decode(out))
