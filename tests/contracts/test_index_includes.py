"""`_include` and `_revinclude` with any rules, iterated or not: every index gives what following references one by one gives."""

import asyncio
from dataclasses import replace

import pytest
from contracts.checking import document
from contracts.filling import DOCUMENTS, Filled, key, rule, run
from contracts.index_harness import LINKS, Database, Memory, grants, linked, parameter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from population.oracle import Oracle

from resources.store import Key
from search.index import SearchIndex
from search.query import Include

SLOW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


INCLUDED = [
    ("Observation/1 Observation/4", [rule("Observation:subject")], "Patient/1 Patient/2"),
    ("Observation/4", [rule("Observation:*")], "Patient/1 Patient/2"),
    ("Observation/5", [rule("Observation:subject")], ""),
    ("Observation/1", [rule("Observation:subject:Group")], ""),
    ("Observation/1", [rule("Observation:subject"), rule("Patient:organization", iterate=True)], "Organization/1 Patient/1"),
    ("Observation/1", [rule("Observation:subject"), rule("Patient:organization")], "Patient/1"),
    ("Patient/1", [rule("Observation:patient", reverse=True)], "Observation/1 Observation/2 Observation/3"),
    ("Patient/1", [rule("Observation:performer", reverse=True)], "Observation/4"),
    ("Patient/1 Patient/3", [rule("Patient:link", reverse=True)], ""),
    ("Patient/2", [rule("Appointment:actor", reverse=True)], "Appointment/1"),
    ("Organization/1", [rule("Patient:organization", reverse=True)], "Patient/1"),
    ("Patient/9", [rule("Patient:organization"), rule("Observation:patient", reverse=True)], ""),
]


@pytest.mark.parametrize(("page", "rules", "expected"), INCLUDED, ids=range(len(INCLUDED)))
def test_included(filled: Filled, page: str, rules: list[Include], expected: str) -> None:
    """Includes follow references that exist, each document once, none that the page has, whether keys carry hints or not."""

    async def test(index: SearchIndex) -> None:
        keys = [key(address) for address in page.split()]
        result = await index.include(keys, rules, limit=100)
        assert sorted(f"{key.type}/{key.id}" for key in result.keys) == expected.split()
        assert not result.truncated
        rows = {address: row for row, address in enumerate(DOCUMENTS, 1)}
        for off in (0, 1):  # right, and pointing elsewhere
            hinted = [Key(key.type, key.id, rows.get(f"{key.type}/{key.id}", 4) + off) for key in keys]
            assert await index.include(hinted, rules, limit=100) == result

    run(filled, test)


def test_include_tells_when_it_is_cut(filled: Filled) -> None:
    """At the bound, includes stop and say so; with just as many as fit they do not."""

    async def test(index: SearchIndex) -> None:
        rules = [rule("Observation:patient", reverse=True)]
        cut = await index.include([Key("Patient", "1")], rules, limit=2)
        assert (len(cut.keys), cut.truncated) == (2, True)
        whole = await index.include([Key("Patient", "1")], rules, limit=3)
        assert (len(whole.keys), whole.truncated) == (3, False)

    run(filled, test)


@st.composite
def rules(draw: st.DrawFn) -> list[Include]:
    """A few includes along the references that the documents have."""
    found = []
    for type in draw(st.lists(st.sampled_from(("Observation", "Encounter")), min_size=1, max_size=4)):
        codes = draw(st.lists(st.sampled_from([code for code, _ in LINKS[type]]), min_size=1, max_size=2, unique=True))
        target = draw(st.sampled_from([None, None, "Patient", "Group"]))
        parameters = tuple(parameter(type, code) for code in codes)
        found.append(Include(type, parameters, target, draw(st.booleans()), draw(st.booleans())))
    return found


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@SLOW
@given(data=st.data())
def test_includes_follow_references(database: Database, kind: str, data: st.DataObject) -> None:
    """Each document that the rules lead to comes once, whatever is not allowed is not gone on from, and a bound is told of."""
    made = data.draw(linked())
    asked, allowed = data.draw(rules()), data.draw(grants("Patient"))
    allowed = None if allowed is None else (*allowed, *(replace(grant, type="*", clauses=()) for grant in allowed[:1]))
    keys = [Key(c.type, c.id) for c in data.draw(st.lists(st.sampled_from(made), max_size=4))] if made else []
    keys = list(dict.fromkeys(keys))
    filled: Database | Memory = Memory() if kind == "memory" else database
    filled.clear()
    filled.update(made)
    wanted = Oracle(document(change) for change in made).included(keys, asked, allowed)
    limit = data.draw(st.integers(0, len(wanted) + 1))

    async def run() -> None:
        await filled.index.open()
        whole = await filled.index.include(keys, asked, limit=1000, allowed=allowed)
        cut = await filled.index.include(keys, asked, limit=limit, allowed=allowed)
        await filled.index.close()
        assert len(whole.keys) == len(set(whole.keys)) and not whole.truncated
        assert {f"{key.type}/{key.id}" for key in whole.keys} == wanted
        assert (len(cut.keys), cut.truncated) == (min(limit, len(wanted)), limit < len(wanted))

    asyncio.run(run())
