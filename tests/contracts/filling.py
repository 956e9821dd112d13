"""An index of each kind with documents in it, as the Extractor sees them, and searches of these as texts."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contracts.elastic_harness import Elastic
from contracts.index_harness import EXTRACTOR, PARAMETERS, Database, Memory

from resources.store import Key
from resources.stores.participant import Applied
from search.index import SearchIndex
from search.parse import parse
from search.query import Compartment, Grant, Include, Query

BASE = "http://here/fhir"
Filled = Database | Memory | Elastic
Test = Callable[[SearchIndex], Awaitable[None]]
INDEXES = ("memory", "sqlite", "elastic")


def observation(code: str, patient: str, when: str, **more: Any) -> dict[str, Any]:
    return {
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": when,
        **more,
    }


def weight(value: float, unit: str = "kg", **more: Any) -> dict[str, Any]:
    return {"valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit, **more}}


DOCUMENTS: dict[str, dict[str, Any]] = {
    "Patient/1": {
        "name": [{"family": "Müller", "given": ["Ann", "Anna"]}],
        "gender": "female",
        "birthDate": "1980-05-02",
        "identifier": [{"system": "urn:mrn", "value": "11"}, {"system": "urn:other", "value": "11"}],
        "managingOrganization": {"reference": "Organization/1"},
        "text": {"status": "generated", "div": "<div><p>Chronic <b>heart</b> failure, x-ray of the lungs</p>ÉTAT STABLE</div>"},
    },
    "Patient/2": {"name": [{"family": "Muller", "given": ["Bob"]}], "gender": "male", "birthDate": "1980", "active": True},
    "Patient/3": {
        "name": [{"family": "Smith"}],
        "text": {"status": "generated", "div": "<div>Failure of the kidneys &amp; heart</div>"},
        "identifier": [{"value": "11"}],
        "link": [{"other": {"reference": "Patient/1"}}],
    },
    "Organization/1": {"name": "North"},
    "Observation/1": observation("a", "1", "2026-01-01T08:00:00Z", **weight(70)),
    "Observation/2": observation("a", "1", "2026-01-02", status="amended", **weight(71.5)),
    "Observation/3": observation("b", "1", "2026-01-03", **weight(154, "[lb_av]")),
    "Observation/4": observation("a", "2", "2026-01-04", performer=[{"reference": "Patient/1"}], **weight(70, comparator=">")),
    "Observation/5": {"status": "final", "code": {"text": "?"}, "subject": {"reference": "Group/1"}},
    "Encounter/1": {
        "status": "in-progress",
        "class": {"code": "IMP"},
        "subject": {"reference": "Patient/1"},
        "period": {"start": "2024-01-01"},
    },
    "Encounter/2": {
        "status": "finished",
        "class": {"code": "AMB"},
        "subject": {"reference": "Patient/2"},
        "period": {"start": "2026-01-05T09:00:00Z", "end": "2026-01-05T10:00:00Z"},
    },
    "ValueSet/1": {"status": "active", "url": "http://v/1"},
    "Appointment/1": {
        "status": "booked",
        "participant": [{"actor": {"reference": "Patient/1"}}, {"actor": {"reference": "Patient/2"}}],
    },
}
"""By address; their rows are numbered, and their instants counted in seconds, in this order."""


def applied(row: int, address: str, document: dict[str, Any]) -> Applied:
    """A document as the commit brings it that makes it."""
    type, _, id = address.partition("/")
    entry = EXTRACTOR.extract(type, {"resourceType": type, "id": id, **document})
    return Applied(row, type, id, row * 1_000_000, entry, True, True)


def all_applied(documents: Mapping[str, dict[str, Any]]) -> list[Applied]:
    """Documents by address, in rows numbered from 1."""
    return [applied(row, address, document) for row, (address, document) in enumerate(documents.items(), 1)]


@contextmanager
def filled_with(documents: Mapping[str, dict[str, Any]], request: pytest.FixtureRequest, folder: Path) -> Iterator[Filled]:
    """An index of the kind that `request.param` names, with these documents; the indices in Elasticsearch are those of the module."""
    content = all_applied(documents)
    if request.param == "elastic":
        shared: Elastic = request.getfixturevalue("elastic")
        shared.fill(content)
        yield shared
        return
    made = Memory() if request.param == "memory" else Database(folder / "a.sqlite")
    made.update(content)
    yield made
    made.close()


def run(filled: Filled, test: Test) -> None:
    """Run a test's coroutine on the open index."""

    async def within() -> None:
        await filled.index.open()
        try:
            await test(filled.index)
        finally:
            await filled.index.close()

    asyncio.run(within())


def key(address: str) -> Key:
    """The key of `Type/id`."""
    type, _, id = address.partition("/")
    return Key(type, id)


def asked(text: str, **options: Any) -> Query:
    """`Type?name=value` as a Query."""
    type, _, query = text.partition("?")
    return replace(parse(type, query, parameters=PARAMETERS, base_url=BASE).query, **options)


def grant(text: str, patient: str = "") -> Grant:
    """`Observation?code=a` as a Grant, within a patient's compartment if one is named."""
    query = asked(text)
    return Grant(query.type, Compartment(patient) if patient else None, query.clauses)


def rule(text: str, **options: Any) -> Include:
    """`Source:code[:Target]` as an Include."""
    source, code, *target = text.split(":")
    found = PARAMETERS.of(source)
    chosen = tuple(p for p in found.values() if p.kind == "reference" and p.searchable) if code == "*" else (found[code],)
    return Include(source, chosen, target[0] if target else None, **options)
