"""A mapping is checked as a whole before anything is read: each mistake has its line and column."""

from pathlib import Path

import pytest

from conformance.load import definitions
from fhir_server.migrating.tables.mapping import read_mapping
from fhir_server.migrating.tables.marked import BadMapping

START = """files:
  a.csv:
    resources:
    - type: Observation
      id: n
      elements:
        """
"""What comes behind begins in line 7, column 9."""


def problems(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with a mapping."""
    path = tmp_path / "m.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(BadMapping) as told:
        read_mapping(path, definitions())
    return told.value.problems


@pytest.mark.parametrize(
    ("element", "text"),
    [
        ("nonsense: x", "line 7, column 19: Observation has no nonsense; it has "),
        ("value: x", "line 7, column 16: value of Observation is a choice: name one of valueQuantity, "),
        ("status[0]: x", "column 20: status of Observation does not repeat, so there is no [0]"),
        ("status.x: x", "column 19: status is a code: there is nothing below it"),
        ("code: x", "column 15: a CodeableConcept is made of more than one text: map what is in it"),
        ("contained.id: x", "contained of Observation cannot be mapped"),
        ("id: x", "id cannot be mapped: it is given by id beside elements"),
        ("status: {}", "column 17: a value needs one of column, text and value"),
        ("status: {column: x, value: y}", "column 17: a value needs one of column, text and value"),
        ("status: {column: x, colour: red}", "column 37: 'colour' is not known in a value; known are column, text,"),
        ("status: {column: x, codes: y}", "column 36: no codes are named 'y'; named are none"),
        ("status: {column: x, otherwise: final}", "column 40: otherwise is for what codes does not name"),
        ("status: {text: x}", "column 17: text names columns in braces"),
        ("status: {column: x, date: '%Y'}", "column 35: date is for dates and times, and this is a code"),
        ("issued: {column: x, date: '%d.%m.%Y'}", "column 35: an instant needs a time of day"),
        ("issued: {column: x, date: '%d.%m.%Y %H:%M'}", "column 35: times without an offset need a time zone"),
        ("effectiveDateTime: {column: x, date: '%d.%m.%y'}", "%y, a year of two digits, may be of two centuries"),
        ("effectiveDateTime: {column: x, date: '%d.%m'}", "a date needs a year (%Y)"),
        ("effectiveDateTime: {column: x, date: '%Q'}", "%Q is not known"),
        ("subject: {reference: Nobody, column: x}", "column 30: 'Nobody' is not a resource type of FHIR R4"),
        ("status: {reference: Patient, column: x}", "column 29: a reference cannot go to a code"),
        ("subject: {reference: Patient, column: x, default: y}", "default does not go with reference"),
        ("status: {column: x, match: '('}", "column 36: match is no regular expression"),
        ("status: {column: x, split: ','}", "column 36: split is what stands between several values, of an element that repeats"),
        ("valueQuantity.value: {value: much}", "column 38: 'much' is no number"),
        ("valueBoolean: {value: yes}", "column 31: 'yes' is neither true nor false"),
        ("code: {value: {codings: x}}", "column 33: CodeableConcept has no codings"),
        ("status: x\n        status: y", "line 8, column 9: 'status' stands here a second time"),
        ("category.text: x\n        category[0].text: y", "line 8, column 27: category[0].text is mapped twice"),
        ("code.text: x\n        code: {value: {text: y}}", "line 8, column 15: code is mapped twice, or together with what is in it"),
        ("status: [", "line 8, column 1: "),
    ],
)  # fmt: skip
def test_an_element_that_is_wrong(tmp_path: Path, element: str, text: str) -> None:
    """The sentence says what would be right."""
    [found] = problems(tmp_path, f"{START}{element}\n")
    assert found.startswith("m.yaml line ") and text in found


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ("", "m.yaml is empty"),
        ("x", "line 1, column 1: a mapping must be names with values"),
        ("zone: Nowhere/Land\nfiles: {}", "line 1, column 7: Nowhere/Land is no time zone such as Europe/Berlin"),
        ("zone: UTC", "a mapping needs files"),
        ("ids: {Patient: pat}\nfiles: {}", "line 1, column 16: a rule of ids is hash, or holds {} once: 'pat-{}'"),
        ("ids: {People: hash}\nfiles: {}", "'People' is not a resource type of FHIR R4"),
        ("files: {a: {}}", "column 12: a file needs resources"),
        ("files: {a: {resources: [{type: Patient}]}}", "column 25: a resource needs an id"),
        ("files: {a: {resources: [{type: AuditEvent, id: x}]}}", "column 32: type 'AuditEvent' is not a resource type"),
        ("files: {a: {encoding: ebcdick, resources: [{type: Patient, id: x}]}}", "ebcdick is no encoding"),
        ("files: {a: {delimiter: ab, resources: [{type: Patient, id: x}]}}", "delimiter is one sign"),
        ("files: {../a: {resources: [{type: Patient, id: x}]}}", "must lie in the folder"),
        ("files: {a: {resources: [{type: Patient, id: x, when: {is: y}}]}}", "column 54: when needs a column"),
        ("a: &a [" + "*a, " * 3 + "]", "m.yaml line 1"),
        ("[" * 40 + "]" * 40, "more than 30 levels"),
        ("a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)), "100000 words"),
    ],
)  # fmt: skip
def test_a_mapping_that_is_wrong(tmp_path: Path, mapping: str, text: str) -> None:
    """Also one that would unfold into more than there is memory for."""
    assert text in problems(tmp_path, mapping)[0]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """In the order in which they stand there."""
    found = problems(tmp_path, f"{START}x: y\n        status: {{}}\n        code: z\n")
    assert [each.split(",")[0] for each in found] == ["m.yaml line 7", "m.yaml line 8", "m.yaml line 9"]
