"""Nothing of the other patient by exports: the same answers, manifests and files with and without that patient's records in the store."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from access.comparing import difference
from access.population import BASE, COMPARTMENT, OTHER, OWN, SYSTEM, Json, marker, owners, secret
from access.roads import link
from access.worlds import CALLERS, Ask, Told, World, everything, without_other
from exporting.asking import KICK_OFF, LENIENT

from fhir_server.access.types import BY_PATIENT, WITHHELD
from fhir_server.app import open_context
from smart_auth.clients import Client
from smart_auth.clients import kept as kept_client
from smart_auth.users import User
from smart_auth.users import kept as kept_user

BELOW = tuple(type for type in COMPARTMENT if type not in WITHHELD)
"""The types of the compartment that a patient may export."""
TYPES = (*BELOW, *sorted(BY_PATIENT))
NARROW = ("Observation", "Condition", "Patient")
"""The types that callers with few scopes are given something of."""


def kick_offs(types: tuple[str, ...] = TYPES) -> Iterator[Ask]:
    """Every kind of export, of every one of the types: whole, by criteria that the other patient's documents satisfy, by who that is."""
    below = [type for type in types if type in BELOW]
    for road, path in {
        "of the system": f"$export?_type={','.join(types)}",
        "of all types": f"$export?_type={','.join(('Organization', *types))}&includeAssociatedData=LatestProvenanceResources",
        "with what was deleted": f"$export?_type={','.join(types)}&_since=2020-01-01T00:00:00Z",
        "of patients": f"Patient/$export?_type={','.join(below)}",
        "of patients, whole": "Patient/$export",
        "by patient": f"Patient/$export?_type={','.join(below)}&organizeOutputBy=Patient",
        "of the own group": f"Group/{OWN}-group/$export?_type={','.join(below)}",
        "of the other's group": f"Group/{OTHER}-group/$export?_type={','.join(below)}",
        "parts": f"$export?_type={','.join(types)}&_elements=id",
        "pages of manifests": f"Patient/$export?_type={','.join(below)}&allowPartialManifests=true",
    }.items():
        yield Ask(road, "GET", path, headers=LENIENT if "whole" in road else KICK_OFF)
    for road, criterion in {
        "by tag": lambda type: f"_tag={SYSTEM}|{marker(OTHER)}",
        "by id": lambda type: f"_id={OTHER},{OTHER}-{type.lower()},{OTHER}-laboratory",
        "by name of the patient": lambda type: f"{link(type)}:Patient.name={marker(OTHER)}",
        "reverse chain": lambda type: f"_has:List:item:_tag={SYSTEM}|{marker(OTHER)}",
        "not that": lambda type: f"_tag:not={SYSTEM}|{marker(OTHER)}",
    }.items():
        for some in (types[:40], types[40:]):
            asked = "&".join(f"_typeFilter={quote(f'{type}?{criterion(type)}')}" for type in some)
            yield Ask(road, "GET", f"$export?_type={','.join(some)}&{asked}", headers=LENIENT)
    for road, named in {"who is another": [OTHER], "who is another, and oneself": [OWN, OTHER]}.items():
        for path in ("Patient/$export", f"Group/{OWN}-group/$export", f"Group/{OTHER}-group/$export"):
            whom = [{"name": "patient", "valueReference": {"reference": f"Patient/{who}"}} for who in named]
            asked = parameters(*whom, {"name": "_type", "valueString": "Observation"})
            yield Ask(road, "POST", path, asked, KICK_OFF)
            yield Ask(road, "POST", path, asked, LENIENT)
    views = [{"name": "view", "part": [{"name": "viewResource", "resource": view_of(type)}]} for type in types]
    yield Ask("views", "POST", "$viewdefinition-export", parameters(*views[:40]), KICK_OFF)
    yield (
        Ask("more views", "POST", "$viewdefinition-export", parameters(*views[40:]), KICK_OFF) if views[40:] else Ask("", "GET", "")
    )
    other = {"name": "patient", "valueReference": {"reference": f"Patient/{OTHER}"}}
    yield Ask("views of the other", "POST", "$viewdefinition-export", parameters(*views[:5], other), KICK_OFF)
    group = {"name": "group", "valueReference": {"reference": f"Group/{OTHER}-group"}}
    yield Ask("views of the other's group", "POST", "$viewdefinition-export", parameters(*views[:5], group), KICK_OFF)


def parameters(*listed: Json) -> Json:
    return {"resourceType": "Parameters", "parameter": list(listed)}


def view_of(type: str) -> Json:
    """A view with all ids of a type."""
    return {
        "resourceType": "ViewDefinition", "name": f"v{type}", "status": "active", "resource": type,
        "select": [{"column": [{"name": "id", "path": "id"}]}],
    }  # fmt: skip


async def _registered(world: World) -> None:
    """Keep the clients and users whose tokens ask: while an export goes on it is looked whether they are still there."""
    async with open_context(world.settings) as ctx:
        everything = "patient/*.cruds user/*.cruds system/*.cruds"
        clients = (Client(id, id, "backend", everything, "none") for id in ("app", "loader", "service"))
        users = {access.subject: User(access.subject, access.role, access.fhir_user) for access in CALLERS.values() if access.role}
        await ctx.store.commit((), records=[*map(kept_client, clients), *map(kept_user, users.values())])


def world_of(folder: Path, content: Iterable[Json]) -> World:
    """A server whose callers may begin exports."""
    world = World(folder, content, jobs_at_once=1_000, rate_limit_polls="off")
    asyncio.run(_registered(world))
    return world


def exported(world: World, caller: str, asks: list[Ask]) -> list[list[Told]]:
    """Of each kick-off, all that is answered: to it, about the job once it has ended, and each of its files."""
    begun = [world.ask(caller, ask) for ask in asks]
    return [[told, *(_rest(world, caller, told) if told.status == 202 else ())] for told in begun]


def _rest(world: World, caller: str, told: Told) -> Iterator[Told]:
    url, deadline = told.headers["content-location"], time.monotonic() + 300  # all the others may go first
    while (ended := world.get(caller, path_of(url))).status == 202:
        assert time.monotonic() < deadline, "the job does not end"
        time.sleep(0.02)
    yield ended
    if ended.status == 303:
        ended = world.get(caller, path_of(ended.headers["location"]))
        yield ended
    for found in dict.fromkeys(re.findall(rb'"(http[^"]*\$job/[^"/]+/[^"/]+)"', ended.body)):
        if not found.endswith(b"/result"):
            yield world.get(caller, path_of(found.decode()))


def path_of(url: str) -> str:
    return url.removeprefix(f"{BASE}/")


def normal(told: Told) -> Told:
    """Without what is another one in each job: its name; how long it took."""
    without = re.compile(rb"\$job/[A-Za-z0-9_-]+")
    kept = {name: value for name, value in told.headers.items() if name not in ("etag", "expires", "x-progress", "retry-after")}
    headers = {name: without.sub(b"$job/JOB", value.encode()).decode() for name, value in kept.items()}
    body = re.sub(rb'"[a-zA-Z]*Duration","value\w*":[0-9.]+', b"", without.sub(b"$job/JOB", told.body))
    return replace(told, headers=headers, body=body)


def leaked(caller: str, whole: World, without: World, asks: list[Ask], *, word: str = secret(OTHER)) -> list[str]:
    """One sentence for every export that differs, or has the word in it."""
    found = []
    for ask, there, here in zip(asks, exported(whole, caller, asks), exported(without, caller, asks), strict=True):
        what = f"{ask.road}: {ask.method} {ask.path[:80]}"
        if word and any(word in each.body.decode() for each in there):
            found.append(f"{what} shows the other's")
        if len(there) != len(here):
            found.append(f"{what}: {len(there)} answers against {len(here)}: {[each.body[:300] for each in (there[-1], here[-1])]}")
            continue
        for one, another in zip(map(normal, there), map(normal, here), strict=True):
            if one.normal() != another.normal():
                found.append(f"{what} tells of the other: {difference(one, another)}")
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both patients."""
    world = world_of(tmp_path_factory.mktemp("whole"), everything())
    yield world
    world.close()


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One patient, as if there had never been another."""
    world = world_of(tmp_path_factory.mktemp("without"), without_other())
    yield world
    world.close()


def test_exports_tell_nothing_of_the_other_patient(whole: World, without: World) -> None:
    """A patient's export has the own record, and its answers, notes, counts, files and deletions are those of a store with nobody else."""
    assert leaked("patient", whole, without, list(kick_offs())) == []


def test_comparison_finds_what_there_is_to_find(whole: World, without: World) -> None:
    """Whoever may see everything gets other exports where the other patient is in the store."""
    asks = list(kick_offs(NARROW))
    found = leaked("everything", whole, without, asks)
    assert len({each.partition(":")[0] for each in found}) > 0.8 * len({ask.road for ask in asks}), found


def test_own_record_is_exported(whole: World) -> None:
    """Of every type the patient has a document in the export, so that the comparison compares something."""
    [[_, ended, *files]] = exported(whole, "patient", [Ask("", "GET", f"$export?_type={','.join(TYPES)}", headers=KICK_OFF)])
    found = [json.loads(line) for file in files for line in file.body.splitlines()]
    assert {each["resourceType"] for each in found} == {each["type"] for each in ended.json()["output"]} >= set(TYPES)
    assert all(each["id"].startswith(OWN) for each in found)


def _categories(document: Json) -> bool:
    codes = [coding.get("code") for category in document.get("category", ()) for coding in category.get("coding", ())]
    return OWN in owners(document) and any(code in codes for code in ("laboratory", "problem-list-item"))


VISIBLE: dict[str, Callable[[Json], bool]] = {
    "some categories": _categories,
    "some types": lambda document: document["resourceType"] in ("Observation", "Patient"),
    "one type": lambda document: document["resourceType"] in ("Observation", "Group"),  # a service may name any Group (ADR 0022)
}


@pytest.mark.parametrize("caller", VISIBLE)
def test_exports_are_within_the_scopes(caller: str, whole: World, tmp_path_factory: pytest.TempPathFactory) -> None:
    """[G3, G4] Those of a store that has nothing but what the scopes give."""
    content = [each for each in everything() if each["resourceType"] in (*NARROW, "Group") and VISIBLE[caller](each)]
    seen = world_of(tmp_path_factory.mktemp("seen"), content)
    try:
        assert leaked(caller, whole, seen, list(kick_offs(NARROW)), word="") == []
    finally:
        seen.close()
