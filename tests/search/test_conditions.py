"""Chains and reverse chains in query strings (https://hl7.org/fhir/R4/search.html#chaining)."""

import pytest

from resources.outcomes import FhirError
from search.parameters import registry
from search.parse import parse
from search.query import AllOf, AnyOf, Chain, Clause, Condition, Has


def read(query: str, type: str) -> Condition:
    [condition] = parse(type, query, parameters=registry(), base_url="http://here/fhir").query.clauses
    return condition


def told(condition: Condition) -> str:
    """A condition in few characters."""
    if isinstance(condition, Clause):
        return condition.parameter.code + (f":{condition.modifier}" if condition.modifier else "")
    if isinstance(condition, Chain):
        return f"{condition.parameters[0].code}>{condition.target}({', '.join(map(told, condition.conditions))})"
    if isinstance(condition, Has):
        return f"{condition.source}.{condition.parameters[0].code}<({', '.join(map(told, condition.conditions))})"
    assert isinstance(condition, AnyOf)
    return " or ".join(map(told, condition.conditions))


@pytest.mark.parametrize(
    ("type", "query", "expected"),
    [
        ("Observation", "subject:Patient.name=ann", "subject>Patient(name)"),
        ("Observation", "subject:Patient.name:exact=ann", "subject>Patient(name:exact)"),
        ("Observation", "patient.gender:missing=true", "patient>Patient(gender:missing)"),
        ("Observation", "subject.name=ann", "subject>Patient(name) or subject>Location(name)"),
        ("Observation", "subject:Patient.organization.name=n", "subject>Patient(organization>Organization(name))"),
        ("Patient", "general-practitioner:Practitioner._id=1", "general-practitioner>Practitioner(_id)"),
        ("Patient", "_has:Observation:patient:code=1", "Observation.patient<(code)"),
        ("Patient", "_has:Observation:patient:performer:Practitioner.name=x", "Observation.patient<(performer>Practitioner(name))"),
        (
            "Practitioner",
            "_has:Encounter:practitioner:_has:Observation:encounter:code=1",
            "Encounter.practitioner<(Observation.encounter<(code))",
        ),
        ("Observation", "patient._has:Encounter:patient:status=finished", "patient>Patient(Encounter.patient<(status))"),
    ],
)
def test_what_is_asked(type: str, query: str, expected: str) -> None:
    """Each link is a reference parameter with a type at its end; where the type is open, every type that has the rest counts."""
    assert told(read(query, type)) == expected


@pytest.mark.parametrize(
    ("type", "query", "text"),
    [
        ("Observation", "patient.birthdate=yesterday", "yesterday"),
        ("Observation", "subject:Practitioner.name=x", "never refers to a Practitioner"),
        ("Observation", "subject:Nothing.name=x", "'Nothing' is no resource type"),
        ("Patient", "_has:Observation:patient=1", "write _has:Type:reference:parameter=value"),
        ("Patient", "_has:Nothing:patient:code=1", "no resource type"),
        ("Medication", "_has:Observation:patient:code=1", "never refers to a Medication"),
        ("Provenance", "target.patient.general-practitioner.name=x", "too many types"),
        ("Patient", "link." * 12 + "name=x", "more than 10 links"),
        ("Patient", "link:Patient." * 12 + "name=x", "more than 10 links"),
    ],
)
def test_what_cannot_be_asked(type: str, query: str, text: str) -> None:
    """One sentence says which link is wrong, under the name that was sent."""
    with pytest.raises(FhirError) as refused:
        read(query, type)
    [issue] = refused.value.issues
    assert text in issue.text and issue.expression == query.partition("=")[0][:100]


@pytest.mark.parametrize(
    ("type", "name", "value", "times", "text"),
    [
        ("List", "item.name", "x", 20, "item.name, with the chains before it, may lead to too many types; name them"),
        ("List", "item.nam", "x", 20, "with the chains before it, may lead to too many types"),
        ("List", "item.name", ",".join(map(str, range(700))), 1, "stand for more than 20000 comparisons"),
        ("Patient", "name", ",".join(map(str, range(1000))), 30, "stand for more than 20000 comparisons"),
        ("Observation", "value-quantity", ",".join(f"{n}|http://unitsofmeasure.org|g" for n in range(300)), 5, "more than 20000"),
        ("Observation", "_sort", "dat,-dat,cod,statu,subjec,_i,_lastUpdate,categor,metho,focu", 1, "9 keys; at most 8"),
    ],
)
def test_many_parameters_together_are_bounded(type: str, name: str, value: str, times: int, text: str) -> None:
    """What each parameter may stand for by itself, two hundred of them may not: refused, in place of an answer from a part."""
    with pytest.raises(FhirError) as refused:
        parse(type, [(name, value)] * times, parameters=registry(), base_url="http://here/fhir")
    issue = refused.value.issues[-1]
    assert issue.code == "too-costly" and text in issue.text and issue.expression == name


def test_lenient_clients_are_told_what_is_ignored() -> None:
    """With handling=lenient a link that is unknown is passed over like any unknown parameter."""
    parsed = parse("Observation", "subjet.name=x&code=1", parameters=registry(), base_url="http://here/fhir", lenient=True)
    assert [name for name, _ in parsed.ignored] == ["subjet.name"] and len(parsed.query.clauses) == 1


@pytest.mark.parametrize(
    ("query", "alternatives"),
    [("a$1,a$2,a$3,a$4", 1), ("a$1,b$1,c$1", 1), ("a$1,a$2,b$1,b$2", 2), ("a$1,b$2", 2), ("a$1,a$1", 1)],
)
def test_alternatives_that_differ_in_one_part_are_one(query: str, alternatives: int) -> None:
    """A code with any of many values is one condition to look up, not one for each value."""
    clauses = parse("Observation", f"code-value-quantity={query}", parameters=registry(), base_url="http://here/fhir").query.clauses
    groups = [clause for clause in clauses if isinstance(clause, AnyOf)]
    assert [len(group.conditions) for group in groups] == ([alternatives] if alternatives > 1 else [])
    if alternatives > 1:
        assert all(isinstance(part, AllOf) for part in groups[0].conditions)
