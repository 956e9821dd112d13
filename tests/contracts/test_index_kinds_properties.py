"""Composites, places, texts, identifiers and hierarchies on generated documents: the SQLite index finds what the one in memory finds."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from contracts.index_harness import EXTRACTOR, PARAMETERS, TINY, Database, Memory, all_pages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.stores.participant import Applied
from search.parse import parse
from search.query import Modifier, Negation, Query

UCUM = "http://unitsofmeasure.org"
SETTINGS = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

_codes, _systems = st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "s", "t"])
_texts = st.sampled_from(["Blood", "blood  count", "Blut", "Größe", "x" * 250, "x" * 250 + "y"])
_numbers = st.sampled_from([0, 1, 1.5, 1000, 1500, 0.001])
_units = st.sampled_from(["g", "mg", "kg", "mL"])


def _without_empty(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value not in ("", None, [])}


_codings = st.builds(_without_empty, system=_systems, code=_codes | st.just(""), display=_texts | st.none())
_concepts = st.builds(_without_empty, coding=st.lists(_codings, max_size=2), text=_texts | st.none())
_quantities = st.builds(
    _without_empty,
    value=_numbers,
    unit=_units,
    code=_units,
    system=st.sampled_from([UCUM, UCUM, "urn:other"]),
    comparator=st.sampled_from([None, None, None, "<", ">="]),
)
_values = st.one_of(
    st.builds(lambda q: {"valueQuantity": q}, _quantities), st.builds(lambda c: {"valueCodeableConcept": c}, _concepts)
)
_identifiers = st.builds(
    _without_empty, type=_concepts.map(lambda c: c or None), system=_systems, value=st.sampled_from(["1", "2", ""])
)
_references = st.builds(
    _without_empty,
    reference=st.sampled_from(["Location/1", "Location/2", "Location/3", "Location/4", ""]),
    identifier=st.none() | _identifiers.map(lambda i: i or None),
)
_degrees = st.sampled_from([-90, -89.9, 0, 0.05, 45, 89.9, 90])


@st.composite
def observations(draw: st.DrawFn) -> dict[str, Any]:
    """An Observation with values at the root and in components."""
    parts = draw(st.lists(st.builds(lambda code, value: {"code": code, **value}, _concepts, _values), max_size=3))
    return _without_empty(
        code=draw(_concepts),
        component=parts,
        identifier=draw(st.lists(_identifiers, max_size=2)),
        subject=draw(_references) or None,
        **draw(_values),
    )


@st.composite
def locations(draw: st.DrawFn) -> dict[str, Any]:
    """A Location that may lie somewhere and be part of another, or of itself."""
    position = {"latitude": draw(_degrees), "longitude": draw(st.sampled_from([-180, -179.95, 0, 0.05, 179.95, 180]))}
    return _without_empty(partOf=draw(_references) or None, position=draw(st.sampled_from([None, position])))


_prefixes = st.sampled_from(["", "gt", "lt", "ge", "le", "ne", "ap", "sa", "eb"])
_asked_token = st.builds(
    lambda system, code: f"{system}|{code}" if system != "*" else code, st.sampled_from(["*", "", "s"]), _codes
)
_asked_quantity = st.builds(
    lambda prefix, number, unit: f"{prefix}{number}{unit}",
    _prefixes,
    _numbers,
    st.sampled_from(["", "||g", f"|{UCUM}|g", f"|{UCUM}|mg", "|urn:other|g"]),
)
_composite = st.one_of(
    st.builds(
        lambda name, code, value: f"{name}-value-quantity={code}${value}",
        st.sampled_from(["code", "component-code", "combo-code"]),
        _asked_token,
        _asked_quantity,
    ),
    st.builds(
        lambda name, code, value: f"{name}-value-concept={code}${value}",
        st.sampled_from(["code", "component-code", "combo-code"]),
        _asked_token,
        _asked_token,
    ),
)
_text_names = st.sampled_from(["code", "combo-code", "component-code", "value-concept", "combo-value-concept", "identifier"])
OBSERVED = st.one_of(
    _composite,
    st.builds(lambda name, value: f"{name}={value}", st.sampled_from(["value-quantity", "combo-value-quantity"]), _asked_quantity),
    st.builds(
        lambda name, text: f"{name}:text={text}", _text_names, st.sampled_from(["b", "blood", "blut", "gro", "x" * 250, "x" * 251])
    ),
    st.builds(lambda value: f"subject:identifier={value}", st.sampled_from(["1", "s|1", "|2", "t|"])),
    st.builds(lambda code, value: f"identifier:of-type=s|{code}|{value}", _codes, st.sampled_from(["1", "2"])),
    st.builds(lambda way, id: f"subject:{way}=Location/{id}", st.sampled_from(["above", "below"]), st.integers(1, 4)),
)
LOCATED = st.one_of(
    st.builds(
        lambda latitude, longitude, metres: f"near={latitude}|{longitude}|{metres}|m",
        _degrees,
        st.sampled_from([-180, 0, 0.05, 180]),
        st.sampled_from([0, 6_000, 12_000, 1_000_000, 20_100_000]),
    ),
    st.builds(lambda way, id: f"partof:{way}=Location/{id}", st.sampled_from(["above", "below"]), st.integers(1, 4)),
)


@pytest.fixture(scope="module", params=[False, True], ids=["as it is", "every way"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The SQLite index, with its own limits and with tiny ones."""
    made = Database(tmp_path_factory.mktemp("index") / "a.sqlite", **({"limits": TINY} if request.param else {}))
    yield made
    made.close()


def applied(row: int, type: str, id: int, document: dict[str, Any]) -> Applied:
    entry = EXTRACTOR.extract(type, {"resourceType": type, "id": str(id), **document})
    return Applied(row, type, str(id), row, entry, True, True)


@SETTINGS
@given(data=st.data())
def test_both_find_the_same(database: Database, data: st.DataObject) -> None:
    """The same documents, totals and pages, for one condition or two, turned round or not."""
    places, seen = data.draw(st.lists(locations(), max_size=4)), data.draw(st.lists(observations(), max_size=6))
    made = [applied(n, "Location", n, document) for n, document in enumerate(places, 1)]
    made += [applied(10 + n, "Observation", n, document) for n, document in enumerate(seen, 1)]
    type, texts = data.draw(st.sampled_from([("Observation", OBSERVED), ("Observation", OBSERVED), ("Location", LOCATED)]))
    text = "&".join(data.draw(st.lists(texts, min_size=1, max_size=2)))
    query = parse(type, text, parameters=PARAMETERS, base_url="http://here/fhir").query
    if data.draw(st.booleans()):
        query = replace(query, clauses=(Negation(query.clauses[0]), *query.clauses[1:]))
    memory = Memory()
    memory.update(made)
    database.clear()
    database.update(made)
    assert asyncio.run(_found(database, query)) == asyncio.run(_found(memory, query))


async def _found(filled: Database | Memory, query: Query) -> tuple[list[str], int | None]:
    await filled.index.open()
    whole = await filled.index.search(query)
    pages = await all_pages(filled.index, replace(query, count=1))
    assert [key for page in pages for key in page.keys] == whole.keys
    await filled.index.close()
    return [key.id for key in whole.keys], whole.total


@SETTINGS
@given(documents=st.lists(observations(), min_size=1, max_size=4), changed=observations())
def test_labels_outlive_changes(database: Database, documents: list[dict[str, Any]], changed: dict[str, Any]) -> None:
    """A document that was changed is found by its new texts and not by its old ones."""
    database.clear()
    database.update([applied(n, "Observation", n, document) for n, document in enumerate(documents, 1)])
    database.update([applied(1, "Observation", 1, changed)._replace(created=False, new=False)])
    memory = Memory()
    memory.update([applied(n, "Observation", n, document) for n, document in enumerate([changed, *documents[1:]], 1)])
    for text in ("blood", "blut", "gro"):
        for name in ("code", "combo-code", "value-concept"):
            query = parse("Observation", f"{name}:{Modifier.TEXT}={text}", parameters=PARAMETERS, base_url="http://here/fhir").query
            assert asyncio.run(_found(database, query)) == asyncio.run(_found(memory, query))
