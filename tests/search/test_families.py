"""Parameters within others: their values are always among the whole's, so that the SQLite index need not keep them twice."""

import gzip
import json
from pathlib import Path
from typing import Any

from search.extract import Extractor
from search.indexes.sqlite.schema import Codebook
from search.parameters import registry

DATA = Path(__file__).parents[1] / "data"
SAMPLE = Path(__file__).parents[2] / "sample_data"


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path) as file:
        return [json.loads(line) for line in file]


def test_the_values_of_a_parameter_within_another_are_values_of_that_one() -> None:
    """Holds on every official example and the whole sample population, for each family that the index takes together."""
    books = Codebook(registry()).books
    extractor = Extractor(registry(), "http://localhost/fhir")
    seen: set[tuple[str, str, str]] = set()
    documents = [line["resource"] for line in lines(DATA / "r4-examples.ndjson.gz")]
    for file in sorted(SAMPLE.glob("*.gz")):
        documents += [entry["resource"] for bundle in lines(file) for entry in bundle.get("entry", [])]
    for document in documents:
        type = document["resourceType"]
        values = extractor.extract(type, {"id": "x"} | document).values
        for field in books[type].fields.values():
            for part, _ in field.within:
                assert set(values.get(part, ())) <= set(values.get(field.code, ()))
                if part in values:
                    seen.add((type, field.code, part))
    assert {("Patient", "name", "family"), ("Patient", "address", "address-city"), ("Practitioner", "telecom", "phone")} <= seen
    assert ("Observation", "combo-code", "component-code") in seen


def test_families_do_not_nest() -> None:
    """What is within another has nothing within itself: its own rows are all there."""
    for book in Codebook(registry()).books.values():
        whole = {field.code for field in book.fields.values() if field.within}
        assert whole.isdisjoint(code for field in book.fields.values() for code, _ in field.within)
