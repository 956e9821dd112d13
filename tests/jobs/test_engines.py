"""Workers with documents in MongoDB or PostgreSQL, and search in Elasticsearch: all of them real servers."""

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from exporting import asking
from exporting.people import observation, provenance
from jobs.processes import Process, begin, caught, ended, files_of, fill, talking
from services import running
from services.mongo.database import database as mongo
from services.postgres.database import database as postgres


@pytest.fixture(params=["mongo", "postgres"])
def settings(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings of a server and its workers, with an empty database."""
    database: AbstractContextManager[str] = mongo() if request.param == "mongo" else postgres()
    search, redis, prefix = running.service("elasticsearch"), running.service("redis"), f"jobs{uuid4().hex[:12]}"
    with database as url:
        yield {
            "FHIR_STORE_URL": url, "FHIR_SEARCH_URL": search, "FHIR_SEARCH_PREFIX": prefix, "FHIR_REDIS_URL": redis,
            "FHIR_JOBS": "workers", "FHIR_JOBS_LEASE": "3", "FHIR_RATE_LIMIT_POLLS": "off", "FHIR_JOBS_AT_ONCE": "1000",
        }  # fmt: skip
    httpx.delete(f"{search}/{prefix}-*", timeout=60)


def test_two_workers_one_killed(settings: dict[str, str], tmp_path: Path) -> None:
    """The other one ends the export, which is the same to the byte as one that nobody disturbed."""
    with ExitStack() as stack:
        begun = [Process(tmp_path, command, **settings).begin() for command in ("serve", "worker", "worker")]
        server, *both = [stack.enter_context(process) for process in begun]
        client = stack.enter_context(talking(server))
        fill(client, 1_500)
        first = begin(client)
        assert ended(client, first)
        files = files_of(client, first)
        assert sum(count for _, count, _ in files) == 4_500
        url, _ = caught(client, both, signal.SIGKILL)
        assert ended(client, url)
        assert files_of(client, url) == files
        assert server.metric('fhir_jobs{state="failed"}') == 0


def test_few_patients(settings: dict[str, str], tmp_path: Path) -> None:
    """What was written right before the export is in it: their documents are found by an index that has caught up."""
    with ExitStack() as stack:
        server, _ = [stack.enter_context(Process(tmp_path, command, **settings)) for command in ("serve", "worker")]
        client = stack.enter_context(talking(server))
        fill(client, 500)
        deadline, by_index = time.monotonic() + 60, 0
        while client.get("Condition?_summary=count").status_code != 200:
            assert time.monotonic() < deadline
        for number in range(3):
            client.put("Observation/o1", json=observation("o1", f"Patient/p{5 + number}")).raise_for_status()
            client.put("Observation/o5", json=observation("o5", f"Patient/p{number}")).raise_for_status()
            client.put("Provenance/v", json=provenance("v", f"Observation/o{number}")).raise_for_status()
            client.delete(f"Condition/c{number}").raise_for_status()
            url = asking.begin(client, "Patient/$export?patient=Patient/p0,Patient/p1")
            found = asking.names(asking.documents(client, asking.ended(client, url)))
            by_index += any((tmp_path / "data" / "files" / url.rpartition("/")[2]).glob("found-*"))
            mine = [f"{type}{each}" for each in range(500) if each % 97 < 2 for type in ("Observation/o", "Condition/c")]
            gone = {"Observation/o1", *(f"Condition/c{each}" for each in range(number + 1))}
            more = {
                "Patient/p0",
                "Patient/p1",
                *(["Observation/o5"] if number < 2 else []),
                *(["Provenance/v"] if number == 0 else []),
            }
            assert found == sorted({*mine, *more} - gone)
        assert by_index
