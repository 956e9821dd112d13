"""Query strings."""

from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.outcomes import FhirError
from search.parameters import registry
from search.parse import MAX_LENGTH, MAX_PARAMETERS, parse
from search.query import Modifier, Parsed, Prefix
from search.values import ReferenceValue, TokenValue

BASE = "http://127.0.0.1/fhir"


def read(query: str | list[tuple[str, str]], type: str = "Patient", **options: Any) -> Parsed:
    """A query read with the registry."""
    return parse(type, query, parameters=registry(), base_url=BASE, now=lambda: 0, **options)


def problems(query: str, type: str = "Patient", **options: Any) -> list[tuple[str | None, str, str]]:
    """(expression, code, text) of all issues."""
    with pytest.raises(FhirError) as refused:
        read(query, type, **options)
    assert refused.value.status == 400 and all(issue.severity == "error" for issue in refused.value.issues)
    return [(issue.expression, issue.code, issue.text) for issue in refused.value.issues]


@pytest.mark.parametrize(
    ("query", "code", "modifier", "values"),
    [
        ("name=eve", "name", Modifier.NONE, ["eve"]),
        ("name=eve+marie", "name", Modifier.NONE, ["eve marie"]),
        ("name=eve%20marie", "name", Modifier.NONE, ["eve marie"]),
        ("name=a,b", "name", Modifier.NONE, ["a", "b"]),
        ("name=a,,b,", "name", Modifier.NONE, ["a", "b"]),
        ("name=a%5C,b", "name", Modifier.NONE, ["a,b"]),
        ("name:exact=Eve", "name", Modifier.EXACT, ["Eve"]),
        ("name:contains=v", "name", Modifier.CONTAINS, ["v"]),
    ],
)
def test_strings(query: str, code: str, modifier: Modifier, values: list[str]) -> None:
    """Decoding, alternatives, escapes and modifiers."""
    [clause] = read(query).query.clauses
    assert (clause.parameter.code, clause.modifier) == (code, modifier)
    assert [term.value[1] for term in clause.terms] == values  # type: ignore[misc]


def test_and_or() -> None:
    """Repeats are ANDed, commas ORed, exact repeats count once."""
    query = read("name=a&name=b,c&name=a").query
    assert [len(clause.terms) for clause in query.clauses] == [1, 2]
    assert len(read("identifier=1,1,2").query.clauses[0].terms) == 2


@pytest.mark.parametrize("wanted", [True, False])
def test_missing(wanted: bool) -> None:
    """`:missing` has no terms."""
    [clause] = read(f"birthdate:missing={str(wanted).lower()}").query.clauses
    assert clause.modifier is Modifier.MISSING and clause.terms == () and clause.missing is wanted


def test_reference_type() -> None:
    """`subject:Patient=1` is Patient/1."""
    [clause] = read("subject:Patient=1", "Observation").query.clauses
    assert clause.modifier is Modifier.NONE and [term.value for term in clause.terms] == [ReferenceValue("Patient/1")]


def test_prefixes() -> None:
    """Each alternative has its own prefix; strings and tokens have none."""
    [clause] = read("date=ge2026,lt2020", "Observation").query.clauses
    assert [term.prefix for term in clause.terms] == [Prefix.GE, Prefix.LT]
    [clause] = read("identifier=ge2026").query.clauses
    assert clause.terms[0].value == TokenValue("", "ge2026")


TABLE = {
    "name": ("string", {"exact", "contains", "missing"}),
    "gender": ("token", {"not", "missing", "in", "not-in", "above", "below"}),
    "birthdate": ("date", {"missing"}),
    "organization": ("reference", {"missing", "identifier", "above", "below", "Organization"}),
    "_profile": ("uri", {"missing", "above", "below"}),
    "_id": ("token", {"not"}),
    "_lastUpdated": ("date", set[str]()),
}
VALUES = {"missing": "true", "Organization": "1"}
SUFFIXES = [
    "exact",
    "contains",
    "missing",
    "not",
    "text",
    "in",
    "not-in",
    "above",
    "below",
    "of-type",
    "identifier",
    "Organization",
    "Patient",
    "",
    "x",
]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("code", TABLE)
def test_modifiers(code: str, suffix: str) -> None:
    """Which modifiers each kind takes; every other is refused, lenient or not (https://hl7.org/fhir/R4/search.html#modifiers)."""
    value = (
        "http://x/a"
        if code == "_profile" and suffix in ("above", "below")
        else VALUES.get(suffix, "2026" if code in ("birthdate", "_lastUpdated") else "1")
    )
    if suffix in TABLE[code][1]:
        assert len(read(f"{code}:{suffix}={value}").query.clauses) == 1
    else:
        for lenient in (False, True):
            [(expression, issue, text)] = problems(f"{code}:{suffix}={value}", lenient=lenient)
            assert (expression, issue) == (f"{code}:{suffix}", "not-supported") and f":{suffix}" in text


@pytest.mark.parametrize(
    ("query", "type", "expected"),
    [
        ("famly=x", "Patient", "did you mean family?"),
        ("birthDate=2020", "Patient", "did you mean birthdate?"),
        ("xyzzy=1", "Patient", "no search parameter 'xyzzy'"),
        ("general-practitioner.nme=x", "Patient", "general-practitioner"),
        ("general-practitioner:Practitioner.nme=x", "Patient", "did you mean name"),
        ("gender.name=x", "Patient", "gender is no reference"),
        ("general-practioner.name=x", "Patient", "did you mean general-practitioner"),
        ("_has:Observation:patiet:code=x", "Patient", "did you mean patient"),
        ("_has:Observation:patient:cod=x", "Patient", "no search parameter 'cod'"),
        ("_query=x", "Patient", "_query"),
        ("_type=Patient", "Patient", "[base]?_type"),
        ("_maxresults=5", "Patient", "_count"),
        ("_graph=x", "Patient", "_graph"),
        ("=x", "Patient", "no search parameter ''"),
        ("name=x;y=1&y=1", "Patient", "'y'"),
    ],
)
def test_unknown_or_unsupported(query: str, type: str, expected: str) -> None:
    """Refused with what to do instead; with lenient handling ignored, and said so."""
    [(_, code, text)] = problems(query, type)
    assert code == "not-supported" and expected in text and "handling=lenient" in text
    parsed = read(query, type, lenient=True)
    assert len(parsed.ignored) == 1 and expected in parsed.ignored[0][1]
    assert len(parsed.query.clauses) == len(parsed.applied) == query.count("&")


@pytest.mark.parametrize(
    ("query", "type"),
    [
        ("birthdate=20", "Patient"),
        ("identifier=|", "Patient"),
        ("organization=a b", "Patient"),
        ("value-quantity=x", "Observation"),
        ("probability=x", "RiskAssessment"),
        ("active:missing=yes", "Patient"),
        ("subject:Patient=Group/1", "Observation"),
    ],
)
def test_bad_values(query: str, type: str) -> None:
    """A value that cannot be read is refused, lenient or not."""
    for lenient in (False, True):
        [(expression, code, _)] = problems(query, type, lenient=lenient)
        assert (expression, code) == (query.partition("=")[0], "value")


def test_all_problems_at_once() -> None:
    """Every problem is reported, each at its parameter."""
    found = problems("famly=x&birthdate=20,21&gender:exact=male&_count=-1&_sort=foo&_include=x&_total=some")
    assert [name for name, _, _ in found] == [
        "famly",
        "birthdate",
        "birthdate",
        "gender:exact",
        "_count",
        "_sort",
        "_include",
        "_total",
    ]


@pytest.mark.parametrize(
    "query",
    ["name=", "name", "name=%20", "name=,", "name=&name=", "name=%0A", "name=,%0D%0A%20%09", "_sort=", "_count=", "unknown="],
)
def test_without_a_value(query: str) -> None:
    """A parameter without a value is ignored, and said so."""
    parsed = read(query)
    assert parsed.query.clauses == () and parsed.applied == ()
    assert {reason for _, reason in parsed.ignored} == {"it has no value"}


def test_limits() -> None:
    """Too much is refused before any work is done."""
    assert problems("name=" + "x" * MAX_LENGTH)[0][1] == "too-long"
    assert problems("&".join(["name=x"] * (MAX_PARAMETERS + 1)))[0][1] == "too-costly"
    assert problems("identifier=" + ",".join(str(n) for n in range(1001)))[0][1] == "too-costly"
    assert len(read("identifier=" + ",".join(str(n) for n in range(1000))).query.clauses[0].terms) == 1000
    with pytest.raises(FhirError):
        read([("name", "x")] * (MAX_PARAMETERS + 1))


def test_long_values_are_not_echoed() -> None:
    """An error quotes the beginning of what was sent, no more."""
    [(expression, _, text)] = problems("birthdate=" + "9" * 10_000)
    assert len(text) < 600 and expression == "birthdate"
    [(expression, _, text)] = problems("x" * 10_000 + "=1")
    assert len(text) < 600 and expression is not None and len(expression) == 100


@pytest.mark.parametrize(
    ("query", "type", "says", "never"),
    [
        ("_has=x", "Patient", "write _has:Type:reference:parameter=value", "did you mean"),
        ("_has:Observation:patient:code:=x", "Patient", "after a colon", ""),
        ("general-practitioner:.name=x", "Patient", "after a colon", ""),
        ("_count:=5", "Patient", "after a colon", ""),
        ("_has:Observation:patient:code=x", "Encounter", "never refers to an Encounter", "did you mean"),
        ("subject:exact.name=x", "Observation", "'exact' is no resource type", "never refers"),
        ("_include=Patient:organization:Patient", "Patient", "never refers to a Patient", "did you mean"),
        ("_revinclude=QuestionnaireResponse:questionnaire", "ValueSet", "no reference parameter", "did you mean"),
        ("_include=Measure:depends-on:Patient", "Measure", "never refers to a Patient", "did you mean"),
        ("_sort=code-value-quantity", "Observation", "or value-quantity", "mean code-value"),
        ("_sort=subject:Organization.name", "Observation", "never refers to an Organization", "did you mean"),
        ("_filter=birthdate eq xx", "Patient", "'xx' is no date", "eqxx"),
        ("value-quantity=1" + "0" * 400, "Observation", "too many digits", "0" * 70),
    ],
)
def test_what_is_said(query: str, type: str, says: str, never: str) -> None:
    """One sentence that is true of what was sent, and proposes neither that very thing nor what cannot be had."""
    [(_, _, text)] = problems(query, type)
    assert says in text and (not never or never not in text)


def test_empty_alternatives() -> None:
    """White space is no alternative."""
    assert len(read("name=a,%0A,%20").query.clauses[0].terms) == 1


def test_not_utf8() -> None:
    """Bytes that are no UTF-8 are refused rather than replaced."""
    [(_, _, text)] = problems("name=%ff")
    assert "UTF-8" in text


def test_applied_is_the_self_link() -> None:
    """What counted stands in `applied` in the order sent, with what was cut."""
    parsed = read(
        "name=a&_count=5000&_format=json&famly=x&_sort=foo,-birthdate&gender=&active=true&_cursor=abc", lenient=True, max_count=100
    )
    assert parsed.applied == (
        ("name", "a"),
        ("_count", "100"),
        ("_format", "json"),
        ("_sort", "-birthdate"),
        ("active", "true"),
    )
    assert [name for name, _ in parsed.ignored] == ["famly", "_sort", "gender"]
    assert parsed.cursor == "abc"


NAMES = st.one_of(
    st.sampled_from(
        [*registry().of("Observation"), "_sort", "_count", "_total", "_include", "_revinclude", "_summary", "_elements", "_has"]
    ),
    st.text(max_size=20),
)
SUFFIX = st.one_of(
    st.just(""), st.sampled_from([":exact", ":contains", ":missing", ":not", ":Patient", ":iterate", ":"]), st.text(max_size=5)
)
VALUE = st.one_of(
    st.text(max_size=30),
    st.from_regex(r"(eq|ne|gt|lt|ge|le|sa|eb|ap)?[0-9]{4}(-[0-9]{2}){0,2}", fullmatch=True),
    st.from_regex(r"(gt|ap)?-?[0-9]{1,5}(\.[0-9]{1,3})?(\|[a-z]{0,3}\|[a-z]{0,3})?", fullmatch=True),
    st.sampled_from(
        [
            "a|b",
            "|b",
            "a|",
            "true",
            "Patient/1",
            "http://x/y|1",
            "Observation:subject",
            "Provenance:target",
            "-date,code",
            "*",
            "a,b",
            "\\",
        ]
    ),
)
PAIRS = st.lists(st.tuples(st.tuples(NAMES, SUFFIX).map("".join), VALUE), max_size=6)


@settings(max_examples=400)
@given(PAIRS, st.booleans())
def test_nothing_but_fhir_errors(pairs: list[tuple[str, str]], lenient: bool) -> None:
    """Whatever is sent, it is read or refused with a 400; what is read comes back from its own self link."""
    for query in (pairs, urlencode(pairs, errors="surrogatepass")):
        try:
            parsed = read(query, "Observation", lenient=lenient)
        except FhirError as refused:
            assert refused.status == 400 and refused.issues
            continue
        again = read(urlencode(parsed.applied), "Observation")
        assert again.query == parsed.query
        assert again.applied == parsed.applied


def test_too_many_comparisons() -> None:
    """Alternatives in units of UCUM stand for one in each unit that measures the same; there is a limit on all of them together."""
    many = ",".join(f"{n}|http://unitsofmeasure.org|g" for n in range(1_000))
    [(expression, code, text)] = problems(f"value-quantity={many}", "Observation")
    assert (expression, code) == ("value-quantity", "too-costly") and "10000 comparisons, each in many units" in text
    above = ",".join(f"http://x/{n}/a/b/c/d/e/f" for n in range(1_000))
    [(expression, code, text)] = problems(f"url:above={above}", "ValueSet")
    assert (expression, code) == ("url:above", "too-costly") and "units" not in text
    assert len(read(f"value-quantity={many.replace('http://unitsofmeasure.org', 'urn:x')}", "Observation").query.clauses) == 1
