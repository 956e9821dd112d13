"""JSON Patch on resources (RFC 6902, https://hl7.org/fhir/R4/http.html#patch)."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from resources.documents import decode, encode
from resources.json_patch import apply
from resources.outcomes import FhirError

with gzip.open(Path(__file__).parents[1] / "data" / "json-patch-tests.ndjson.gz", "rt", encoding="utf-8") as _file:
    CASES = [json.loads(line) for line in _file]


@pytest.mark.parametrize("case", CASES, ids=[case["comment"] for case in CASES])
def test_official_cases(case: dict[str, Any]) -> None:
    """The examples of the RFC."""
    if "error" in case:
        with pytest.raises(FhirError) as caught:
            apply(case["doc"], case["patch"])
        assert caught.value.status == 422
    else:
        assert apply(case["doc"], case["patch"]) == case["expected"]


def document() -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "1", "name": [{"family": "a"}], "active": True}


REFUSED: list[tuple[str, list[Any], int, str]] = [
    ("no object", ["x"], 400, "Operation 1"),
    ("unknown op", [{"op": "swap", "path": "/active"}], 400, "swap"),
    ("no path", [{"op": "remove"}], 400, "path"),
    ("no value", [{"op": "add", "path": "/gender"}], 400, "value"),
    ("path without a slash", [{"op": "add", "path": "gender", "value": "x"}], 422, "/"),
    ("nothing there", [{"op": "remove", "path": "/gender"}], 422, "gender"),
    ("index beyond the end", [{"op": "add", "path": "/name/3", "value": {}}], 422, "/name/3"),
    ("move of nothing", [{"op": "move", "from": "/x", "path": "/y"}], 422, "nothing at /x"),
    ("into its own child", [{"op": "move", "from": "/name", "path": "/name/0"}], 422, "children"),
    ("test fails", [{"op": "test", "path": "/active", "value": False}], 422, "test failed"),
    ("true is not 1", [{"op": "test", "path": "/active", "value": 1}], 422, "test failed"),
    (
        "second operation",
        [{"op": "remove", "path": "/active"}, {"op": "remove", "path": "/active"}],
        422,
        "Operation 2 (remove /active)",
    ),
    ("other id", [{"op": "replace", "path": "/id", "value": "2"}], 422, "id"),
    ("no id", [{"op": "remove", "path": "/id"}], 422, "id"),
    ("other type", [{"op": "replace", "path": "/resourceType", "value": "Group"}], 422, "resourceType"),
    ("another document", [{"op": "replace", "path": "", "value": []}], 422, "no resource"),
    ("bomb of copies", [{"op": "copy", "from": "/name", "path": "/name/-"}] * 100, 422, "10 MB"),
]


@pytest.mark.parametrize(("operations", "status", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_does_not_fit_is_refused(operations: list[Any], status: int, words: str) -> None:
    """The answer names the operation and what is wrong with it."""
    with pytest.raises(FhirError) as caught:
        apply(document(), operations)
    assert caught.value.status == status
    assert words in str(caught.value)


def test_errors_do_not_quote_the_document() -> None:
    """What a document holds does not get into messages, and from there into logs."""
    with pytest.raises(FhirError) as caught:
        apply({**document(), "birthDate": "1970-01-01"}, [{"op": "remove", "path": "/x/y"}])
    assert "1970" not in str(caught.value)


def test_decimals_keep_their_digits() -> None:
    """Numbers that are not touched, and numbers of the patch, are spelled as they were; a test compares their value."""
    source = decode(b'{"resourceType":"Observation","id":"1","valueQuantity":{"value":72.50}}')
    patch = [
        {"op": "test", "path": "/valueQuantity/value", "value": Decimal("72.5")},
        {"op": "add", "path": "/referenceRange", "value": [{"low": {"value": Decimal("1.00")}}]},
    ]
    assert encode(apply(source, patch)) == (
        b'{"resourceType":"Observation","id":"1","valueQuantity":{"value":72.50},"referenceRange":[{"low":{"value":1.00}}]}'
    )


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        ({"op": "add", "path": "/active/x", "value": 1}, "neither an object nor an array"),
        ({"op": "add", "path": "/id/0", "value": 1}, "neither an object nor an array"),
        ({"op": "move", "from": "/active/x", "path": "/x"}, "neither an object nor an array"),
        ({"op": "add", "path": {"a": None}, "value": 1}, '{"a":null}'),
        ({"op": "replace", "path": "/id", "value": {"a": None}}, '{"a":null}'),
        ({"op": "remove", "path": "/id"}, "to nothing"),
    ],
)
def test_a_problem_is_told_in_the_words_of_json(operation: dict[str, Any], told: str) -> None:
    """Nothing of the language that the server is written in is in the text."""
    with pytest.raises(FhirError) as caught:
        apply({"resourceType": "Patient", "id": "a", "active": True}, [operation])
    assert told in str(caught.value)
    assert not any(word in str(caught.value) for word in ("class", "None", "True", "__"))
