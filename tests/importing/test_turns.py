"""Slow sources: nobody else waits for them, they are given up in the end, and whoever loses the right to import stops at once."""

import asyncio
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest
from api.conftest import Running
from exporting.asking import begin as export
from exporting.asking import ended, finished
from importing.giving import Giving, begin, giving, ndjson, patients
from oauth.world import OAuth

from fhir_server.app import open_service
from fhir_server.importing import pace, part
from fhir_server.jobs import lease, runner, work
from resources.store import StoreUnavailable
from smart_auth.clients import kept, stored_client


@pytest.fixture
def source() -> Iterator[Giving]:
    with giving() as made:
        yield made


@pytest.fixture
def client(source: Giving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(part, "TURN", 0.3)
    monkeypatch.setattr(part, "SOON", 0.1)
    server = Running(tmp_path, import_sources=f"{source.root}/", rate_limit_polls="off")
    server.start()
    with httpx.Client(base_url=f"{server.root}/fhir/", timeout=30) as made:
        yield made
    server.stop()


def _slow(source: Giving, name: str, start: int, count: int) -> list[tuple[str, str]]:
    source.files[name], source.pauses[name] = ndjson(patients(start, count)), 0.02
    return [("Patient", f"{source.root}/{name}")]


def _lines(client: httpx.Client, url: str) -> int:
    """How many lines an import says that it has read."""
    text = client.get(url).headers.get("x-progress", "")
    return int(text.split(", ")[1].removesuffix(" lines")) if "lines" in text else 0


def test_an_export_does_not_wait_for_a_slow_import(client: httpx.Client, source: Giving) -> None:
    """It is done meanwhile; the import goes on, and tells how far it has come."""
    url = begin(client, _slow(source, "slow", 0, 5_000)).headers["content-location"]
    while not _lines(client, url):
        time.sleep(0.02)
    ended(client, export(client, "$export"))
    before = _lines(client, url)
    assert 0 < before < 5_000
    while _lines(client, url) == before:
        time.sleep(0.02)
    assert client.delete(url).status_code == 202


def test_slow_imports_take_turns(client: httpx.Client, source: Giving) -> None:
    """Each goes on where it was, by a range, and everything is written once."""
    inputs = [_slow(source, "one", 0, 1_000), _slow(source, "two", 1_000, 1_000)]
    urls = [begin(client, each).headers["content-location"] for each in inputs]
    deadline = time.monotonic() + 60
    while sum(asked.startswith("bytes=") and asked != "bytes=0-3" for _, asked in source.asked) < 2:
        assert time.monotonic() < deadline, "they take no turns"
        time.sleep(0.02)
    source.pauses.clear()
    for url in urls:
        assert finished(client, url).json()["output"][0]["extension"] == {"written": 1_000, "unchanged": 0}
    assert client.get("Patient/_history?_summary=count").json()["total"] == 2_000


def test_a_source_that_gives_next_to_nothing(client: httpx.Client, source: Giving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The import fails after some time, and says why; what came stays."""
    monkeypatch.setattr(pace, "WINDOW", 0.1)
    monkeypatch.setattr(pace, "SLOW", 1.2)
    monkeypatch.setattr(pace, "LEAST", 1_000_000)
    answer = finished(client, begin(client, _slow(source, "slow", 0, 5_000)).headers["content-location"])
    assert answer.status_code == 504 and "bytes a second" in answer.json()["issue"][0]["details"]["text"]


@pytest.mark.parametrize("most", [7, 25])
def test_portions_need_not_be_the_same_again(
    client: httpx.Client, source: Giving, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """A portion was written, but its end could not be put down: whoever follows, with shorter or longer ones, counts each line once."""
    monkeypatch.setattr(runner, "PAUSE", 0.05)
    monkeypatch.setattr(part, "SOON", 60.0)
    monkeypatch.setattr(part, "MOST", 10)
    keep, kept_places = lease.Lease.keep, list[Any]()

    async def failing(self: lease.Lease, place: Any, events: Any = ()) -> None:
        kept_places.append(place)
        if len(kept_places) == 2:
            monkeypatch.setattr(part, "MOST", most)
            raise StoreUnavailable("not now")
        await keep(self, place, events)

    monkeypatch.setattr(lease.Lease, "keep", failing)
    source.files["f"] = b"\n".join(
        b"{nothing" if number in (12, 18, 22) else b"" if number in (20, 31) else line
        for number, line in enumerate(ndjson(patients(0, 50)).splitlines(), 1)
    )
    told = finished(client, begin(client, [("Patient", f"{source.root}/f")], mode="create").headers["content-location"]).json()
    assert told["output"][0]["extension"] == {"written": 45, "unchanged": 0} and told["error"][0]["count"] == 3
    places = [lines.rpartition(" ")[2][:2] for lines in client.get(told["error"][0]["url"]).text.splitlines()]
    assert places == ["12", "18", "22"] and len(kept_places) > 3


def test_a_client_that_is_disabled_imports_no_more(source: Giving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The import fails with the reason, in the middle of an input."""
    monkeypatch.setattr(part, "SOON", 0.05)
    monkeypatch.setattr(work, "FRESH", 0.05)
    server = OAuth(tmp_path, import_sources=f"{source.root}/", rate_limit_polls="off")
    token = server.service_token("writer", scope="system/*.cruds").json()["access_token"]
    with httpx.Client(base_url=f"{server.root}/fhir/", timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
        url = begin(client, _slow(source, "slow", 0, 5_000)).headers["content-location"]
        while not _lines(client, url):
            time.sleep(0.02)
        asyncio.run(_disable(server))
        answer = finished(client, url)
        assert answer.status_code == 403 and "client was disabled" in answer.json()["issue"][0]["details"]["text"]
        assert client.get("Patient?_summary=count").json()["total"] < 4_000
    server.close()


def test_what_was_imported_from_where_is_recorded(source: Giving, tmp_path: Path) -> None:
    """In the event of the kick-off, without the signature of a URL; what was written names the job."""
    server = OAuth(tmp_path, import_sources=f"{source.root}/", rate_limit_polls="off")
    source.files["f"] = ndjson(patients(0, 1))
    with httpx.Client(base_url=f"{server.root}/fhir/", timeout=30, headers=server.bearer("command line")) as client:
        url = begin(client, [("Patient", f"{source.root}/f?sig=secret")], mode="create").headers["content-location"]
        assert finished(client, url).status_code == 200
        found = [entry["resource"]["entity"] for entry in client.get("AuditEvent?_count=100").json()["entry"]]
        job = {"identifier": {"value": url.partition("/fhir/")[2]}}
        mine = [entities for entities in found if any(each.get("what") == job for each in entities)]
        asked = [b64decode(each["query"]).decode() for entities in mine for each in entities if "query" in each]
        written = [each["what"]["reference"] for entities in mine for each in entities if "reference" in each.get("what", {})]
        assert "Patient/p0" in written and len(asked) == 1
        told = parse_qsl(asked[0].partition("?")[2])
        assert told == [("inputSource", "https://other.example.org"), ("mode", "create"), ("input", f"Patient {source.root}/f")]
        assert not any("secret" in str(entities) for entities in found)
    server.close()


async def _disable(server: OAuth) -> None:
    """Disable the client, but leave its tokens: what is under way shall stop by itself."""
    async with open_service(server.settings) as service:
        stored = await stored_client(service.store, "writer")
        assert stored is not None
        await service.commit(kept(msgspec.structs.replace(stored.client, disabled=True), stored.revision))
