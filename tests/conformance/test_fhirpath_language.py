"""What the official tests leave open: errors and their places, limits, lenient and strict reading, units, dates, hostile input."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.fhirpath import FhirPathError, compile_expression, compile_paths, locate
from conformance.fhirpath.parser import parse

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p",
    "active": True,
    "name": [{"given": ["A", "B"], "family": "F"}, {"family": "G"}],
    "birthDate": "1974-12-25",
    "_birthDate": {"extension": [{"url": "http://t", "valueDateTime": "1974-12-25T14:35:45-05:00"}]},
    "multipleBirthInteger": 2,
    "contained": [{"resourceType": "Organization", "id": "o", "name": "Org"}],
    "managingOrganization": {"reference": "#o"},
}


def value(expression: str, *, strict: bool = False, **more: Any) -> list[Any]:
    return compile_expression(expression, "Patient", strict=strict).evaluate(PATIENT, **more)


@pytest.mark.parametrize(
    ("expression", "position"),
    [
        ("", 0), ("name.", 5), ("name where", 5), ("(1 + 2", 6), ("1 +", 3), ("'open", 0), ("name.where(", 11),
        ("@2020-13-01", 0), ("@2021-02-29", 0), ("name # 1", 5), ("a.b.$this", 4), ("nope()", 0), ("name.first(1)", 5),
        ("1 /* x", 2), ("name is Nothing", 5),
        ("{1}", 1), ("x[", 2),
    ],
)  # fmt: skip
def test_error_tells_its_place(expression: str, position: int) -> None:
    """What cannot be read is refused with the offset at which that shows."""
    with pytest.raises(FhirPathError) as caught:
        compile_expression(expression, "Patient")
    assert caught.value.position == position


@pytest.mark.parametrize(
    "expression",
    ["(" * 500 + "1" + ")" * 500, "-" * 500 + "1", "name" + ".name" * 500, "1" + "+1" * 500, "a" * 5_000, "name" + "[0]" * 500],
)
def test_hostile_size_is_refused(expression: str) -> None:
    """Length, nesting and chains are limited, so that no expression exhausts the stack."""
    with pytest.raises(FhirPathError):
        compile_expression(expression, "Patient")


@pytest.mark.parametrize("expression", ["(" * 60 + "1" + ")" * 60, "1" + "+1" * 98, " | ".join(["1"] * 1_000)])
def test_what_is_within_the_limits_runs(expression: str) -> None:
    """Deep and long expressions within the limits are evaluated."""
    assert value(expression)


WORDS = """name given where exists ( ) [ ] { } . , | & + - * / = != ~ < >= 1 2.5 'x' @2020 @T10 %ucum %x $this and or implies in is as
Patient String `a` ' @ count() first() 'mg' days toString() matches('(') power(99) ofType(Patient) resolve() extension('x')"""
PIECES = st.sampled_from(WORDS.split())


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=14).map(" ".join)))
def test_nothing_but_fhirpath_errors(expression: str) -> None:
    """Whatever the text, it is evaluated or refused with a FhirPathError, by all doors."""
    for door in (
        lambda: value(expression),
        lambda: value(expression, strict=True),
        lambda: compile_paths(expression, "Patient"),
        lambda: locate(PATIENT, "Patient", expression),
        lambda: compile_expression(expression, "Patient").truth(PATIENT, PATIENT, PATIENT),
    ):
        try:
            door()
        except FhirPathError as error:
            assert str(error)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**27), max_value=10**27, places=9))
def test_decimals_keep_their_value(number: Decimal) -> None:
    """A decimal written as a literal comes back as it is."""
    assert value(f"({number:f}) + 0" if number >= 0 else f"-({number.copy_negate():f})") == [number]


@pytest.mark.parametrize(
    ("expression", "lenient", "strict"),
    [
        ("name.nothing", [], FhirPathError),
        ("Encounter.name", [], FhirPathError),
        ("active is Boolean", [True], [False]),
        ("active is boolean", [True], [True]),
        ("name.as(HumanName).count()", [2], FhirPathError),
        ("name.ofType(HumanName).count()", [2], [2]),
        ("iif('x', 1, 2)", [1], FhirPathError),
        ("deceased.exists()", [False], [False]),
        ("deceasedBoolean.exists()", [False], FhirPathError),
    ],
)
def test_strict_and_lenient(expression: str, lenient: list[Any], strict: Any) -> None:
    """Strict reading refuses what no document can have; the lenient one gives nothing, as R4's invariants rely on."""
    assert value(expression) == lenient
    if strict is FhirPathError:
        with pytest.raises(FhirPathError):
            value(expression, strict=True)
    else:
        assert value(expression, strict=True) == strict


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("birthDate.extension('http://t').value.toString()", ["1974-12-25T14:35:45-05:00"]),
        ("managingOrganization.resolve().name", ["Org"]),
        ("managingOrganization.resolve() is Organization", [True]),
        ("children().count() > 5", [True]),
        ("descendants().ofType(Organization).id", ["o"]),
        ("multipleBirth + 1", [3]),
        ("%mine + 1", [42]),
        ("1 'kg' > 999 'g'", [True]),
        ("1 'mg/dL' = 10 'mg/L'", [True]),
        ("1 'mg' = 1 'mL'", []),
        ("37 'Cel' < 98.6 '[degF]'", []),
        ("1 year = 12 months", [True]),
        ("1 year = 1 'a'", []),
        ("1 year ~ 1 'a'", [True]),
        ("1 'kg' + 500 'g'", ["1.500 'kg'"]),
        ("3 * 2 'mg'", ["6 'mg'"]),
        ("10 'mg' / 2", ["5 'mg'"]),
        ("1 'g' / 0 'g'", []),
        ("@2020-01-31 + 1 month", ["2020-02-29"]),
        ("@2020 + 18 months", ["2021"]),
        ("@2020-02 + 31 days", ["2020-03"]),
        ("@9999-12-31 + 1 day", []),
        ("@T23:30 + 1 hour", ["00:30"]),
        ("@2020-01-01T00:00:00Z - 1 second", ["2019-12-31T23:59:59Z"]),
        ("@2020-01-01T23:00:00-05:00 = @2020-01-02T04:00:00Z", [True]),
        ("@2020-01-01T10:00:00 < @2020-01-03T10:00:00Z", [True]),
        ("@2020-01-01T10:00:00 < @2020-01-01T12:00:00Z", []),
        ("@0001-01-01T00:00:00+14:00 < @0001-01-02T00:00:00+14:00", [True]),
        ("0.1 + 0.2 = 0.3", [True]),
        ("2.power(10000)", []),
        ("1000000.exp()", []),
        ("7 div 2 + -7 div 2", [0]),
        ("(1 | 2 | 3).aggregate($this + $total, 0)", [6]),
        ("'a,b'.split(',').select($this & $index.toString())", ["a0", "b1"]),
        ("name.given.indexOf('A')", FhirPathError),
        ("1 < 'a'", FhirPathError),
        ("%unset", FhirPathError),
        ("name and true", FhirPathError),
        ("(1 | 2 | 3).repeat($this + 1)", FhirPathError),
        ("'a'.matches('[')", FhirPathError),
        ("name.given.aggregate($total & $total & 'xxxxxxxxxx', 'x').length()", [34]),
    ],
)
def test_values(expression: str, expected: Any) -> None:
    """Expressions on extensions, references, units, dates and numbers, and the errors of those that go wrong on the data."""
    if expected is FhirPathError:
        with pytest.raises(FhirPathError):
            value(expression, variables={"mine": 41})
        return
    found = value(expression, variables={"mine": 41})
    assert [str(v) if isinstance(e, str) else v for v, e in zip(found, expected, strict=True)] == expected


def test_evaluation_gives_the_documents_own_values() -> None:
    """Values of the document are its JSON; computed ones are System values; `typed` tells which."""
    assert value("name[0]") == [PATIENT["name"][0]]
    assert compile_expression("name.given | 'x' | active", "Patient").typed(PATIENT) == [
        ("string", "A"),
        ("string", "B"),
        ("System.String", "x"),
        ("boolean", True),
    ]


def test_parsing_keeps_the_grammar_of_operators() -> None:
    """Names may be operators after a dot and between backticks only where the grammar lets them."""
    parse("a.is.as.contains.in")
    parse("`and`.`div`")
    with pytest.raises(FhirPathError):
        parse("a.and")
