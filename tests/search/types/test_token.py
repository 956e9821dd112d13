"""Token parameters."""

from decimal import Decimal

import pytest

from search.parameters import registry
from search.query import Modifier
from search.types import token
from search.types.text import BadValue, Reading
from search.values import TokenValue

READING = Reading(("http://127.0.0.1/fhir/",), 0)
CODE = registry().of("Observation")["code"]
GENDER = registry().of("Patient")["gender"]
ACTIVE = registry().of("Patient")["active"]
ID = registry().of("Patient")["_id"]
GENDERS = "http://hl7.org/fhir/administrative-gender"


@pytest.mark.parametrize(
    ("asked", "with_system", "other_system", "no_system", "other_code"),
    [
        ("c", True, True, True, False),
        ("s|c", True, False, False, False),
        ("|c", False, False, True, False),
        ("s|", True, False, False, True),
        ("C", False, False, False, False),
        ("S|c", False, False, False, False),
    ],
)
def test_forms(asked: str, with_system: bool, other_system: bool, no_system: bool, other_code: bool) -> None:
    """The four forms against s|c, t|c, c without a system, and s|d."""
    [term] = token.parse(asked, CODE, Modifier.NONE, READING)
    held = (TokenValue("s", "c"), TokenValue("t", "c"), TokenValue("", "c"), TokenValue("s", "d"))
    found = tuple(token.match(term, Modifier.NONE, value) for value in held)
    assert found == (with_system, other_system, no_system, other_code)


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ("s\\|t|c", TokenValue("s|t", "c")),
        ("s|c\\|d", TokenValue("s", "c|d")),
        ("c\\,d", TokenValue("", "c,d")),
        ("c d", TokenValue("", "c d")),
    ],
)
def test_escapes(asked: str, value: TokenValue) -> None:
    """An escaped separator belongs to the system or code."""
    [term] = token.parse(asked, CODE, Modifier.NONE, READING)
    assert term.value == value


@pytest.mark.parametrize(("asked", "message"), [("|", "neither"), ("a|b|c", "more than one")])
def test_refused(asked: str, message: str) -> None:
    """A lone | and a second | are mistakes."""
    with pytest.raises(BadValue, match=message):
        token.parse(asked, CODE, Modifier.NONE, READING)


def test_implied_system() -> None:
    """A `code` element has no system, but its binding's may be named, alone too; another one finds nothing."""
    [male] = token.parse(f"{GENDERS}|male", GENDER, Modifier.NONE, READING)
    assert token.match(male, Modifier.NONE, TokenValue("", "male"))
    assert len(token.parse(f"{GENDERS}|", GENDER, Modifier.NONE, READING)) == 4
    [other] = token.parse("http://example.org/other|male", GENDER, Modifier.NONE, READING)
    assert not token.match(other, Modifier.NONE, TokenValue("", "male"))


def test_special_values() -> None:
    """The system of booleans may be named (https://hl7.org/fhir/R4/search.html#token)."""
    [term] = token.parse("http://hl7.org/fhir/special-values|true", ACTIVE, Modifier.NONE, READING)
    assert token.match(term, Modifier.NONE, TokenValue("", "true"))


def test_id_has_no_system() -> None:
    """The value of _id is an id as a whole."""
    [term] = token.parse("a|b", ID, Modifier.NONE, READING)
    assert term.value == TokenValue("", "a|b") and not term.system_given


@pytest.mark.parametrize(
    ("fhir_type", "value", "expected"),
    [
        ("code", "final", [("", "final")]),
        ("id", "abc", [("", "abc")]),
        ("uri", "urn:x", [("", "urn:x")]),
        ("string", "A-1", [("", "A-1")]),
        ("boolean", True, [("", "true")]),
        ("boolean", False, [("", "false")]),
        ("positiveInt", 3, [("", "3")]),
        ("decimal", Decimal("1.50"), [("", "1.50")]),
        ("Coding", {"system": "s", "code": "c", "display": "d"}, [("s", "c")]),
        ("Coding", {"code": "c"}, [("", "c")]),
        ("Coding", {"system": "s", "display": "d"}, [("s", "")]),
        ("Coding", {"display": "d"}, []),
        ("CodeableConcept", {"coding": [{"system": "s", "code": "c"}, {"code": "d"}, {}], "text": "t"}, [("s", "c"), ("", "d")]),
        ("CodeableConcept", {"text": "t"}, []),
        ("Identifier", {"system": "s", "value": "v"}, [("s", "v")]),
        ("Identifier", {"value": "v"}, [("", "v")]),
        ("Identifier", {"system": "s"}, [("s", "")]),
        ("Identifier", {"use": "usual"}, []),
        ("ContactPoint", {"system": "phone", "use": "home", "value": "555"}, [("", "555")]),
        ("ContactPoint", {"system": "phone"}, []),
    ],
)  # fmt: skip
def test_extraction(fhir_type: str, value: object, expected: list[tuple[str, str]]) -> None:
    """What has a code makes a value, with its system where the type has one."""
    convert = token.converter(fhir_type, ())
    assert convert is not None
    assert list(convert([value])) == [TokenValue(*pair) for pair in expected]


def test_other_types_have_no_code() -> None:
    """A Period has nothing to compare as a token."""
    assert token.converter("Period", ()) is None
