"""A server that is killed in the middle of an import is followed by another one; names that change lead nowhere."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from exporting.asking import finished
from importing.giving import begin, giving, lines_told, ndjson, patients
from robustness.running import Server

from fhir_server.config import Settings
from fhir_server.importing.fetching import Fetching
from fhir_server.importing.sources import Sources
from fhir_server.jobs.work import Failed


@pytest.mark.parametrize("defer", ["100MB", "1"])
def test_a_killed_server_is_followed(tmp_path: Path, defer: str) -> None:
    """All resources are there in one version each, and the counts and errors are as if nothing had happened; also where they are indexed
    in the end, until when searches for them answer 503."""
    with giving() as source:
        wrong = b'{"resourceType":"Patient","id":"w","birthDate":"x"}\n'
        source.files["many"] = wrong + ndjson(patients(0, 6_000)) + wrong
        source.held.add("many")
        environment = {"FHIR_IMPORT_SOURCES": f"{source.root}/", "FHIR_IMPORT_DEFER": defer, "FHIR_JOBS_LEASE": "5"}
        server = Server(tmp_path / "data", environment=environment)
        with server, httpx.Client(base_url=f"{server.base}/", timeout=30) as client:
            url = begin(client, [("Patient", f"{source.root}/many")]).headers["content-location"]
            deadline = time.monotonic() + 60
            while lines_told(client.get(url)) < 600:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            server.kill()
            server.start()
            assert client.get(url).status_code == 202
            if defer == "1":
                response = client.get("Patient?_summary=count")
                assert (
                    response.status_code == 503 and "cannot be searched yet" in response.text and "retry-after" in response.headers
                )
            source.more.set()
            told = finished(client, url, 120).json()
            assert told["output"][0]["extension"] == {"written": 6_000, "unchanged": 0} and told["error"][0]["count"] == 2
            lines = client.get(told["error"][0]["url"]).text.splitlines()
            assert len(lines) == 2 and "line 1" in lines[0] and "line 6002" in lines[1]
            assert client.get("Patient/_history?_summary=count").json()["total"] == 6_000
            assert client.get("Patient?_summary=count").json()["total"] == 6_000
            assert client.get("Patient?_id=p5999").json()["total"] == 1
        assert len(source.asked) > 1


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
def test_a_name_must_lead_to_the_public_internet(address: str) -> None:
    """However often the name is looked up: the address that was checked is the one that is connected to."""

    async def resolver(host: str, port: int) -> Sequence[str]:
        return ["93.184.215.14", address]

    sources = Sources.of(Settings(import_sources="https://rebound.example.org/"))

    async def read() -> None:
        async for _ in Fetching("https://rebound.example.org/x", sources, 1_000, 1_000, resolver=resolver).lines():
            raise AssertionError("nothing can be read")

    with pytest.raises(Failed, match="not one of the public Internet"):
        asyncio.run(read())
