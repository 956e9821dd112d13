"""`_include` and `_revinclude` with any rules, iterated or not: every index gives what following references one by one gives."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

import pytest
from contracts.index_harness import LINKS, Database, Memory, grants, linked, parameter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.store import Key
from resources.stores.participant import Applied
from search.match import Document, allows, targets
from search.query import Grants, Include

SLOW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@st.composite
def rules(draw: st.DrawFn) -> list[Include]:
    """A few includes along the references that the documents have."""
    found = []
    for type in draw(st.lists(st.sampled_from(("Observation", "Encounter")), min_size=1, max_size=4)):
        codes = draw(st.lists(st.sampled_from([code for code, _ in LINKS[type]]), min_size=1, max_size=2, unique=True))
        target = draw(st.sampled_from([None, None, "Patient", "Group"]))
        rule = Include(type, tuple(parameter(type, code) for code in codes), target, draw(st.booleans()), draw(st.booleans()))
        found.append(rule)
    return found


def expected(made: list[Applied], keys: list[Key], asked: list[Include], allowed: Grants | None) -> set[str]:
    """What following references finds, one document after the other."""
    documents = {f"{c.type}/{c.id}": Document(Key(c.type, c.id), c.entry, c.instant) for c in made}
    seen = {f"{key.type}/{key.id}" for key in keys}
    newest, left, found = set(seen), asked, set[str]()
    while newest and left:
        led = {name for rule in left for name in _led(rule, newest, documents)} - seen
        newest = {name for name in led if allows((), allowed, documents[name])}
        seen |= newest
        found |= newest
        left = [rule for rule in asked if rule.iterate]
    return found


def _led(rule: Include, names: set[str], documents: dict[str, Document]) -> Iterator[str]:
    of_source = {name: document for name, document in documents.items() if document.key.type == rule.source}
    for name, document in of_source.items():
        there = targets(rule.parameters, document)
        wanted = {target for target in there if rule.target in (None, target.partition("/")[0])}
        if rule.reverse and wanted & names:
            yield name
        elif not rule.reverse and name in names:
            yield from wanted & documents.keys()


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    made = Database(tmp_path_factory.mktemp("index") / "a.sqlite")
    yield made
    made.close()


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
    if isinstance(filled, Database):
        filled.clear()
    filled.update(made)
    wanted = expected(made, keys, asked, allowed)
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
