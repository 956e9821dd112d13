"""An export of few patients finds their documents by the search index, and is the same to the byte as one that goes through the store."""

import random
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from access.consents.consenting import TYPES, consent
from api.conftest import serving
from exporting.asking import begin, ended, exported
from exporting.people import Json, group, observation, of, past, patient, provenance
from jobs.stage import until
from oauth.world import OAuth

from fhir_server.access import following
from fhir_server.exporting import candidates, finding, snapshot
from resources.stores.sqlite.store import SqliteStore
from search.indexes.sqlite.index import SqliteIndex

PEOPLE = 6
EACH = 12

GROUP = group("few", "Patient/p0", "Patient/p1", "Patient/p2")


def _appointment(id: str, *patients: str) -> Json:
    participants = [{"actor": {"reference": each}, "status": "accepted"} for each in patients]
    return of("Appointment", id, status="proposed", participant=participants)


def _made(random: random.Random, number: int) -> Json:
    """A document about somebody, perhaps another one than before."""
    who, other = (f"Patient/p{random.randrange(PEOPLE)}" for _ in range(2))
    care = {"reference": f"Practitioner/d{random.randrange(3)}"}
    return random.choice(
        [
            observation(f"o{number}", who, random.choice(("8867-4", "718-7")), performer=[care]),
            observation(f"o{number}", "Device/free"),
            _appointment(f"a{number}", who, other),
            of("Condition", f"c{number}", subject={"reference": who}, asserter=care),
            of("Device", f"v{number}", **random.choice(({"patient": {"reference": who}}, {}))),
            provenance(f"w{number}", f"Observation/o{random.randrange(EACH)}", f"2026-01-0{random.randrange(1, 9)}T00:00:00Z"),
            provenance(f"w{number}", random.choice((who, f"Condition/c{random.randrange(EACH)}"))),
            patient(f"p{number % PEOPLE}", active=random.random() < 0.5, managingOrganization={"reference": "Organization/o"}),
        ]
    )


class World:
    """A server, and what is written into it by chance. While it is `stepping` an export `waits` before each step until it is allowed to do
    it; the first is behind the moment of which it is."""

    def __init__(self, client: httpx.Client, files: Path) -> None:
        self.client, self.files = client, files
        self.stepping, self.waits = False, False
        self.random = random.Random(1)

    async def step(self) -> None:
        """In the server: wait until the next step may be done."""
        if self.stepping:
            self.waits = True
            await until(lambda: not (self.waits and self.stepping), 60)

    def write(self) -> None:
        """Write or delete something."""
        made = _made(self.random, self.random.randrange(EACH))
        name = f"{made['resourceType']}/{made['id']}"
        if self.random.random() < 0.3 and made["resourceType"] != "Patient":
            self.client.delete(name)
        else:
            self.client.put(name, json=made).raise_for_status()

    def job(self, path: str, *, disturbed: bool = False) -> tuple[dict[str, list[bytes]], bool]:
        """The bytes of an export's files by list and type, and whether its documents were found by the index. `disturbed`: something is
        written between all of its steps."""
        self.stepping, self.waits = disturbed, False
        url = begin(self.client, path)
        while disturbed and self.client.get(url).status_code == 202:
            if self.waits:
                self.write()
                self.waits = False
            time.sleep(0.005)
        self.stepping = False
        told, found = ended(self.client, url), dict[str, list[bytes]]()
        for role in ("output", "deleted", "error"):
            for file in told[role]:
                found.setdefault(f"{role} {file.get('type')}", []).append(self.client.get(file["url"]).content)
        return found, any((self.files / url.rpartition("/")[2]).glob("found-*"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    people = [patient(f"p{number}") for number in range(PEOPLE)]
    beside = [of("Practitioner", f"d{number}") for number in range(3)] + [
        of("Organization", "o", name="Ward"),
        of("Device", "free"),
    ]
    with serving(tmp_path, [*beside, *people, GROUP], jobs_at_once=100, jobs_kept_at_once=100, rate_limit_polls="off") as client:
        made = World(client, tmp_path / "files")

        async def searched(*given: Any) -> AsyncGenerator[Sequence[Any], None]:
            await made.step()
            async for keys in finding.found_in_turn(*given):
                yield keys
                await made.step()

        at_position = snapshot.at_position

        async def read(*given: Any) -> Any:
            await made.step()
            return await at_position(*given)

        monkeypatch.setattr(candidates, "found_in_turn", searched)
        monkeypatch.setattr(snapshot, "at_position", read)
        yield made


NAMED = "patient=Patient/p0,Patient/p1"
FORMS = (
    f"Patient/$export?{NAMED}",
    "Group/few/$export",
    f"Group/few/$export?{NAMED}&_since={{since}}",
    "Group/few/$export?_since={since}&_until={until}",
    f"Patient/$export?{NAMED}&_type=Provenance,Practitioner,Observation",
    "Group/few/$export?_type=Observation,Device,Organization,Patient&_elements=subject,Device.id",
    f"Patient/$export?{NAMED}&_type=Condition&includeAssociatedData=LatestProvenanceResources",
    "Group/few/$export?_since={since}&includeAssociatedData=RelevantProvenanceResources",
    "Group/few/$export?_type=Observation,Condition&_typeFilter=Observation?code=718-7",
    f"Patient/$export?{NAMED}&organizeOutputBy=Patient",
    "Group/few/$export?_deidentify=safe-harbor",
)


def test_the_same_as_by_going_through_the_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte, whatever is written, moved to another patient and deleted while the export is planned and written."""
    instants, few = [], candidates.FEW
    for _ in range(3):
        for _ in range(40):
            world.write()
        instants.append(world.client.put("Organization/o", json=of("Organization", "o", name="Ward")).json()["meta"]["lastUpdated"])
    for form in FORMS:
        path = form.format(since=quote(instants[0]), until=quote(instants[2]))
        world.client.put("Observation/o0", json=observation("o0", "Patient/p0", "718-7")).raise_for_status()
        monkeypatch.setattr(candidates, "FEW", 0)
        whole, by_index = world.job(path)
        assert not by_index and (whole or "_type=Condition" in path), path
        monkeypatch.setattr(candidates, "FEW", few)
        assert world.job(path, disturbed=True) == (whole, True), path


def test_the_latest_provenance_of_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Provenance that is deleted after the snapshot is still the latest one of its target, whichever way documents are found."""
    path = f"Patient/$export?{NAMED}&_type=Condition&includeAssociatedData=LatestProvenanceResources"
    old, new = provenance("old", "Condition/c"), provenance("new", "Condition/c", "2026-01-02T00:00:00Z")
    for made in (of("Condition", "c", subject={"reference": "Patient/p0"}), old, new):
        world.client.put(f"{made['resourceType']}/{made['id']}", json=made).raise_for_status()
    whole = world.job(path)
    assert b'"id":"new"' in whole[0]["output Provenance"][0] and b'"id":"old"' not in whole[0]["output Provenance"][0]
    monkeypatch.setattr(world, "write", lambda: world.client.delete("Provenance/new"))
    assert world.job(path, disturbed=True) == whole


def test_where_the_index_does_not_tell(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is gone through: where the index has not caught up, and where patients have much."""
    for number in range(EACH):
        world.client.put(f"Observation/o{number}", json=observation(f"o{number}", "Patient/p0")).raise_for_status()
    path = f"Patient/$export?{NAMED}"
    found, by_index = world.job(path)
    assert by_index and found["output Observation"][0].count(b"\n") == EACH
    with monkeypatch.context() as late:

        async def behind(self: SqliteIndex, types: Sequence[str], position: int | None = None) -> bool:
            return False

        late.setattr(SqliteIndex, "caught_up", behind)
        observations = world.job(f"{path}&_type=Observation")
    assert observations == ({"output Observation": found["output Observation"]}, False)
    monkeypatch.setattr(candidates, "MOST", 10)
    assert world.job(path) == (found, False)


def test_the_record_of_accesses_is_not_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the largest part of a store, and is only indexed when somebody searches it: an export of few patients does not wait for
    that, and has no Provenance about it unless it is exported itself."""
    world.client.get("Patient/p0").raise_for_status()
    id = world.client.get("AuditEvent?entity=Patient/p0&_count=1").json()["entry"][0]["resource"]["id"]
    world.client.put("Provenance/a", json=provenance("a", f"AuditEvent/{id}")).raise_for_status()
    searched = list[int]()

    async def settled(self: SqliteStore, limit: int | None = None) -> bool:
        if limit is None:  # the store itself indexes some at a time
            searched.append(1)
        return False

    monkeypatch.setattr(SqliteStore, "settle", settled)
    for few in (0, candidates.FEW):
        monkeypatch.setattr(candidates, "FEW", few)
        found, by_index = world.job(f"Patient/$export?{NAMED}")
        assert (by_index, "output Provenance" in found) == (few > 0, False)
    assert not searched
    monkeypatch.undo()
    for few in (0, candidates.FEW):
        monkeypatch.setattr(candidates, "FEW", few)
        found, by_index = world.job(f"Patient/$export?{NAMED}&_type=AuditEvent,Provenance")
        assert by_index == (few > 0) and found["output Provenance"][0].count(b"\n") == 1


def test_nobody_of_a_group(world: World) -> None:
    """An export of a Group without members is done, and empty."""
    world.client.put("Group/empty", json=group("empty", past("Patient/p1"))).raise_for_status()
    assert world.job("Group/empty/$export")[0] == {}


@pytest.mark.parametrize(
    "scope",
    ["system/*.rs", "system/Observation.rs system/Group.rs", "system/Patient.rs system/Observation.rs?code=http://loinc.org|718-7"],
)
def test_only_what_the_token_may_see(oauth: OAuth, monkeypatch: pytest.MonkeyPatch, scope: str) -> None:
    """As by going through the store; without what was denied."""
    denied = {"type": "deny", "class": [{"system": TYPES, "code": "Observation"}]}
    monkeypatch.setattr(following, "CHECKED", 0.0)  # a consent counts at once, and not within a second
    oauth.http.put("/fhir/Consent/no", json=consent("no", denied, "p1"), headers=oauth.bearer("everything")).raise_for_status()
    token = oauth.service_token("backend", scope).json()["access_token"]
    path = "Group/nested/$export" if "Group" in scope or "*" in scope else "Patient/$export?patient=Patient/p1,Patient/p2"
    with httpx.Client(base_url=f"{oauth.root}/fhir/", timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
        found = exported(client, path)
        assert "Observation/o2" in found and "Observation/o1" not in found
        monkeypatch.setattr(candidates, "FEW", 0)
        assert exported(client, path) == found
    oauth.http.delete("/fhir/Consent/no", headers=oauth.bearer("everything")).raise_for_status()
