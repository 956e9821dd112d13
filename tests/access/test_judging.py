"""Documents judged by their bytes: what is looked at in part is judged as if all of it had been."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fhir_server.access.decision import Reach
from fhir_server.access.judging import Judge
from fhir_server.access.narrowing import clauses_of
from resources.documents import decode, encode
from resources.store import Key
from search.extract import Extractor
from search.match import Document, allows
from search.parameters import registry
from search.query import Compartment, Grant, Grants

ROOT = Path(__file__).resolve().parents[2]
EXTRACTOR = Extractor(registry(), "http://records.test/fhir")
INSTANT = 1_767_225_600_000_000

MOST_OF_A_TYPE = 40


def sampled() -> dict[str, list[dict[str, Any]]]:
    """Documents by type: the beginning of what the sample data have of each."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((ROOT / "sample_data").glob("*.gz")):
        for document in _documents(path):
            of_type = found.setdefault(document["resourceType"], [])
            if len(of_type) < MOST_OF_A_TYPE:
                of_type.append(document)
    return found


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    """The resources of the Bundles in a file, their references to one another as a server would have them."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            names = {each["fullUrl"]: each["resource"] for each in json.loads(line).get("entry", ()) if "fullUrl" in each}
            for url, resource in names.items():
                line = line.replace(f'"{url}"', f'"{resource["resourceType"]}/{resource["id"]}"')
            yield from (entry["resource"] for entry in json.loads(line)["entry"])


SAMPLES = sampled()


def grants(type: str, documents: list[dict[str, Any]]) -> Iterator[Grants]:
    """Grants that hold for some of the documents: their patients, and values that they have."""
    assert type not in ("Condition", "Encounter", "Observation") or EXTRACTOR.extract(type, documents[0]).patients
    patients = sorted({patient for document in documents for patient in EXTRACTOR.extract(type, document).patients})[:3]
    for patient in patients:
        yield (Grant(type, Compartment(patient)),)
        yield (Grant(type, without=frozenset((patient,))),)
    yield (Grant(type, free=True),)
    for name, value in (("_id", documents[0]["id"]), ("_lastUpdated", "ge2026"), ("_tag:not", "x"), ("_profile:missing", "true")):
        yield (Grant(type, None, clauses_of(type, ((name, value),), ())),)
    for code, parameter in registry().of(type).items():
        if parameter.searchable and parameter.kind == "token" and not code.startswith("_"):
            found = [value for each in documents for value in EXTRACTOR.extract(type, each).values.get(parameter.stored, ())]
            if found and "," not in str(found[0][1]) and found[0][1]:
                plain = clauses_of(type, ((code, str(found[0][1])),), ())
                yield (Grant(type, None, plain), Grant(type, Compartment("nobody")))
                yield (Grant(type, Compartment(patients[0]) if patients else None, plain),)


@pytest.mark.parametrize("type", sorted(SAMPLES))
def test_documents_are_judged_by_what_they_say(type: str) -> None:
    """The verdict on a document's bytes is that on all values that an index would take from it."""
    judge, documents = Judge(EXTRACTOR, registry()), SAMPLES[type]
    verdicts = set()
    for granted in grants(type, documents):
        for document in documents:
            body = encode(document)
            key = Key(type, document["id"])
            expected = allows((), granted, Document(key, EXTRACTOR.extract(type, decode(body)), INSTANT))
            assert judge.document_within(Reach({type: granted}), type, document["id"], body, INSTANT) is expected
            verdicts.add(expected)
    assert verdicts == {True, False}


def test_what_cannot_be_reached() -> None:
    """Without a grant of the type nothing is within reach, without a limit everything is."""
    judge = Judge(EXTRACTOR, registry())
    body = encode({"resourceType": "Patient", "id": "1"})
    assert judge.document_within(None, "Patient", "1", body, INSTANT)
    assert not judge.document_within(Reach({}), "Patient", "1", body, INSTANT)
    assert not judge.document_within(Reach({"Patient": (Grant("Patient", Compartment("2")),)}), "Patient", "1", body, INSTANT)
    assert judge.document_within(Reach({"Patient": (Grant("Patient", Compartment("1")),)}), "Patient", "1", body, INSTANT)


def test_only_what_counts_is_decoded() -> None:
    """The own Patient is known by its id, and of other documents only the members that grants look at are read."""
    judge = Judge(EXTRACTOR, registry())
    own = Reach({"Patient": (Grant("Patient", Compartment("1")),)})
    assert judge.document_within(own, "Patient", "1", b"not even JSON", INSTANT)
    record = Reach({"Observation": (Grant("Observation", Compartment("1")),)})
    body = b'{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/1"},"valueQuantity":{"value":1e999999}}'
    assert judge.document_within(record, "Observation", "o", body, INSTANT)
