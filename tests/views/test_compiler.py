"""What is wrong with a ViewDefinition is said with its place; what views do beyond the specification's own cases."""

from decimal import Decimal
from typing import Any

import pytest

from fhir_server.views.compiler import View, compile_view
from resources.documents import encode
from resources.outcomes import FhirError

NAME = {"name": "id", "path": "getResourceKey()"}


def view(*columns: dict[str, Any], resource: str = "Patient", **more: Any) -> dict[str, Any]:
    return {"resourceType": "ViewDefinition", "resource": resource, "select": [{"column": list(columns), **more}]}


def rows(document: dict[str, Any], *resources: dict[str, Any]) -> list[tuple[Any, ...]]:
    compiled = compile_view(document)
    found = [row for one in resources for row in compiled.rows(one)]
    assert [row for one in resources for row in compiled.read(encode(one))] == found
    return found


REFUSED = [
    ([], "ViewDefinition", "is a JSON object"),
    ({"resourceType": "Patient"}, "ViewDefinition", "not a ViewDefinition"),
    (view(NAME, resource="Patien"), "ViewDefinition.resource", "'Patien' is no resource type"),
    ({"resource": "Patient", "select": {}}, "ViewDefinition.select", "must be a list"),
    ({"resource": "Patient", "select": [{}]}, "ViewDefinition.select", "has no column"),
    (view({"name": "1a", "path": "id"}), "ViewDefinition.select[0].column[0].name", "'1a'"),
    (view({"path": "id"}), "ViewDefinition.select[0].column[0].name", "is missing"),
    (view({"name": "a", "path": "id", "collection": 1}), "ViewDefinition.select[0].column[0].collection", "true or false"),
    (view({"name": "a", "path": "id", "type": "Text"}), "ViewDefinition.select[0].column[0].type", "'Text' is no type"),
    (view({"name": "a", "path": "active", "type": "string"}), "ViewDefinition.select[0].column[0].type", "gives boolean"),
    (view({"name": "a", "path": "name"}), "ViewDefinition.select[0].column[0].type", "is a HumanName"),
    (view({"name": "a", "path": "deceased"}), "ViewDefinition.select[0].column[0].path", "choose one by ofType()"),
    (view({"name": "a", "path": "birthdate"}), "ViewDefinition.select[0].column[0].path", "no element birthdate"),
    (view({"name": "a", "path": "name.where(usee = 'x').family"}), "ViewDefinition.select[0].column[0].path", "usee"),
    (view({"name": "a", "path": "id +"}), "ViewDefinition.select[0].column[0].path", "'id +' cannot be used"),
    (view({"name": "a", "path": "active.getReferenceKey()"}), "ViewDefinition.select[0].column[0].path", "needs a Reference"),
    (view({"name": "a", "path": "link.other.getReferenceKey(X)"}), "ViewDefinition.select[0].column[0].path", "resource type"),
    (view({"name": "a", "path": "link.other.resolve().name"}), "ViewDefinition.select[0].column[0].path", "views join nothing"),
    (view({"name": "a", "path": "link.other.resolve()"}), "ViewDefinition.select[0].column[0].path", "getReferenceKey()"),
    (view(NAME, NAME), "ViewDefinition.select[0].column[1].name", "two columns 'id'"),
    (view(NAME, select=[{"column": [NAME]}]), "ViewDefinition.select[0].select[0].column[0].name", "two columns 'id'"),
    (view(NAME, forEach="name", forEachOrNull="name"), "ViewDefinition.select[0]", "at most one of forEach"),
    (view(NAME, forEach="nam"), "ViewDefinition.select[0].forEach", "no element nam"),
    (view(NAME, repeat="item"), "ViewDefinition.select[0].repeat", "must be a list"),
    ({**view(NAME), "where": [{"path": "gender"}]}, "ViewDefinition.where[0].path", "a condition is true or false"),
    ({**view(NAME), "where": [{}]}, "ViewDefinition.where[0].path", "is missing"),
    ({**view(NAME), "constant": [{"name": "a", "valueDate": "x"}]}, "ViewDefinition.constant[0].value", "valueDate"),
    ({**view(NAME), "constant": [{"name": "a", "valueInteger": "1"}]}, "ViewDefinition.constant[0].value", "valueInteger"),
]


@pytest.mark.parametrize(("document", "place", "words"), REFUSED)
def test_what_is_wrong_is_said_with_its_place(document: Any, place: str, words: str) -> None:
    """A ViewDefinition that cannot be used is refused with 422, the place and a sentence."""
    with pytest.raises(FhirError) as refusal:
        compile_view(document)
    assert refusal.value.status == 422
    assert [issue for issue in refusal.value.issues if issue.expression == place and words in issue.text], refusal.value.issues


def test_all_problems_are_told_at_once() -> None:
    """Several wrong expressions give as many issues."""
    with pytest.raises(FhirError) as refusal:
        compile_view(view({"name": "a", "path": "x"}, {"name": "b", "path": "y"}, {"name": "c", "path": "id"}))
    assert [issue.expression for issue in refusal.value.issues] == [f"ViewDefinition.select[0].column[{i}].path" for i in (0, 1)]


def nested(depth: int) -> dict[str, Any]:
    select: dict[str, Any] = {"column": [NAME]}
    for _ in range(depth):
        select = {"select": [select]}
    return {"resource": "Patient", "select": [select]}


@pytest.mark.parametrize(
    "document",
    [nested(20), nested(5_000), view(*({"name": f"c{i}", "path": "id"} for i in range(1_001)))],
    ids=["20", "5000", "wide"],
)
def test_what_is_too_large_is_refused(document: dict[str, Any]) -> None:
    """Deep nesting and thousands of columns are refused before anything is compiled."""
    with pytest.raises(FhirError) as refusal:
        compile_view(document)
    assert "too-costly" in [issue.code for issue in refusal.value.issues]


def test_rows_beyond_number_are_refused() -> None:
    """Selects that multiply end with an error for the resource, not with the memory."""
    each = [{"forEach": "name", "column": [{"name": f"n{i}", "path": "family"}]} for i in range(5)]
    compiled = compile_view({"resource": "Patient", "select": each})
    with pytest.raises(FhirError, match="more than 100000 rows"):
        compiled.rows({"resourceType": "Patient", "id": "p", "name": [{"family": "x"}] * 20})


def test_repeat_that_never_ends_is_refused() -> None:
    """`repeat` over what leads to itself ends with an error."""
    compiled = compile_view({"resource": "Patient", "select": [{"repeat": ["$this"], "column": [NAME]}]})
    with pytest.raises(FhirError, match="repeat finds more than"):
        compiled.rows({"resourceType": "Patient", "id": "p"})


def test_several_values_in_one_column_name_the_resource() -> None:
    """A column that is no collection and finds two values says in which resource, and what to do."""
    compiled = compile_view(view({"name": "family", "path": "name.family"}))
    with pytest.raises(FhirError) as refusal:
        compiled.rows({"resourceType": "Patient", "id": "p7", "name": [{"family": "A"}, {"family": "B"}]})
    [issue] = refusal.value.issues
    assert "Patient/p7" in issue.text
    assert "first()" in issue.text
    assert issue.expression == "ViewDefinition.select[0].column[0]"


OBSERVATION = {
    "resourceType": "Observation",
    "id": "o",
    "meta": {"lastUpdated": "2026-01-02T03:04:05.678Z", "tag": [{"code": "t"}]},
    "status": "final",
    "_status": {"extension": [{"url": "http://x", "valueCode": "y"}]},
    "code": {"coding": [{"system": "http://loinc.org", "code": "1-8"}, {"system": "http://x", "code": "b"}]},
    "subject": {"reference": "Patient/p/_history/3"},
    "performer": [
        {"reference": "Practitioner/a"},
        {"reference": "Organization/b"},
        {"reference": "http://elsewhere/Practitioner/c"},
    ],
    "valueQuantity": {"value": Decimal("72.50"), "unit": "kg"},
    "contained": [{"resourceType": "Patient", "id": "in", "gender": "male"}],
}


@pytest.mark.parametrize(
    ("path", "more", "value"),
    [
        ("value.ofType(Quantity).value", {}, Decimal("72.50")),
        ("code.coding.where(system = %loinc).code.first()", {}, "1-8"),
        ("code.coding.count() + 1", {}, 3),
        ("subject.getReferenceKey(Patient)", {}, "p"),
        ("subject.getReferenceKey(Group)", {}, None),
        ("performer.getReferenceKey()", {"collection": True}, ["a", "b"]),
        ("performer.getReferenceKey(Practitioner)", {"collection": True}, ["a"]),
        ("performer.where(reference.startsWith('Org')).first().getReferenceKey()", {}, "b"),
        ("status.extension('http://x').value.ofType(code)", {}, "y"),
        ("meta.lastUpdated", {}, "2026-01-02T03:04:05.678Z"),
        ("Observation.id", {}, "o"),
        ("%resource.meta.tag.code", {}, "t"),
        ("contained.where($this is Patient).first().id", {}, "in"),
        ("contained.ofType(Patient).gender", {"collection": True}, ["male"]),
        ("descendants().where($this is code).count()", {}, 6),
        ("value.ofType(Quantity)", {"type": "Quantity"}, {"value": Decimal("72.50"), "unit": "kg"}),
        ("where(status = 'final').exists()", {}, True),
        ("effective.ofType(dateTime)", {}, None),
        ("%rowIndex + 5", {}, 5),
        ("@2020-01-31 + 1 month", {}, "2020-02-29"),
    ],
)
def test_values(path: str, more: dict[str, Any], value: Any) -> None:
    """What is read from stored bytes, member by member, is what the whole document gives; values stand as in the document."""
    document = view({"name": "v", "path": path, **more}, resource="Observation")
    if "%loinc" in path:
        document["constant"] = [{"name": "loinc", "valueUri": "http://loinc.org"}]
    assert rows(document, OBSERVATION) == [(value,)]


def test_items_of_several_types() -> None:
    """forEach over a choice: what only one type has is nothing for the others; what none has is refused."""
    both = {"resource": "Observation", "select": [{"forEach": "value", "column": [{"name": "unit", "path": "unit"}]}]}
    assert rows(both, OBSERVATION, {"resourceType": "Observation", "valueString": "x"}) == [("kg",), (None,)]
    both["select"][0]["column"][0]["path"] = "nothing"  # type: ignore[index]
    with pytest.raises(FhirError, match="nothing"):
        compile_view(both)


def test_only_what_is_looked_at_is_decoded() -> None:
    """A flat view does not decode members that it does not name."""
    compiled: View = compile_view(view({"name": "s", "path": "status"}, resource="Observation"))
    assert set(compiled.decode(encode(OBSERVATION))) == {"resourceType", "id", "status", "_status"}


def test_other_resources_give_no_rows() -> None:
    """A view of Observations makes nothing of a Patient, nor of contained resources."""
    assert rows(view(NAME), OBSERVATION) == []


def test_where_a_reference_leads_can_be_asked() -> None:
    """`resolve() is` a type looks at the reference alone."""
    document = {"resourceType": "Patient", "link": [{"other": {"reference": "RelatedPerson/1"}}]}
    paths = ("link.other.all(resolve() is RelatedPerson)", "link.other.resolve().is(Patient)")
    assert rows(view(*({"name": f"c{i}", "path": path} for i, path in enumerate(paths))), document) == [(True, False)]
