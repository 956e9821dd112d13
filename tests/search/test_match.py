"""A query evaluated on documents in memory."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from resources.documents import decode
from resources.instants import instant_text
from resources.store import Key
from search.extract import Extractor
from search.match import Alone, Document, matches, sort_value
from search.parameters import CONTAINED, registry
from search.parse import parse
from search.query import Compartment, SortKey
from search.values import (
    BEGIN,
    CompositeValue,
    DateValue,
    LabelValue,
    NumberValue,
    PositionValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    UriValue,
    Value,
    fold,
)

BASE = "http://127.0.0.1/fhir"
EXTRACTOR = Extractor(registry(), BASE)
EXAMPLES = Path(__file__).parents[1] / "data" / "r4-examples.ndjson.gz"
UPDATED = 1_771_837_200_123_000  # 2026-02-23T09:00:00.123Z

OBSERVATION: dict[str, Any] = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "category": [{"coding": [{"system": "c", "code": "laboratory"}]}],
    "code": {"coding": [{"system": "http://loinc.org", "code": "1-8"}, {"system": "local", "code": "x"}]},
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2026-02-23T23:30:00-05:00",
    "valueQuantity": {"value": 72, "unit": "beats/min", "system": "http://unitsofmeasure.org", "code": "/min"},
    "note": [{"text": "n"}],
}


def found(query: str, document: dict[str, Any] = OBSERVATION, compartment: str | None = None) -> bool:
    """Whether a query string finds a document."""
    type, id = document["resourceType"], document["id"]
    asked = parse(type, query, parameters=registry(), base_url=BASE, now=lambda: UPDATED).query
    asked = asked.with_filter(*([Compartment(compartment)] if compartment else []))
    return matches(asked, Document(Key(type, id), EXTRACTOR.extract(type, document), UPDATED), Alone())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", True),
        ("code=http://loinc.org|1-8", True),
        ("code=local|1-8", False),
        ("code=y,x", True),
        ("code=y,z", False),
        ("code=1-8&code=x", True),
        ("code=1-8&code=y", False),
        ("code:not=y", True),
        ("code:not=x", False),
        ("code:not=y,x", False),
        ("code:not=y&code:not=z", True),
        ("method:not=y", True),
        ("method:missing=true", True),
        ("method:missing=false", False),
        ("code:missing=false", True),
        ("code:missing=true", False),
        ("subject=Patient/p1", True),
        ("subject:Patient=p1", True),
        ("patient=p1", True),
        ("subject=p1", True),
        (f"subject={BASE}/Patient/p1", True),
        ("patient=p2", False),
        ("date=2026-02-23", False),
        ("date=2026-02-24", True),
        ("date=2026-02-23T23:30:00-05:00", True),
        ("date=2026-02-24T04:30:00Z", True),
        ("date=ge2026-02-24&date=lt2026-02-25", True),
        ("value-quantity=72||/min", True),
        ("value-quantity=gt72", False),
        ("combo-value-quantity=ge72|http://unitsofmeasure.org|/min", True),
        ("_id=o1", True),
        ("_id=o2,o1", True),
        ("_id=O1", False),
        ("_id:not=o1", False),
        ("_lastUpdated=2026-02-23", True),
        ("_lastUpdated=2026-02-23T09:00:00.123Z", True),
        ("_lastUpdated=gt2026-02-23T09:00:00.123Z", False),
        ("_lastUpdated=ge2026-02-23T09:00:00.123Z", True),
        ("_lastUpdated=lt2026-02-23", False),
        ("status=final,amended&patient=p1&date=2026", True),
        ("_count=0&_sort=-date&_total=none", True),
    ],
)
def test_queries(query: str, expected: bool) -> None:
    """AND between parameters, OR within, :not and :missing, and what the store knows itself."""
    assert found(query) is expected


def test_another_type() -> None:
    """A query of one type never finds a document of another."""
    query = parse("Patient", "", parameters=registry(), base_url=BASE).query
    assert not matches(query, Document(Key("Observation", "o1"), EXTRACTOR.extract("Observation", OBSERVATION), UPDATED), Alone())


@pytest.mark.parametrize(("compartment", "expected"), [("p1", True), ("p2", False), (None, True)])
def test_compartment(compartment: str | None, expected: bool) -> None:
    """The compartment of an access decision narrows every query."""
    assert found("code=x", compartment=compartment) is expected


def test_alias() -> None:
    """`phonetic` looks at the values of `name`."""
    patient = {"resourceType": "Patient", "id": "1", "name": [{"family": "Chalmers"}]}
    assert found("phonetic=chal", patient) and found("phonetic:missing=false", patient)


@pytest.mark.parametrize(
    ("code", "descending", "expected"),
    [
        ("date", False, 1_771_907_400_000_000),
        ("code", False, "1-8"),
        ("code", True, "x"),
        ("subject", False, "Patient/p1"),
        ("value-quantity", True, 72.0),
        ("_id", False, "o1"),
        ("_lastUpdated", True, UPDATED),
        ("method", False, None),
        ("method", True, None),
    ],
)
def test_sort_values(code: str, descending: bool, expected: object) -> None:
    """Ascending the smallest value, descending the largest, none for a document without."""
    key = SortKey(registry().of("Observation")[code], descending)
    assert sort_value(key, Document(Key("Observation", "o1"), EXTRACTOR.extract("Observation", OBSERVATION), UPDATED)) == expected


def test_sort_by_name() -> None:
    """Strings are sorted folded."""
    patient = {"resourceType": "Patient", "id": "1", "name": [{"family": "Öz"}, {"family": "ab"}]}
    entry = EXTRACTOR.extract("Patient", patient)
    parameter = registry().of("Patient")["family"]
    values = [sort_value(SortKey(parameter, descending), Document(Key("Patient", "1"), entry, 0)) for descending in (False, True)]
    assert values == ["ab", "oz"]


def escaped(text: str) -> str:
    """A text as part of a search value."""
    return text.replace("\\", "\\\\").replace(",", "\\,").replace("|", "\\|").replace("$", "\\$")


def asking(value: Value) -> list[str]:
    """Queries that a stored value has to answer."""
    match value:
        case TokenValue(system, code):
            of_system = [f"{escaped(system)}|"] if system else []
            return [escaped(code), f"{escaped(system)}|{escaped(code)}", *of_system] if code else of_system
        case StringValue(_, exact):
            return [escaped(exact)] if fold(exact) else []
        case DateValue(low, high):
            start = max(low, BEGIN + 1_000)
            return [f"ap{instant_text(start).rjust(24, '0')}"]
        case NumberValue(low, high, number):
            return [f"{number!r}", f"ge{low!r}"] if low == high else [f"ge{number!r}"]
        case QuantityValue(system, code, unit, low, high, number):
            forms = [f"|{escaped(system)}|{escaped(code)}"] if code else []
            forms += [f"||{escaped(unit)}"] if unit else []
            return [
                f"{prefix}{number!r}{form}" for form in (*forms, "") for prefix in (("", "le", "ge") if low == high else ("ap",))
            ]
        case ReferenceValue(target):
            return [escaped(target)]
        case UriValue(uri):
            return [escaped(uri)]
        case PositionValue(latitude, longitude):
            return [f"{latitude:f}|{longitude:f}|1|m"]
        case LabelValue(folded):
            return [escaped(folded), escaped(folded[:1])]
        case CompositeValue(parts):
            return ["$".join(each) for each in zip(*(asking(part) for part in parts), strict=False)]


def of_type(value: Value) -> list[str]:
    """The query for an identifier of a type, if that has a system."""
    assert isinstance(value, CompositeValue)
    kind, written = value.parts
    assert isinstance(kind, TokenValue) and isinstance(written, TokenValue)
    system, code, text = *kind, written.code
    return [f"{escaped(system)}|{escaped(code)}|{escaped(text)}"] if system else []


def test_every_extracted_value_is_found() -> None:
    """Each value of each official example is found by a query for it, and not by its :not."""
    asked = 0
    with gzip.open(EXAMPLES) as lines:
        documents = [decode(line)["resource"] for line in lines]
    for document in documents:
        type, key = document["resourceType"], Key(document["resourceType"], document.get("id", ""))
        entry = EXTRACTOR.extract(type, document)
        for code, values in entry.values.items():
            if code == CONTAINED:  # no query can name it
                continue
            token = code in registry().of(type) and registry().of(type)[code].kind == "token"
            for value in values[:5]:
                for text in of_type(value) if code.endswith(":of-type") else asking(value):
                    names = (code, f"{code}:not") if token else (code,)
                    for name in names:
                        query = parse(type, [(name, text)], parameters=registry(), base_url=BASE).query
                        assert matches(query, Document(key, entry, 0), Alone()) is (name == code), (type, name, text)
                        asked += 1
    assert asked > 15_000
