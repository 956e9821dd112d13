"""What an access decision means for a search of contained resources (docs/adr/0009, 0015)."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from fhir_server.app import open_context
from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.searching.inside import Looking, around_of
from fhir_server.searching.into import searchable
from resources.documents import draft, encode
from resources.store import Change
from search.parse import parse
from search.query import Clause, Compartment, Grant, Grants

GRANTS: dict[str, Grants | None] = {
    "everything": None,
    "nothing": (),
    "requests": (Grant("MedicationRequest"),),
    "dispenses and medications": (Grant("MedicationDispense"), Grant("Medication")),
    "a patient": (Grant("*", Compartment("a")),),
    "medications": (Grant("Medication"),),
}


def request(id: str, patient: str, maker: str) -> Change:
    medication = {"resourceType": "Medication", "id": "m1", "manufacturer": {"reference": f"Organization/{maker}"}}
    return change(
        {
            "resourceType": "MedicationRequest",
            "id": id,
            "contained": [medication],
            "status": "active",
            "intent": "order",
            "subject": {"reference": f"Patient/{patient}"},
            "medicationReference": {"reference": "#m1"},
        }
    )


def change(document: dict[str, object]) -> Change:
    return Change(str(document["resourceType"]), str(document["id"]), draft(encode(document), str(document["id"])))


async def found(ctx: Context, text: str, allowed: Grants | None, *within: Compartment) -> str:
    """The ids of the containers that a search finds; its total must agree."""
    parsed = parse("Medication", text, parameters=ctx.parameters, base_url=ctx.settings.bases, inside=True)
    parsed = replace(parsed, query=parsed.query.with_filter(*within, allowed=allowed))
    total, _, page = await Looking(ctx, parsed, parsed.query, around_of(ctx, parsed.query)).first()
    assert total == len(page.hits)
    return " ".join(sorted(hit.version.id for hit in page.hits))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, auth="off", synchronous="NORMAL")


@pytest.mark.parametrize(
    ("allowed", "ids"),
    [
        ("everything", "a1 a2 b1 d1"),
        ("nothing", ""),
        ("requests", "a1 a2 b1"),
        ("dispenses and medications", "d1"),
        ("a patient", "a1 a2"),
        ("medications", ""),
    ],
)
def test_only_containers_that_may_be_seen(settings: Settings, allowed: str, ids: str) -> None:
    """The container needs a grant; one of the contained type is none. A compartment means the container's too."""

    async def go() -> None:
        async with open_context(settings) as ctx:
            dispense = {"resourceType": "MedicationDispense", "contained": [{"resourceType": "Medication", "id": "m1"}]}
            changes = [request("a1", "a", "x"), request("a2", "a", "y"), request("b1", "b", "x"), change({**dispense, "id": "d1"})]
            await ctx.store.commit(changes)
            assert await found(ctx, "_contained=true", GRANTS[allowed]) == ids
            inside_a = " ".join(id for id in ids.split() if id.startswith("a"))
            assert await found(ctx, "_contained=true", GRANTS[allowed], Compartment("a")) == inside_a

    asyncio.run(go())


def test_chains_lead_to_what_may_be_seen(settings: Settings) -> None:
    """What a contained resource refers to outside counts only as far as it may be seen."""

    async def go() -> None:
        async with open_context(settings) as ctx:
            makers = [change({"resourceType": "Organization", "id": id, "name": "Maker", "active": id == "x"}) for id in "xy"]
            await ctx.store.commit([*makers, request("a1", "a", "x"), request("a2", "a", "y")])
            text = "manufacturer.name=maker&_contained=true"
            assert await found(ctx, text, None) == "a1 a2"
            assert await found(ctx, text, GRANTS["requests"]) == ""
            active = parse("Organization", "active=true", parameters=ctx.parameters, base_url=ctx.settings.bases).query.clauses
            plain = tuple([clause for clause in active if isinstance(clause, Clause)])
            assert plain == active
            some = (Grant("MedicationRequest"), Grant("Organization", clauses=plain))
            assert await found(ctx, text, some) == "a1"

    asyncio.run(go())


@pytest.mark.parametrize(
    ("allowed", "within", "ids"),
    [
        (None, (), "a1 b1"),
        ((Grant("*", Compartment("a")),), (), ""),
        ((Grant("*", Compartment("a")), Grant("Organization")), (), "a1"),
        ((Grant("MedicationRequest"), Grant("Organization")), (Compartment("b"),), "b1"),
        ((Grant("Organization"),), (), ""),
    ],
)
def test_chains_lead_into_what_may_be_seen(
    settings: Settings, allowed: Grants | None, within: tuple[Compartment, ...], ids: str
) -> None:
    """A chain leads into contained resources, and out of them, only as far as the one and the other may be seen."""

    async def go() -> None:
        async with open_context(settings) as ctx:
            maker = change({"resourceType": "Organization", "id": "x", "name": "Maker"})
            await ctx.store.commit([maker, request("a1", "a", "x"), request("a2", "a", "y"), request("b1", "b", "x")])
            text = "medication:Medication.manufacturer.name=maker"
            query = parse("MedicationRequest", text, parameters=ctx.parameters, base_url=ctx.settings.bases).query
            result = await ctx.index.search(await searchable(ctx, query.with_filter(*within, allowed=allowed)))
            assert " ".join(sorted(key.id for key in result.keys)) == ids

    asyncio.run(go())
