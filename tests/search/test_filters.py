"""`_filter` expressions (https://hl7.org/fhir/R4/search_filter.html) and `_list`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.outcomes import FhirError
from search.parameters import registry
from search.parse import parse
from search.query import AllOf, AnyOf, Chain, Clause, Condition, Has, Modifier, Negation

SIGNS = {Modifier.EQUALS: "=", Modifier.ENDS: "$", Modifier.CONTAINS: "~", Modifier.NONE: "", Modifier.MISSING: "?"}


def read(expression: str, type: str = "Patient", name: str = "_filter") -> Condition:
    found = parse(type, [(name, expression)], parameters=registry(), base_url="http://here/fhir", now=lambda: 0).query.clauses
    return found[0] if len(found) == 1 else AllOf(found)


def told(condition: Condition) -> str:
    """A condition in few characters."""
    if isinstance(condition, Clause):
        value = ",".join(f"{'' if t.prefix == 'eq' else t.prefix}{_text(t.value)}" for t in condition.terms)
        return (
            f"{condition.parameter.code}{SIGNS[condition.modifier]}{'' if condition.missing else '!' if not value else ''}{value}"
        )
    if isinstance(condition, Negation):
        return f"not({told(condition.condition)})"
    if isinstance(condition, Chain):
        return f"{condition.parameters[0].code}>{condition.target}({'; '.join(map(told, condition.conditions))})"
    assert isinstance(condition, AllOf | AnyOf)
    return f"({(' and ' if isinstance(condition, AllOf) else ' or ').join(map(told, condition.conditions))})"


def _text(value: object) -> str:
    assert isinstance(value, tuple)
    return f"(({value[0]}|{value[1]}))" if type(value).__name__ == "TokenValue" else f"({value[0]})"


@pytest.mark.parametrize(
    ("type", "expression", "expected"),
    [
        ("Patient", 'name co "pet"', "name~(pet)"),
        ("Patient", 'given eq "peter"', "given=(peter)"),
        ("Patient", "given eq peter", "given=(peter)"),
        ("Patient", 'family sw "Ch"', "family(ch)"),
        ("Patient", "family ew ERS", "family$(ers)"),
        ("Patient", r'family eq "a \"b\", (c]\u00e9"', 'family=(a "b", (c]e)'),
        ("Patient", "family ne x", "(family?! and not(family=(x)))"),
        ("Patient", "family pr true", "family?!"),
        ("Patient", "family pr false", "family?"),
        ("Patient", "gender eq male", "gender((|male))"),
        ("Patient", "_id ne 1", "not(_id((|1)))"),
        ("Patient", "birthdate ge 1970", "birthdatege(0)"),
        ("Patient", "birthdate po 1970", "birthdateap(0)"),
        ("Patient", "_lastUpdated gt 1970", "_lastUpdatedgt(0)"),
        ("Patient", "organization eq Organization/1", "organization(Organization/1)"),
        ("Observation", "subject re Patient/1", "subject(Patient/1)"),
        ("Observation", "code eq http://loinc.org|1234-5", "code((http://loinc.org|1234-5))"),
        ("Observation", "code eq a,b", "code((|a,b))"),
        ("Patient", "gender eq male and active eq true", "(gender((|male)) and active((|true)))"),
        ("Patient", "_id eq 1 and _id eq 2 or _id eq 3", "((_id((|1)) and _id((|2))) or _id((|3)))"),
        ("Patient", "_id eq 1 or _id eq 2 and _id eq 3", "((_id((|1)) or _id((|2))) and _id((|3)))"),
        ("Patient", "_id eq 1 or (_id eq 2 and _id eq 3)", "(_id((|1)) or (_id((|2)) and _id((|3))))"),
        ("Patient", "not (_id eq 1) and not(_id eq 2 or _id eq 3)", "(not(_id((|1))) and not((_id((|2)) or _id((|3)))))"),
        ("Patient", "((_id eq 1))", "_id((|1))"),
        ("Observation", 'patient.name co "pet"', "patient>Patient(name~(pet))"),
        ("Observation", "subject.name sw x", "(subject>Patient(name(x)) or subject>Location(name(x)))"),
        ("Observation", "patient.organization.name sw n", "patient>Patient(organization>Organization(name(n)))"),
        (
            "Observation",
            'patient[active eq true and gender eq male].name co "x"',
            "patient>Patient(active((|true)); gender((|male)); name~(x))",
        ),
        ("Observation", "subject[birthdate lt 1970].name sw x", "subject>Patient(birthdatelt(0); name(x))"),
    ],
)
def test_read(type: str, expression: str, expected: str) -> None:
    """Operators, words, parentheses, chains and filters within them."""
    assert told(read(expression, type)) == expected


@pytest.mark.parametrize(
    ("type", "expression", "at", "says"),
    [
        ("Patient", "name", 5, "expected"),
        ("Patient", "name co", 8, "a value"),
        ("Patient", "name co x name", 11, "and, or"),
        ("Patient", "(name co x", 11, ")"),
        ("Patient", "name xx y", 6, "no comparison"),
        ("Patient", "active eq true and nme co x", 20, "did you mean name"),
        ("Patient", "name ge x", 6, "ge does not compare string"),
        ("Patient", "gender co x", 8, "co does not compare token"),
        ("Patient", "birthdate eq x", 14, "x"),
        ("Patient", "active pr maybe", 11, "true or false"),
        ("Patient", "gender.name eq x", 1, "no reference"),
        ("Observation", "subject.nme eq x", 9, "no search parameter"),
        ("Observation", "subject[active eq true] eq Patient/1", 1, "followed by ."),
        ("Observation", "code-value-quantity eq x", 21, "code-value-quantity"),
        ("Patient", "(" * 60 + "_id eq 1" + ")" * 60, 32, "within one another"),
        ("Patient", "_id eq 1 or " * 900 + "_id eq 1", 1, "at most 8000"),
        ("Patient", "_id eq 1 or " * 600 + "_id eq 1", 6001, "500 comparisons"),
        ("Patient", 'name co "x', 9, "a value"),
        ("Composition", "subject." * 25 + "name eq x", 1, "too many types"),
    ],
)
def test_refused(type: str, expression: str, at: int, says: str) -> None:
    """What cannot be done is 400 with its place in the text."""
    with pytest.raises(FhirError) as refused:
        read(expression, type)
    [issue] = refused.value.issues
    assert issue.expression == "_filter" and says in issue.text
    assert f"at character {at}" in issue.text


@settings(max_examples=200, deadline=None)
@given(st.text('abcnot eq()[]." \\1-_', max_size=40) | st.text(max_size=30))
def test_nothing_but_fhir_errors(expression: str) -> None:
    """Whatever is sent, the answer is conditions or a FhirError."""
    try:
        parse("Patient", [("_filter", expression)], parameters=registry(), base_url="http://here/fhir")
    except FhirError as refused:
        assert refused.status == 400


def test_lists() -> None:
    """_list is what one of the Lists has as an item."""
    found = read("42,List/43", name="_list")
    assert isinstance(found, Has) and (found.source, found.parameters[0].code) == ("List", "item")
    [clause] = found.conditions
    assert isinstance(clause, Clause) and [term.value[1] for term in clause.terms] == ["42", "43"]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("_list", "$current-problems", "functional lists"),
        ("_list", "1,Patient/hp1", "'Patient/hp1' is no List"),
        ("_list", "http://example.org/fhir/List/1", "is no List of this server"),
        ("_list:not", "1", "no modifier"),
        ("_list", ",".join(map(str, range(1001))), "1001 Lists; at most 1000"),
        ("_filter:x", "a", "no modifier"),
    ],
)
def test_lists_refused(name: str, value: str, says: str) -> None:
    """Lists that only a server's own rules know are refused with the reason."""
    with pytest.raises(FhirError, match=says):
        read(value, name=name)
