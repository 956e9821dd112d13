"""What `_list` becomes before an index is asked, and what an access decision means for it (docs/adr/0009, 0013)."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fhir_server.app import open_context
from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.searching.codes import with_codes
from resources.documents import draft, encode
from resources.store import Change
from search.parse import parse
from search.query import Clause, Compartment, Condition, Grant, Grants, Has, Negation, Query, Text

MANY = 500


def change(type: str, id: str, **more: Any) -> Change:
    return Change(type, id, draft(encode({"resourceType": type, "id": id, **more}), id))


def listing(id: str, owner: str, **items: bool) -> Change:
    """A List about the owner with Patients as its items, each flagged as deleted or not."""
    entries = [{"item": {"reference": f"Patient/{name}"}, "deleted": deleted} for name, deleted in items.items()]
    return change("List", id, status="current", mode="changes", subject={"reference": f"Patient/{owner}"}, entry=entries)


async def read(ctx: Context, text: str, allowed: Grants | None = None) -> Query:
    type, _, rest = text.partition("?")
    query = parse(type, rest, parameters=ctx.parameters, base_url=ctx.settings.bases).query
    return await with_codes(ctx, query.with_filter(allowed=allowed))


def parts(conditions: Sequence[Condition]) -> Iterator[Condition]:
    """The conditions and all within them."""
    for each in conditions:
        yield each
        if not isinstance(each, Clause | Text):
            yield from parts((each.condition,) if isinstance(each, Negation) else each.conditions)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, auth="off", synchronous="NORMAL")


@pytest.mark.parametrize("text", ["Patient?_list=", "Observation?subject:Patient._list="])
def test_many_lists_are_one_condition(settings: Settings, text: str) -> None:
    """However many Lists flag something, they are looked up together, and what they flag is one clause."""

    async def go() -> None:
        async with open_context(settings) as ctx:
            await ctx.store.commit(
                [listing(f"{n}", "a", **{f"gone{n}": True, f"kept{n}": False, f"kept{(n + 1) % MANY}": True}) for n in range(MANY)]
            )
            query = await read(ctx, text + ",".join(f"{n}" for n in range(MANY)))
            assert len([each for each in parts(query.clauses) if isinstance(each, Has)]) == 1
            [lists, taken] = [each for each in parts(query.clauses) if isinstance(each, Clause)]
            assert len(lists.terms) == len(taken.terms) == MANY

    asyncio.run(go())


@pytest.mark.parametrize(
    ("allowed", "ids"),
    [
        (None, "x y"),
        ((Grant("*"),), "x y"),
        ((Grant("Patient"), Grant("List", Compartment("a"))), "y"),
        ((Grant("Patient"), Grant("List", Compartment("b"))), "x"),
        ((Grant("Patient"),), ""),
        ((Grant("List"),), ""),
    ],
)
def test_only_lists_that_may_be_seen(settings: Settings, allowed: Grants | None, ids: str) -> None:
    """What is flagged in a List stays an item by another only where that one may be seen."""

    async def go() -> None:
        async with open_context(settings) as ctx:
            patients = [change("Patient", id) for id in "xyz"]
            await ctx.store.commit([*patients, listing("1", "a", x=True, y=False, z=True), listing("2", "b", x=False, y=True)])
            result = await ctx.index.search(await read(ctx, "Patient?_list=1,2", allowed))
            assert " ".join(sorted(key.id for key in result.keys)) == ids

    asyncio.run(go())
