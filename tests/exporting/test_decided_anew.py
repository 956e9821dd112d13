"""Who has an export may lose rights while it goes on: each file is written with what its owner may see by then."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from access.consents.consenting import consent
from exporting.asking import begin, documents, ended, finished, manifest, refused
from exporting.people import patient
from jobs.stage import until
from oauth.world import USERS, OAuth

from fhir_server.access import following
from fhir_server.app import open_service
from fhir_server.exporting.writing import output
from fhir_server.jobs import lease, runner, work
from smart_auth.clients import kept as kept_client
from smart_auth.clients import stored_client
from smart_auth.users import find_user
from smart_auth.users import kept as kept_user


class Gate:
    """Lets parts put down how far they have come `left` times, and holds them there."""

    def __init__(self) -> None:
        self.left = 1_000
        self._keep = lease.Lease.keep

    async def keep(self, one: lease.Lease, place: Any, events: Any = ()) -> None:
        """In place of `Lease.keep`."""
        await self._keep(one, place, events)
        self.left -= 1
        await until(lambda: self.left > 0, 60)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A file has one document, and after each one it is looked who may have the next."""
    made = Gate()
    monkeypatch.setattr(lease.Lease, "keep", lambda one, place, events=(): made.keep(one, place, events))
    monkeypatch.setattr(output, "MOST", 1)
    monkeypatch.setattr(work, "FRESH", 0.0)
    monkeypatch.setattr(following, "CHECKED", 0.0)  # a consent counts at once, and not within a second
    return made


@pytest.fixture
def server(tmp_path: Path, gate: Gate) -> Iterator[OAuth]:
    made = OAuth(tmp_path, rate_limit_polls="off")
    for number in range(6):
        made.http.put(f"/fhir/Patient/p{number}", json=patient(f"p{number}"), headers=made.bearer("everything")).raise_for_status()
    yield made
    gate.left = 1_000
    made.close()


def _begun(server: OAuth, client: httpx.Client, gate: Gate, files: int) -> str:
    """An export of Patients of which some files are there."""
    gate.left = files
    url, deadline = begin(client, "$export?_type=Patient"), time.monotonic() + 60
    while gate.left:
        assert client.get(url).status_code == 202 and time.monotonic() < deadline
    return url


def _client(server: OAuth, token: str) -> httpx.Client:
    return httpx.Client(base_url=f"{server.root}/fhir/", timeout=30, headers={"Authorization": f"Bearer {token}"})


def test_begun_anew_after_each_file(server: OAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others always wait: each document comes once, whoever writes the next file."""

    async def always(self: runner.Runner, id: str) -> bool:
        return True

    monkeypatch.setattr(output, "TURN", 0.0)
    monkeypatch.setattr(runner.Runner, "_awaited", always)
    with _client(server, server.service_token("backend").json()["access_token"]) as client:
        found = documents(client, manifest(client, "$export?_type=Patient"))
        assert sorted(each["id"] for each in found) == ["anna", "bert", *(f"p{number}" for number in range(6))]


@pytest.mark.parametrize(
    ("ending", "text"),
    [("client", "client was disabled"), ("scopes", "Scopes were taken from its client"), ("role", "role of its user was changed")],
)
def test_rights_that_end_between_files(server: OAuth, gate: Gate, ending: str, text: str) -> None:
    """The job fails with the reason, and its files are gone."""
    token = server.service_token("backend").json()["access_token"]
    if ending == "role":
        token, _ = server.granted(USERS[1], "server", "user/*.rs")
    with _client(server, token) as client:
        url = _begun(server, client, gate, 2)
        asyncio.run(_end(server, ending))
        gate.left = 1_000
        assert text in refused(finished(client, url), 403)
        folder, deadline = Path(server.settings.data_dir) / "files", time.monotonic() + 60
        while list(folder.rglob("*.ndjson")):
            assert time.monotonic() < deadline


async def _end(server: OAuth, ending: str) -> None:
    """Change the client or the user, but leave their tokens: what is under way shall stop by itself."""
    async with open_service(server.settings) as service:
        if ending == "role":
            user = await find_user(service.store, USERS[1].name)
            assert user is not None
            await service.commit(kept_user(user.having(role="analyst")))
            return
        stored = await stored_client(service.store, "backend")
        assert stored is not None
        changes = {"disabled": True} if ending == "client" else {"scopes": "system/Observation.rs"}
        await service.commit(kept_client(msgspec.structs.replace(stored.client, **changes), stored.revision))


def test_a_consent_counts_from_the_next_file_on(server: OAuth, gate: Gate) -> None:
    """Whoever denies access while the export goes on is not in what is written later."""
    with _client(server, server.service_token("backend").json()["access_token"]) as client:
        url = _begun(server, client, gate, 2)
        denied = consent("no", {"type": "deny"}, "p5")
        server.http.put("/fhir/Consent/no", json=denied, headers=server.bearer("everything")).raise_for_status()
        gate.left = 1_000
        found = documents(client, ended(client, url))
        assert sorted(each["id"] for each in found) == ["anna", "bert", *(f"p{number}" for number in range(5))]
