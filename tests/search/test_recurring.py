"""Extraction that remembers members gives the same Entry as extraction that does not."""

import gzip
import json
from pathlib import Path

from search.extract import Extractor
from search.parameters import registry
from search.recurring import Recurring

DATA = Path(__file__).parents[1] / "data"


def test_documents_that_resemble_each_other_give_the_same_entries_as_when_read_alone() -> None:
    """Every official AuditEvent, twice, with other times and entities between: nothing of one shows in another."""
    extractor = Extractor(registry(), "http://localhost/fhir")
    recurring = Recurring(extractor, "AuditEvent", frozenset(("recorded", "entity")))
    with gzip.open(DATA / "r4-examples.ndjson.gz") as file:
        examples = [r for line in file if (r := json.loads(line)["resource"])["resourceType"] == "AuditEvent"]
    assert len(examples) > 5
    for number, entities in enumerate([e.get("entity") for e in examples] * 2):
        for example in examples:
            changed = example | {"id": f"e{number}", "recorded": f"2026-01-{number + 1:02d}T00:00:00Z"}
            changed["meta"] = {"versionId": "1", "lastUpdated": changed["recorded"]}
            if number % 2:
                changed["meta"] |= {"profile": ["http://example.org/profile"], "tag": [{"code": f'"quoted" {number % 3}'}]}
            if entities:
                changed["entity"] = entities
            assert recurring.extract(json.dumps(changed).encode()) == extractor.extract("AuditEvent", changed)
