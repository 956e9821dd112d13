"""What a view may cost: what would keep the server busy, or fill its memory, is refused, and what analysts need is not."""

import time
from typing import Any

import pytest

from fhir_server.views.compiler import compile_view
from resources.documents import encode
from resources.outcomes import FhirError

LETTERS = "%resource.name.family.first().toChars()"
ONE = {"column": [{"name": "x", "path": "1"}]}
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"family": "x" * 300, "given": ["a"]}, *({"family": "y", "given": ["b", "c"]} for _ in range(60))],
    "contact": [{"name": {"family": f"f{i}"}} for i in range(60)],
}


def view(*selects: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceType": "ViewDefinition", "resource": "Patient", "select": list(selects), **more}


def column(path: str, **more: Any) -> dict[str, Any]:
    return view({"column": [{"name": "x", "path": path, **more}]})


def nested(path: str, depth: int, inner: dict[str, Any]) -> dict[str, Any]:
    for _ in range(depth):
        inner = {"forEach": path, "select": [inner]}
    return inner


def columns(count: int, path: str, prefix: str = "c") -> list[dict[str, Any]]:
    return [{"name": f"{prefix}{i}", "path": path} for i in range(count)]


def refusal(document: dict[str, Any]) -> str:
    """What is said of a view over PATIENT that costs too much, said within seconds."""
    before = time.process_time()
    with pytest.raises(FhirError) as refused:
        compile_view(document).read(encode(PATIENT))
    assert time.process_time() - before < 10
    assert refused.value.status == 422
    assert {issue.code for issue in refused.value.issues} == {"too-costly"}
    return refused.value.issues[0].text


ROWS = {
    "a list that doubles": column("name" + ".select($this.combine($this))" * 25 + ".count()"),
    "loops in loops": column(f"{LETTERS}.select(" * 4 + LETTERS + ")" * 4 + ".count()"),
    "a collection of millions": column(f"{LETTERS}.select({LETTERS}.select({LETTERS}))", collection=True),
    "a condition that loops": view(ONE, where=[{"path": "name.exists(" + "%resource.name.exists(" * 4 + "use = 'x'" + ")" * 5}]),
    "loops in loops without rows": view(
        nested("%resource.contact", 12, {"forEach": "%resource.contact.telecom", "column": columns(1, "value")})
    ),
    "rows of many columns": view({"forEach": LETTERS, "select": [{"forEach": LETTERS, "column": columns(991, "1")}]}),
    "rows put together": view(
        {"forEach": LETTERS, "column": columns(490, "1", "a")}, {"forEach": LETTERS, "column": columns(490, "1", "b")}
    ),
    "nodes that come again": view(
        {
            "forEach": "contact.select(%resource.contact.select(%resource)).ofType(Patient)",
            "column": [{"name": "x", "path": "name.given", "collection": True}],
        }
    ),
}


@pytest.mark.parametrize("document", ROWS.values(), ids=ROWS.keys())
def test_rows_that_cost_too_much(document: dict[str, Any]) -> None:
    """A view that takes too long over one resource, or makes too much of it, is refused there, with the resource's name."""
    assert refusal(document).startswith("The view cannot be made of Patient/p1: it ")


LONG: dict[str, Any] = {"resourceType": "Patient", "id": "p1", "name": [{"family": "x", "given": ["a"]}] * 20_000}
WANDERING = {
    "conditions that find nothing": view(ONE, where=[{"path": "name.where(family = 'y').empty()"}] * 200),
    "quantified conditions": view(ONE, where=[{"path": "name.all(family = 'x')"}] * 200),
    "whether there are elements": view(ONE, where=[{"path": "name.period.start.empty()"}] * 200),
    "counts": view(ONE, where=[{"path": "name.given.count() > 1"}] * 200),
    "collections": view({"column": [{"name": f"c{i}", "path": "name.family", "collection": True} for i in range(200)]}),
}


@pytest.mark.parametrize("document", WANDERING.values(), ids=WANDERING.keys())
def test_simple_paths_through_long_lists(document: dict[str, Any]) -> None:
    """What needs no engine is counted as well, where a document has long lists."""
    with pytest.raises(FhirError, match="it takes more than"):
        compile_view(document).read(encode(LONG))


@pytest.mark.parametrize("number", ["1e999999999", "-1e-999999999"])
def test_numbers_that_would_fill_gigabytes(number: str) -> None:
    """A number of eleven letters becomes no text of a thousand million digits; one of a hundred digits does."""
    shown = compile_view(
        {"resource": "Observation", "select": [{"column": [{"name": "x", "path": "value.ofType(Quantity).value.toString()"}]}]}
    )
    with pytest.raises(FhirError, match="a number with more than 1000 digits has no text"):
        shown.read(b'{"resourceType":"Observation","id":"o","valueQuantity":{"value":%s}}' % number.encode())
    assert shown.read(b'{"resourceType":"Observation","id":"o","valueQuantity":{"value":1e100}}') == [("1" + "0" * 100,)]


def test_long_texts_that_are_looked_through() -> None:
    """So are texts that a condition looks through."""
    wheres = [{"path": "language.contains('y').not()"}] * 200
    with pytest.raises(FhirError, match="it takes more than"):
        compile_view(view(ONE, where=wheres)).read(encode({**PATIENT, "language": "x" * 1_000_000}))


COMPILED = {
    "many expressions for many types": view(nested("extension.value", 6, {"column": columns(900, "extension('a').url")})),
    "conditions on all types": column(
        "name.where(" + "extension.value.where(" * 8 + "true" + ").count() > 0" * 8 + ").given.first()"
    ),
    "too many selects": view(*({"select": [ONE]} for _ in range(600))),
}


@pytest.mark.parametrize("name", COMPILED)
def test_views_that_cost_too_much(name: str) -> None:
    """A view that takes too long to compile is refused before it is run."""
    document = COMPILED[name]
    before = time.process_time()
    with pytest.raises(FhirError) as refused:
        compile_view(document)
    assert time.process_time() - before < 10
    assert refused.value.status == 422
    assert "too-costly" in {issue.code for issue in refused.value.issues}


@pytest.mark.parametrize("depth", [1, 4, 15])
def test_items_of_all_types_within_each_other(depth: int) -> None:
    """forEach over values of any type, as deep as selects may be, is compiled in no time."""
    before = time.process_time()
    compile_view(view(nested("extension.value", depth, ONE)))
    assert time.process_time() - before < 3


def test_regular_expressions_end() -> None:
    """A regular expression that others would try for ever gives its answer."""
    before = time.process_time()
    assert compile_view(column(f"'{'a' * 40}'.matches('^(a+)+b$')")).read(encode(PATIENT)) == [(False,)]
    assert time.process_time() - before < 3


def test_large_documents() -> None:
    """Five thousand answers with sixteen columns, some of them computed, are no trouble."""
    item = [
        {
            "linkId": str(i),
            "answer": [{"valueString": "abc"}],
            "item": [{"linkId": f"{i}.{j}", "answer": [{"valueInteger": j}]} for j in range(4)],
        }
        for i in range(1_000)
    ]
    document = {"resourceType": "QuestionnaireResponse", "id": "q", "status": "completed", "item": item}
    paths = ["linkId", "text", "%resource.id", "%resource.status", "answer.count()", "answer.value.ofType(string).first()"]
    computed = ["(answer.value.ofType(integer) + 1).first()", "iif(text.exists(), text, linkId)"] * 5
    select = {"repeat": ["item"], "column": [{"name": f"c{i}", "path": path} for i, path in enumerate((*paths, *computed))]}
    found = compile_view({"resource": "QuestionnaireResponse", "select": [select]}).read(encode(document))
    assert len(found) == 5_000
    assert found[1][:5] == ("0.0", None, "q", "completed", 1)
    assert found[1][6:8] == (1, "0.0")


def test_the_resource_from_within() -> None:
    """What is looked up in the whole resource from each item is the same for each item, and is of each resource anew."""
    compiled = compile_view(
        view(
            {
                "forEach": "contact",
                "column": [{"name": "n", "path": "%resource.name.family.first()"}, {"name": "c", "path": "name.family"}],
            }
        )
    )
    assert compiled.read(encode(PATIENT))[:2] == [("x" * 300, "f0"), ("x" * 300, "f1")]
    other = {**PATIENT, "name": [{"family": "other"}], "contact": PATIENT["contact"][:1]}
    assert compiled.read(encode(other)) == [("other", "f0")]
