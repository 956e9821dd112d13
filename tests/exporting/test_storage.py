"""Exports whose files lie in a bucket: signed links to them, storage that refuses or is full in the middle; and files before the end."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from api.conftest import serving
from exporting.asking import begin, ended, finished, manifest, refused
from exporting.people import POPULATION, patient
from files.storage import BUCKET, KEY, SECRET, bucket_place
from oauth.world import OAuth
from robustness.disks import small_disk
from services.running import service

from fhir_server.exporting import part, plan
from fhir_server.exporting.selecting import Selection
from fhir_server.exporting.writing import output
from fhir_server.files.bucket import Bucket
from fhir_server.jobs import runner
from fhir_server.jobs.work import Task
from resources.store import StoreUnavailable


def bucket(prefix: str, **more: Any) -> dict[str, Any]:
    """Settings for files in the running S3 server."""
    place = {"files_url": f"s3://{BUCKET}/{prefix}", "files_endpoint": service("versitygw"), "files_plain_http": True}
    return place | {"files_access_key": KEY, "files_secret_key": SECRET, "rate_limit_polls": "off"} | more


def _wait(met: Callable[[], bool]) -> None:
    """Until that holds. A job is told as failed a little before its files are gone."""
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def prefix() -> str:
    return f"test/{uuid4().hex[:12]}"


def left(prefix: str) -> list[str]:
    """The names below a prefix of the bucket."""
    above, _, name = prefix.partition("/")
    place = Bucket(replace(bucket_place(), prefix=above))
    return [found for found, _ in asyncio.run(place.names(name))]


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuth]:
    """A server whose files are given out by links."""
    server = OAuth(tmp_path_factory.mktemp("linked"), **bucket(prefix(), files_links="on", files_link_seconds=300))
    for document in POPULATION[:8]:
        name = f"/fhir/{document['resourceType']}/{document['id']}"
        server.http.put(name, json=document, headers=server.bearer("everything")).raise_for_status()
    yield server
    server.close()


def test_signed_links(linked: OAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    """[I23, I26] The file's address needs the token and leads to a link, which needs none, gives the file as it is, and ends; then the
    address leads to another one. Who may not see the type, or is somebody else, gets no link."""

    def token(client: str, scope: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {linked.service_token(client, scope).json()['access_token']}"}

    mine = token("backend", "system/*.rs")
    with httpx.Client(base_url=f"{linked.root}/fhir/", timeout=30, headers=mine) as client:
        told = manifest(client, "$export?_type=Patient")
    assert told["requiresAccessToken"] is True
    [item] = told["output"]
    assert httpx.get(item["url"]).status_code == 401
    assert httpx.get(item["url"], headers=token("backend", "system/Observation.rs")).status_code == 403
    assert httpx.get(item["url"], headers=token("ehr", "system/*.rs")).status_code == 404
    answer = httpx.get(item["url"], headers=mine)
    assert (answer.status_code, answer.headers["cache-control"], answer.content) == (307, "no-store", b"")
    link = answer.headers["location"]
    file = httpx.get(link, headers={"Accept": "application/fhir+ndjson"})
    assert file.status_code == 200 and file.headers["content-type"] == "application/fhir+ndjson"
    assert len(file.text.splitlines()) == item["count"]
    assert httpx.get(item["url"], headers=mine, follow_redirects=True).content == file.content
    with monkeypatch.context() as patched:
        signed, seconds = Bucket.link, list[int]()

        async def brief(self: Bucket, name: str, given: int) -> str | None:
            seconds.append(given)
            return await signed(self, name, 1)

        patched.setattr(Bucket, "link", brief)
        ending = httpx.get(item["url"], headers=mine).headers["location"]
    assert seconds == [300]
    _wait(lambda: httpx.get(ending).status_code == 403)
    assert httpx.get(httpx.get(item["url"], headers=mine).headers["location"]).status_code == 200


def test_links_where_nobody_is_asked(tmp_path: Path) -> None:
    """[I24, I26] Without sign-in the manifest says that no token is needed, and a plain client that follows redirects gets the files; once
    the export is called off, links lead to nothing."""
    where = prefix()
    with serving(tmp_path, POPULATION[:4], **bucket(where, files_links="on")) as client:
        url = begin(client)
        told = ended(client, url)
        assert told["requiresAccessToken"] is False
        links = []
        for item in told["output"]:
            answer = client.get(item["url"], follow_redirects=True)
            assert answer.status_code == 200 and len(answer.text.splitlines()) == item["count"]
            links.append(str(answer.url))
        assert len(left(where)) == len(links)
        assert client.delete(url).status_code == 202
        assert left(where) == []
        assert {httpx.get(link).status_code for link in links} == {404}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of two documents; what cannot be written is tried again at once."""
    monkeypatch.setattr(output, "MOST", 2)
    monkeypatch.setattr(runner, "PAUSE", 0.01)
    monkeypatch.setattr(runner, "IDLE", 0.01)


@pytest.mark.usefixtures("impatient")
def test_a_bucket_that_refuses_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[I33] Rights that are taken away after the first files: the job fails with what the storage said; what was written goes."""
    where, whole, opened = prefix(), Bucket.writing, list[str]()
    refusing = Bucket(replace(bucket_place(), prefix=where, secret_key="another"))

    def writing(self: Bucket, name: str, content_type: str) -> Any:
        opened.append(name)
        return whole(refusing if len(opened) > 3 else self, name, content_type)

    with serving(tmp_path, [patient(f"n{number}") for number in range(20)], **bucket(where)) as client:
        monkeypatch.setattr(Bucket, "writing", writing)
        url = begin(client)
        answer = finished(client, url)
        text = refused(answer, 503)
        assert "the access key is wrong or no longer good" in text and SECRET not in text and "http" not in text
        assert len(opened) > 10
        _wait(lambda: left(where) == [])
        assert refused(client.get(f"{url}/Patient.000001.000.ndjson"), 404)


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_is_full_in_the_middle(tmp_path: Path) -> None:
    """[I33] What fits is written, then there is no room: the job fails, and its files make room again."""
    with small_disk(tmp_path / "disk", 3_000_000) as disk:
        files = {"files_url": (disk / "files").as_uri(), "files_room": 0, "rate_limit_polls": "off"}
        large = [patient(f"n{number}", text={"status": "empty", "div": _narrative(400_000)}) for number in range(12)]
        with serving(tmp_path / "data", large, **files) as client:
            answer = finished(client, begin(client))
            assert "full" in refused(answer, 507)
            assert answer.json()["issue"][0]["code"] == "no-store"
            _wait(lambda: not any(path.is_file() for path in (disk / "files").rglob("*")))
            small = manifest(client, "$export?_elements=id")
            assert sum(item["count"] for item in small["output"]) == 12


def _narrative(size: int) -> str:
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{"x" * size}</div>'


def test_files_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[I38] Who asked for partial manifests gets pages of files that are done while the job is under way, always the same, and may fetch
    these; links come once the next page is there. Others hear of progress alone."""
    monkeypatch.setattr(plan, "WINDOW", 10)
    monkeypatch.setattr(runner, "PAUSE", 0.01)
    prepared, open = part._selection, [False]

    async def waiting(task: Task) -> Selection:
        if task.part.number > 10 and not open[0]:
            raise StoreUnavailable("wait for it")
        return await prepared(task)

    monkeypatch.setattr(part, "_selection", waiting)
    with serving(tmp_path, [patient(f"n{number}") for number in range(80)], rate_limit_polls="off") as client:
        url, plain = begin(client, "$export?allowPartialManifests=true&_type=Patient"), begin(client, "$export?_type=Patient")
        deadline = time.monotonic() + 60
        while not (answer := client.get(url)).content:
            assert answer.status_code == 202 and time.monotonic() < deadline
        assert answer.status_code == 202 and answer.headers["content-type"] == "application/json"
        assert answer.headers["x-progress"] and answer.headers["retry-after"]
        first = answer.json()
        assert len(first["output"]) == 8 and "link" not in first
        for item in first["output"]:
            assert len(client.get(item["url"]).text.splitlines()) == item["count"]
        assert client.get(url).json() == first
        assert (client.get(plain).status_code, client.get(plain).content) == (202, b"")
        open[0] = True
        done = ended(client, url)
        assert {name: value for name, value in done.items() if name != "link"} == first
        counts, told = [item["count"] for item in first["output"]], done
        while "link" in told:
            told = client.get(told["link"][0]["url"]).json()
            counts += [item["count"] for item in told["output"]]
        assert sum(counts) == sum(item["count"] for item in ended(client, plain)["output"]) == 80
