"""Exports whose files lie in S3 storage, and what becomes of exports when files cannot be written."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.conftest import serving
from exporting.asking import begin, documents, finished, manifest
from files.storage import BUCKET, KEY, SECRET, bucket_place
from robustness.disks import small_disk

from fhir_server.files.bucket import Bucket
from fhir_server.files.folder import DRAFTS, Folder
from fhir_server.jobs import runner

DOCUMENTS = [{"resourceType": "Patient", "id": f"p{number}", "name": [{"text": "x" * 4_000}]} for number in range(20)]


@contextmanager
def on_storage(folder: Path, **changed: Any) -> Iterator[tuple[httpx.Client, Bucket]]:
    """A server with documents whose files lie in a bucket, and that place."""
    place = bucket_place()
    keys = {"files_access_key": KEY, "files_secret_key": SECRET}
    settings = {"files_url": f"s3://{BUCKET}/{place.prefix}", "files_endpoint": place.endpoint} | keys | changed
    with serving(folder, DOCUMENTS, **settings) as client:
        client.follow_redirects = True
        yield client, Bucket(place)


@pytest.mark.parametrize("links", ["off", "on"])
def test_an_export_into_a_bucket(links: str, tmp_path: Path) -> None:
    """Files lie in the bucket, are read through the server or by links that it leads to, and are gone when the job is called off."""
    with on_storage(tmp_path, files_links=links) as (client, place):
        url = begin(client)
        told = finished(client, url).json()
        assert {each["id"] for each in documents(client, told)} == {f"p{number}" for number in range(20)}
        first = client.get(told["output"][0]["url"], follow_redirects=False)
        assert first.status_code == (307 if links == "on" else 200)
        job = url.rpartition("/")[2]
        assert len(asyncio.run(place.names(job))) == len(told["output"])
        assert client.delete(url).status_code == 202
        assert asyncio.run(place.names(job)) == []
        if links == "on":
            assert httpx.get(first.headers["location"]).status_code == 404


def failed(client: httpx.Client, status: int, says: str) -> str:
    """Begins an export that fails, checks what is told of it, and gives the id of the job."""
    url = begin(client)
    answer = finished(client, url)
    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert says in answer.text
    assert SECRET not in answer.text
    return url.rpartition("/")[2]


def test_an_export_into_a_bucket_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job fails with the reason as an OperationOutcome, and nothing of it is published."""
    monkeypatch.setattr(runner, "PAUSE", 0.01)
    monkeypatch.setattr(runner, "IDLE", 0.05)
    with on_storage(tmp_path, files_access_key="stranger", files_secret_key="stranger-secret-key") as (client, place):
        job = failed(client, 503, "access to the bucket is refused")
        assert asyncio.run(place.names(job)) == []


def test_an_export_onto_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job fails with 507, nothing of it is published and no space stays taken; with room the next one succeeds."""
    monkeypatch.setattr(runner, "PAUSE", 0.01)
    monkeypatch.setattr(runner, "IDLE", 0.05)
    with (
        small_disk(tmp_path / "disk", 200_000) as disk,
        serving(tmp_path / "data", DOCUMENTS, files_url=f"file://{disk}/files", files_room=0) as client,
    ):
        (disk / "ballast").write_bytes(b"x" * 150_000)
        job = failed(client, 507, "is full")
        assert asyncio.run(Folder(disk / "files").names(job)) == []
        assert list((disk / "files" / DRAFTS).iterdir()) == []
        (disk / "ballast").unlink()
        assert len(documents(client, manifest(client))) == 20


def test_room_for_the_database_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is begun on a disk that has less room than FHIR_FILES_ROOM; the store can still be written."""
    monkeypatch.setattr(runner, "PAUSE", 0.01)
    monkeypatch.setattr(runner, "IDLE", 0.05)
    with serving(tmp_path / "data", DOCUMENTS, files_room=10**18) as client:
        failed(client, 507, "FHIR_FILES_ROOM")
        assert client.put("Patient/later", json={"resourceType": "Patient", "id": "later"}).status_code == 201


def test_leftovers_are_removed_by_the_server(tmp_path: Path) -> None:
    """What a killed process left unfinished a day ago is removed by a server that is at leisure; what is younger stays."""
    drafts = tmp_path / "files" / DRAFTS
    drafts.mkdir(parents=True)
    for name, age in (("old", 90_000), ("young", 80_000)):
        (drafts / name).write_bytes(b"x")
        os.utime(drafts / name, (time.time() - age, time.time() - age))
    with serving(tmp_path / "data", [], files_url=f"file://{tmp_path}/files"):
        end = time.monotonic() + 20
        while (drafts / "old").exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert [path.name for path in drafts.iterdir()] == ["young"]
