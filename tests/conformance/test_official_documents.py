"""HL7's own documents: valid ones are accepted, and of the invalid ones a pinned list is refused.

https://hl7.org/fhir/R4/validation.html
"""

import gzip
import json
import random
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from conformance.load import definitions
from conformance.validate import Validator
from resources import documents, structure
from resources.outcomes import FhirError, Issue

DATA = Path(__file__).parents[1] / "data"

NOT_REFUSED = {
    # the HTML-in-text rule is off: it refuses honest text
    "pat-security-bad-string",
    "bad-markdown-no-html",
    # terminology: displays and codes of LOINC, SNOMED CT, CVX, EDQM; expressions over them
    "cvx",
    "bundle-id-5",
    "q-ca-explicit",
    "params-edqm-en",
    "params-edqm-cs",
    "vs-bad-ecl",
    "vs-params-2",
    # profiles and extensions of other packages; signatures
    "nested-questionnaire-nested-valueset",
    "sig-bundle.json",
    # contestable: warned of
    "maiden-name-extension",
    "bundle-with-contained",
    # does a reference's target exist: the server's, not the document's question
    "parameters-reference-bad",
}
"""Invalid cases (terminology aside) in which no error is found. A case that leaves this list is progress; one that joins it is not."""


def lines(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


@lru_cache(maxsize=1)
def validator() -> Validator:
    return Validator(definitions())


def judge(body: bytes) -> list[Issue]:
    """All errors of a body, structure and beyond; and invariants that could not be computed."""
    try:
        found = structure.check(body)
    except FhirError as problem:
        return problem.issues
    document = documents.decode(body)
    found += validator().check(document["resourceType"], document)
    return [issue for issue in found if issue.severity != "warning" or issue.code == "processing"]


CASES = list(lines("validator-cases.r4.ndjson.gz"))


@pytest.mark.parametrize("case", [c for c in CASES if c["valid"]], ids=lambda c: c["name"])
def test_valid_cases_are_accepted(case: dict[str, Any]) -> None:
    """What the reference validator accepts has no error here; but for JSON with comments, which is no JSON."""
    found = judge(case["text"].encode())
    if case.get("options", {}).get("allow-comments"):
        assert "not JSON" in found[0].text
    else:
        assert found == []


def test_invalid_cases_are_refused() -> None:
    """The invalid cases that need no terminology server are refused, but for the pinned ones."""
    invalid = [c for c in CASES if not c["valid"] and not c["needs_terminology"]]
    accepted = {c["name"] for c in invalid if not judge(c["text"].encode())}
    assert accepted == NOT_REFUSED
    assert len(invalid) == 49


def test_clean_examples_have_no_error() -> None:
    """None of the 612 examples of the specification that another validator found clean has an error here."""
    clean = {v["file"] for v in lines("r4-examples.validator.ndjson.gz") if v["checked"] and not v["errors"]}
    assert len(clean) == 612
    wrong = {}
    with gzip.open(DATA / "r4-examples.ndjson.gz", "rb") as file:
        for line in file:
            name = json.loads(line)["file"]
            if name in clean:
                found = judge(line.strip()[line.index(b'"resource":') + len(b'"resource":') : -1])
                if found:
                    wrong[name] = [issue.text for issue in found]
    assert wrong == {}


def test_documents_with_wrong_types_do_not_break_the_walk() -> None:
    """Whatever JSON stands where something else should: the walk reports or passes over it, and leaves the rest to structure."""
    chance = random.Random(7)
    for example in list(lines("r4-examples.ndjson.gz"))[::4]:
        resource = example["resource"]
        nodes = list(objects(resource))
        for _ in range(6 if len(nodes) < 500 else 0):
            node = chance.choice(nodes)
            before = dict(node)
            name = chance.choice([*node, "value", "extension", "reference", "code", "entry", "contained", "system", "coding"])
            node[name] = chance.choice(["x", 5, True, None, [], {}, [{}], [None], {"a": 1}, [{"url": 1}]])
            if name != "resourceType":
                validator().check(example["resource"]["resourceType"], resource)
            node.clear()
            node.update(before)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object of a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)
