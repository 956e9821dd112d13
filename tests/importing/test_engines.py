"""Imports by workers, with documents in SQLite, or in MongoDB or PostgreSQL beside Elasticsearch: all of them real servers."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from exporting.asking import finished
from importing.giving import begin, giving, lines_told, ndjson, patients
from jobs.processes import Process, talking, working
from services import running
from services.mongo.database import database as mongo
from services.postgres.database import database as postgres


@pytest.fixture(params=["sqlite", "mongo", "postgres"])
def settings(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings of a server and its workers, with an empty store."""
    shared = {
        "FHIR_REDIS_URL": running.service("redis"), "FHIR_JOBS": "workers", "FHIR_JOBS_LEASE": "3", "FHIR_RATE_LIMIT_POLLS": "off",
    }  # fmt: skip
    if request.param == "sqlite":
        yield shared | {"FHIR_IMPORT_DEFER": "1"}
        return
    search, prefix = running.service("elasticsearch"), f"imports{uuid4().hex[:12]}"
    with mongo() if request.param == "mongo" else postgres() as url:
        yield shared | {"FHIR_STORE_URL": url, "FHIR_SEARCH_URL": search, "FHIR_SEARCH_PREFIX": prefix}
    httpx.delete(f"{search}/{prefix}-*", timeout=60)


def test_one_of_two_workers_is_killed(settings: dict[str, str], tmp_path: Path) -> None:
    """The other one goes on behind it; everything is stored once and can be searched when the import is done."""
    with giving() as source, ExitStack() as stack:
        settings |= {"FHIR_IMPORT_SOURCES": f"{source.root}/"}
        wrong = b'{"resourceType":"Patient","id":"w","birthDate":"x"}\n'
        source.files |= {"first": ndjson(patients(0, 4_000)) + wrong, "second": wrong + ndjson(patients(4_000, 4_000))}
        source.held.update(source.files)
        begun = [Process(tmp_path, command, **settings).begin() for command in ("serve", "worker", "worker")]
        server, *both = [stack.enter_context(process) for process in begun]
        client = stack.enter_context(talking(server))
        inputs = [("Patient", f"{source.root}/{name}") for name in ("first", "second")]
        url = begin(client, inputs).headers["content-location"]
        deadline = time.monotonic() + 60
        while not lines_told(client.get(url)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        victim = working(both)
        assert client.get(url).status_code == 202, "the import had ended before the worker was killed"
        victim.kill()
        source.more.set()
        told = finished(client, url, 120).json()
        assert [each["extension"] for each in told["output"]] == [{"written": 4_000, "unchanged": 0}] * 2
        lines = ["".join(client.get(each["url"]).text.splitlines()) for each in told["error"]]
        assert "line 4001" in lines[0] and "line 1" in lines[1]
        assert client.get("Patient?_summary=count").json()["total"] == 8_000
        assert client.get("Patient?_id=p0,p3999,p4000,p7999&_summary=count").json()["total"] == 4
        assert {client.get(f"Patient/p{number}").json()["meta"]["versionId"] for number in range(0, 8_000, 211)} == {"1"}
