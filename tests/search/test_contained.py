"""Resources inside others as documents of a world of their own (search/contained.py)."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from resources.documents import decode, encode
from resources.store import Version
from search.contained import Container, reading
from search.extract import Extractor
from search.parameter import SearchParameter
from search.parameters import registry
from search.query import Clause, Modifier, Query, Term
from search.values import ReferenceValue, StringValue

EXAMPLES = Path(__file__).parents[1] / "data" / "r4-examples.ndjson.gz"
EXTRACTOR = Extractor(registry(), "http://here/fhir")


def container(type: str, contained: list[dict[str, Any]], query: Query | None = None, **members: Any) -> Container:
    body = encode({"resourceType": type, "id": "1", "contained": contained, **members})
    extractor = reading(query, EXTRACTOR) if query is not None else EXTRACTOR
    return Container(Version(type, "1", 1, 5, "PUT", body, 1), extractor)


def test_a_contained_resource_has_the_values_that_it_has_by_itself() -> None:
    """Every fourth official example, contained in a Basic, is found by all that it is found by alone; its bytes stay the same."""
    met = 0
    with gzip.open(EXAMPLES) as lines:
        examples = [decode(line)["resource"] for line in lines][::4]
    for example in examples:
        if "contained" in example or b'"#' in encode(example):
            continue
        made = container("Basic", [example])
        [document] = [each for each in made.of_type(example["resourceType"]) if each.key.id != "1"]
        assert document.entry.values == EXTRACTOR.extract(example["resourceType"], decode(encode(example))).values
        assert document.instant == 5 and made.part(0) == (example["resourceType"], example["id"], encode(example))
        met += 1
    assert met >= 150


def test_fragments_are_names_of_this_world() -> None:
    """`#x` is the contained resource, `#` the one around it, and a fragment without its resource refers to nothing."""
    group = {"resourceType": "Observation", "id": "o", "hasMember": [{"reference": "#p"}], "focus": [{"reference": "#"}]}
    part = {"resourceType": "Observation", "id": "p", "hasMember": [{"reference": "#gone"}]}
    nameless = {"resourceType": "Provenance", "target": [{"reference": "#"}]}
    made = container("DiagnosticReport", [group, part, nameless], result=[{"reference": "#o"}])
    first, second = made.of_type("Observation")
    [around] = made.of_type("DiagnosticReport")
    assert around.entry.values["result"] == [ReferenceValue(first.name)]
    assert first.entry.values["has-member"] == [ReferenceValue(second.name)]
    assert first.entry.values["focus"] == [ReferenceValue("DiagnosticReport/1")] == [ReferenceValue(around.name)]
    assert second.entry.values["has-member"] == []
    [third] = made.of_type("Provenance")
    assert third.entry.values["target"] == [ReferenceValue(around.name)]


@pytest.mark.parametrize(
    ("modifier", "text", "numbers"),
    [(Modifier.NONE, "tab", [0]), (Modifier.NONE, "x", []), (Modifier.MISSING, "", [1])],
)
def test_parameters_that_were_added(modifier: Modifier, text: str, numbers: list[int]) -> None:
    """What a SearchParameter resource defines is read from contained resources too."""
    parameter = SearchParameter(
        "Medication", "form-text", "string", "Medication.form.text", "u", stored="other", searchable=True, custom=True
    )
    terms = (Term(StringValue(text, text)),) if text else ()
    query = Query("Medication", (Clause(parameter, modifier, terms, missing=not text),))
    inside = [{"resourceType": "Medication", "id": "a", "form": {"text": "Tablet"}}, {"resourceType": "Medication", "id": "b"}]
    assert [number for number, _ in container("Basic", inside, query).found(query)] == numbers
