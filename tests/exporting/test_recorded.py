"""Exports in the record of accesses, and the end of whoever asked for one."""

import asyncio
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest
from exporting.asking import KICK_OFF, begin, begun, ended, finished, manifest, manifests, post, refused
from exporting.people import POPULATION
from oauth.world import DOCUMENTS, USERS, OAuth, clients

from fhir_server.app import open_service
from fhir_server.exporting.writing import output
from fhir_server.jobs import runner
from smart_auth.clients import kept
from smart_auth.users import find_user, forgotten


def test_patients_see_who_exported_their_record(oauth: OAuth, service: httpx.Client) -> None:
    """$access-log of each patient whose documents were exported has the export, and of nobody else."""
    before = {id: _exports(oauth, id) for id in ("p1", "p2", "p3")}
    manifest(service, "Group/g/$export?_type=Observation")
    after = {id: _exports(oauth, id) for id in before}
    assert [after[id] - before[id] for id in ("p1", "p2", "p3")] == [1, 1, 0]


def _exports(oauth: OAuth, patient: str) -> int:
    """How often the patient's record was exported from the Group, as $access-log tells."""
    answer = oauth.http.get(f"/fhir/Patient/{patient}/$access-log?_count=200", headers=oauth.bearer("everything"))
    assert answer.status_code == 200, answer.text
    events = [entry["resource"] for entry in answer.json().get("entry", ())]
    asked = [b64decode(entity["query"]) for event in events for entity in event.get("entity", ()) if "query" in entity]
    return sum(query.startswith(b"Group/g/$export") for query in asked)


@pytest.mark.parametrize("type", ["batch", "transaction"])
def test_what_fits_into_no_bundle(bulk: httpx.Client, type: str) -> None:
    """Files, what is told of jobs, and rows of views are refused as entries of a Bundle before they are read, so that none is recorded as
    given out; a transaction with one does nothing. An export needs its headers, which entries have not."""
    file = manifest(bulk, "Patient/$export?_type=Patient")["output"][0]["url"].removeprefix(str(bulk.base_url))
    paths = [file, file.rpartition("/")[0], "ViewDefinition/x/$run", "$export"][: 4 if type == "batch" else 3]
    created = {"resource": {"resourceType": "Basic", "code": {"text": "a"}}, "request": {"method": "POST", "url": "Basic"}}
    entries = [{"request": {"method": "GET", "url": path}} for path in paths]
    bundle = {"resourceType": "Bundle", "type": type, "entry": [*entries, *([created] if type == "transaction" else [])]}
    before = _given_out(bulk)
    answer = bulk.post("", json=bundle)
    if type == "batch":
        told = [each["response"] for each in answer.json()["entry"]]
        assert [each["status"][:3] for each in told] == ["400", "400", "400", "400"]
        texts = [each["outcome"]["issue"][0]["details"]["text"] for each in told]
        assert ["request of its own" in text for text in texts] == [True, True, True, False]
    else:
        assert "request of its own" in refused(answer, 400)
    assert _given_out(bulk) - before == (2 if type == "batch" else 1)  # the count, and the batch, of which nothing came


def _given_out(client: httpx.Client) -> int:
    """How many requests were carried out, by the record of accesses."""
    total: int = client.get("AuditEvent?outcome=0&_summary=count").json()["total"]
    return total


def _events(oauth: OAuth, query: str) -> list[dict[str, Any]]:
    """The entities of each AuditEvent that a search finds, newest first; what was asked as text."""
    answer = oauth.http.get(f"/fhir/AuditEvent?{query}&_count=200&_sort=-date", headers=oauth.bearer("everything"))
    assert answer.status_code == 200, answer.text
    found = []
    for event in (entry["resource"] for entry in answer.json().get("entry", ())):
        entities = event.get("entity", ())
        found.append(
            {
                "asked": [b64decode(each["query"]).decode() for each in entities if "query" in each],
                "job": [each["what"]["identifier"]["value"] for each in entities if each.get("role", {}).get("code") == "20"],
            }
        )
    return found


def test_what_was_asked_for_in_a_body_is_recorded(oauth: OAuth, service: httpx.Client) -> None:
    """As in a query; with the job that it began."""
    asked = {"_type": "Observation,Patient", "_typeFilter": "Observation?code=718-7", "_since": "2020-01-01T00:00:00Z"}
    patients = [("patient", {"reference": "Patient/p2"}), ("patient", {"reference": "Patient/p4"})]
    url = begun(post(service, "Patient/$export", *asked.items(), *patients))
    job = url.partition("/fhir/")[2]
    [kick_off] = [event for event in _events(oauth, "action=E") if event["job"] == [job]]
    path, _, query = kick_off["asked"][0].partition("?")
    assert path == "Patient/$export"
    assert parse_qsl(query) == [*asked.items(), ("patient", "Patient/p2"), ("patient", "Patient/p4")]
    ended(service, url)
    long = [("patient", {"reference": f"Patient/{number:064d}"}) for number in range(400)]
    job = begun(post(service, "Patient/$export", *long, lenient=True)).partition("/fhir/")[2]
    [kick_off] = [event for event in _events(oauth, "action=E") if event["job"] == [job]]
    assert len(kick_off["asked"][0]) < 17_000 and int(kick_off["asked"][0].partition("left-out=")[2]) > 100


def test_who_fetched_whose_data_can_be_told(oauth: OAuth, service: httpx.Client) -> None:
    """An event that names a patient names the file of the export too; fetching it is an event that asks for this file."""
    told = manifests(service, "Group/g/$export?_type=Observation", "Group/g/$export?_type=Observation,Condition")
    urls = [file["url"] for each in told for file in each["output"] if file["type"] == "Observation"]
    first, second = (url.partition("/fhir/")[2] for url in urls)
    service.get(urls[0]).raise_for_status()
    named = [name for event in _events(oauth, "entity=Patient/p1") for name in event["job"]]
    fetched = [asked for event in _events(oauth, "action=E") for asked in event["asked"]]
    assert {first, second} <= set(named) and first in fetched and second not in fetched


def test_each_file_is_named_with_its_patients(oauth: OAuth, service: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an export of many files each patient is named with every file that has documents about them."""
    monkeypatch.setattr(output, "MOST", 1)
    told = manifest(service, "Patient/$export?_type=Observation")
    files = {file["url"].partition("/fhir/")[2]: service.get(file["url"]).text for file in told["output"]}
    assert len(files) > 3
    for patient in ("p1", "p2", "p3", "p4"):
        named = {name for event in _events(oauth, f"entity=Patient/{patient}") for name in event["job"]}
        assert {name for name, text in files.items() if f'"Patient/{patient}"' in text} <= named


def test_addresses_that_clients_call_the_server_by(oauth: OAuth, service: httpx.Client) -> None:
    """What parts do is recorded with the path of the kick-off, whatever Host it named."""
    answer = service.get("Patient/$export?_type=Condition", headers=KICK_OFF | {"Host": "elsewhere.example.org"})
    job = begun(answer).rpartition("/")[2]
    ended(service, f"{oauth.root}/fhir/$job/{job}")
    [found] = [event for event in _events(oauth, "entity=Patient/p1") if f"$job/{job}/Condition.000001.000.ndjson" in event["job"]]
    assert found["asked"] == ["Patient/$export?_type=Condition"]


@pytest.mark.parametrize("ending", ["client", "user"])
def test_a_job_ends_with_its_owner(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """[I26, I33] Where its client is disabled or its user removed while it is under way, the job fails, and nothing is given out."""
    monkeypatch.setattr(runner.Runner, "_round", _never)
    server = OAuth(tmp_path, rate_limit_polls="off")
    for document in (*DOCUMENTS, *POPULATION[:4]):
        name = f"/fhir/{document['resourceType']}/{document['id']}"
        server.http.put(name, json=document, headers=server.bearer("everything")).raise_for_status()
    if ending == "client":
        token = server.service_token("backend").json()["access_token"]
    else:
        token, _ = server.granted(USERS[1], "server", "user/*.rs")
    with httpx.Client(base_url=f"{server.root}/fhir/", timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
        url = begin(client)
        asyncio.run(_end(server, ending))
        monkeypatch.undo()
        answer = finished(client, url)
        assert "while the job was under way" in refused(answer, 403)
        assert not list((tmp_path / "files").rglob("*.ndjson"))
    server.close()


async def _never(self: runner.Runner) -> bool:
    return False


async def _end(server: OAuth, ending: str) -> None:
    """End the client or the user, but for their tokens: what is under way shall stop by itself."""
    async with open_service(server.settings) as service:
        if ending == "client":
            backend = next(each for each in clients() if each.id == "backend")
            await service.commit(kept(msgspec.structs.replace(backend, disabled=True), -1))
        else:
            user = await find_user(service.store, USERS[1].name)
            assert user is not None
            await service.commit(forgotten(user))
