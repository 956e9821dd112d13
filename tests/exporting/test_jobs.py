"""What is told of an export under way and after it, and its files."""

import json
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from api.conftest import Running, serving
from exporting.asking import KICK_OFF, begin, ended, finished, manifest, refused
from exporting.people import POPULATION, patient
from oauth.world import OAuth

from conformance.load import definitions
from conformance.validate import Validator
from fhir_server.exporting import plan
from fhir_server.exporting.writing import output
from fhir_server.files.contract import FileMissing, FilesUnavailable
from fhir_server.files.folder import Folder
from fhir_server.jobs import ending, runner
from resources import instants, structure
from resources.documents import decode

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


async def _never(self: runner.Runner) -> bool:
    """In place of a round: nobody works."""
    return False


@pytest.mark.parametrize("path", ["$export", "Patient/$export", "Group/g/$export"])
def test_a_job_from_beginning_to_end(service: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """[I19, I20, I21, I22, I34] 202 with progress and whole seconds at first, then 200 and the manifest as plain JSON, with all of its
    members; files are not empty, and live until Expires."""
    with monkeypatch.context() as resting:
        resting.setattr(runner.Runner, "_round", _never)
        url = begin(service, path)
        at_once = service.get(url, headers={"Accept": "application/json"})
    assert at_once.status_code == 202 and 0 < len(at_once.headers["x-progress"]) < 100
    assert int(at_once.headers["retry-after"]) > 0
    answer = finished(service, url)
    told = answer.json()
    assert answer.status_code == 200 and answer.headers["content-type"].split(";")[0] == "application/json"
    assert INSTANT.fullmatch(told["transactionTime"])
    assert told["request"] == f"{service.base_url}{path}" and told["requiresAccessToken"] is True
    assert told["output"] and told["error"] == [] and told["deleted"] == []
    for item in told["output"]:
        assert item["type"] and item["url"].startswith(f"{service.base_url}$job/") and item["count"] > 0
    expires = parsedate_to_datetime(answer.headers["expires"])
    assert (expires - datetime.now(UTC)).total_seconds() > 80_000
    assert service.get(told["output"][0]["url"]).status_code == 200


def test_files_hold_valid_resources(service: httpx.Client) -> None:
    """[I24] NDJSON: each line a valid resource of the type that the manifest says; packed if the client takes that."""
    told = manifest(service, "Patient/$export")
    validator = Validator(definitions())
    for item in told["output"]:
        answer = service.get(item["url"], headers={"Accept": "application/fhir+ndjson", "Accept-Encoding": "gzip"})
        assert answer.headers["content-type"] == "application/fhir+ndjson" and answer.headers["content-encoding"] == "gzip"
        for line in answer.content.splitlines():
            assert json.loads(line)["resourceType"] == item["type"]
            assert not [issue for issue in structure.check(line) if issue.severity == "error"]
            assert not [issue for issue in validator.check(item["type"], decode(line)) if issue.severity == "error"]


def test_a_file_that_goes_while_it_is_asked_for(bulk: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 404, not the beginning of an answer that breaks off; a storage that cannot be read is 503."""
    url = manifest(bulk, "$export?_type=Patient")["output"][0]["url"]

    def failing(failure: Exception) -> Callable[..., AsyncGenerator[bytes, None]]:
        async def reading(self: Folder, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
            raise failure
            yield b""

        return reading

    for failure, status in ((FileMissing(), 404), (FilesUnavailable("The storage does not answer"), 503)):
        monkeypatch.setattr(Folder, "reading", failing(failure))
        refused(bulk.get(url), status)


def test_what_was_called_off(service: httpx.Client) -> None:
    """[I28, I29, I30] 202, and from then on 404 with an OperationOutcome for the job, a second DELETE, and the files."""
    url = begin(service, "Patient/$export")
    told = ended(service, url)
    assert service.delete(url).status_code == 202
    for method, address in (("GET", url), ("DELETE", url), ("GET", told["output"][0]["url"])):
        refused(service.request(method, address), 404)
    running = begin(service, "Patient/$export")
    assert service.delete(running).status_code == 202
    refused(service.get(running), 404)


def test_files_are_for_whoever_may_see_them(oauth: OAuth, service: httpx.Client) -> None:
    """[I23, I26, I33] 401 without a token, 403 for a token without access to all documents of the type, 404 for another client and for what
    the manifest does not name."""
    told = manifest(service, "Group/g/$export?_type=Patient,Observation")
    files = {item["type"]: item["url"] for item in told["output"]}

    def fetched(type: str, **headers: str) -> int:
        return oauth.http.get(files[type], headers=headers).status_code

    def by(client: str, scope: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {oauth.service_token(client, scope).json()['access_token']}"}

    assert fetched("Patient") == 401
    observing = by("backend", "system/Observation.rs")
    assert (fetched("Patient", **observing), fetched("Observation", **observing)) == (403, 200)
    assert fetched("Observation", **by("backend", "system/Observation.rs?code=718-7")) == 403
    assert fetched("Patient", **by("narrow", "system/Patient.rs")) == 404
    job = files["Patient"].rpartition("/")[0]
    for name in ("cohort", "Patient.000001.999.ndjson", "..", "a%2Fb"):
        assert service.get(f"{job}/{name}").status_code == 404


@pytest.fixture
def small(tmp_path: Path) -> Iterator[httpx.Client]:
    """A server that takes little."""
    with serving(tmp_path, POPULATION[:4], jobs_at_once=1, rate_limit_polls="3/minute") as client:
        yield client


def test_too_many_jobs_and_questions(small: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """[I32] 429 with Retry-After and an OperationOutcome: more jobs at a time than are allowed, and questions too often."""
    monkeypatch.setattr(runner.Runner, "_round", _never)
    url = begin(small)
    for answer in (small.get("$export", headers=KICK_OFF), *[small.get(url) for _ in range(4)][3:]):
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 0
        assert answer.json()["issue"][0]["code"] == "throttled"


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[I33] The job fails with its reason, told as an OperationOutcome; nothing of it is published."""

    def full(*_: object) -> None:
        raise FilesUnavailable("The disk is full: make room for files", full=True)

    monkeypatch.setattr(runner, "PAUSE", 0.01)
    monkeypatch.setattr(runner, "IDLE", 0.01)
    with serving(tmp_path, POPULATION[:4], rate_limit_polls="off") as client:
        monkeypatch.setattr(Folder, "writing", full)
        answer = finished(client, begin(client))
    assert "disk is full" in refused(answer, 507)
    assert answer.headers["content-type"].startswith("application/fhir+json")
    assert not list((tmp_path / "files").rglob("*.ndjson"))


def test_files_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are full after so many documents, and parts after so many positions: together they hold each document once."""
    monkeypatch.setattr(output, "MOST", 7)
    monkeypatch.setattr(plan, "WINDOW", 40)
    with serving(tmp_path, [patient(f"n{number}") for number in range(60)], rate_limit_polls="off") as client:
        told = manifest(client)
        by_patient = manifest(client, "$export?organizeOutputBy=Patient")
        partial = manifest(client, "$export?allowPartialManifests=true")
        counts = [item["count"] for item in told["output"]]
        assert sum(counts) == 60 and max(counts) == 7 and len({item["url"] for item in told["output"]}) == len(counts)
        assert [item["count"] for item in by_patient["output"]][:2] == [8, 8]
        assert sum(item["count"] for item in by_patient["output"]) == 120
        assert partial["output"]


def test_what_has_expired_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[I34] After the hours that the results of jobs are kept it is 404, and its files are deleted."""
    now, ahead = instants.now, 0
    monkeypatch.setattr(instants, "now", lambda: now() + ahead)
    monkeypatch.setattr(ending, "CLEAR", 0.0)
    running = Running(tmp_path, jobs_kept=2, rate_limit_polls="off")
    running.start()
    with httpx.Client(base_url=f"{running.root}/fhir/", timeout=30) as client:
        client.put("Patient/a", json=patient("a")).raise_for_status()
        url = begin(client)
        [item] = ended(client, url)["output"]
        ahead = 7_100_000_000
        assert client.get(url).status_code == client.get(item["url"]).status_code == 200
        ahead = 7_300_000_000
        assert client.get(url).status_code == client.get(item["url"]).status_code == 404
        deadline = time.monotonic() + 60
        while list((tmp_path / "files").rglob("*.ndjson")):
            assert time.monotonic() < deadline, "its files stay"
            time.sleep(0.05)
        running.stop()
