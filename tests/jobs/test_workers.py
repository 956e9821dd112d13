"""`fhir-server worker` processes beside a server, with a Redis that tells them of jobs, and may go."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from jobs.processes import Files, Process, begin, caught, ended, files_of, fill, talking
from robustness.running import ROOT, clean_environment
from services.running import Restartable, own_server

SETTINGS = {"FHIR_RATE_LIMIT_POLLS": "off", "FHIR_JOBS_AT_ONCE": "1000", "FHIR_JOBS": "workers"}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restartable]:
    """A Redis of these tests' own."""
    with own_server("redis", tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def server(redis: Restartable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server that does no part itself, with some thousands of documents."""
    folder = tmp_path_factory.mktemp("workers")
    with Process(folder, "serve", FHIR_REDIS_URL=redis.url, **SETTINGS) as process, talking(process) as client:
        fill(client, 6_000)
        yield process
        assert process.stop() == 0


@contextmanager
def workers(server: Process, number: int, **more: str) -> Iterator[list[Process]]:
    """So many workers of the server."""
    with ExitStack() as stack:
        made = [Process(server.folder, "worker", **server.settings | more).begin() for _ in range(number)]
        yield [stack.enter_context(worker) for worker in made]


@pytest.fixture(scope="module")
def files(server: Process) -> Files:
    """What an export is that nobody disturbs, by two workers."""
    with workers(server, 2) as both, talking(server) as client:
        url = begin(client)
        assert ended(client, url)
        assert sum(worker.metric("fhir_job_parts_done_total") for worker in both) == 4
        assert sum(worker.metric("fhir_job_bytes_total") for worker in both) > 9_000_000
        assert server.metric('fhir_jobs{state="done"}') == 1
        found = files_of(client, url)
        assert [worker.stop() for worker in both] == [0, 0]
    assert sum(count for _, count, _ in found) == 18_000
    return found


def test_without_a_worker_jobs_wait(server: Process, files: Files) -> None:
    """The server does no part itself; whoever comes later finds the job."""
    with talking(server) as client:
        url = begin(client)
        time.sleep(1.5)
        assert client.get(url).headers["x-progress"] == "waiting for its turn" and server.metric("fhir_job_parts_waiting") == 1
        with workers(server, 1):
            assert ended(client, url) and files_of(client, url) == files


def test_jobs_are_told_at_once(server: Process, files: Files) -> None:
    """Redis wakes a worker: nobody waits until it looks by itself."""
    with workers(server, 1) as (worker,), talking(server) as client:
        assert ended(client, begin(client))
        done, times = worker.metric("fhir_job_parts_done_total"), []
        for _ in range(3):
            client.get("$export?_type=Basic", headers={"Prefer": "respond-async"}).raise_for_status()
            began = time.monotonic()
            while worker.metric("fhir_job_parts_done_total") == done:
                time.sleep(0.01)
            done += 1
            times.append(time.monotonic() - began)
        assert min(times) < 1


def test_a_worker_that_is_killed_is_followed(server: Process, files: Files) -> None:
    """When its lease has ended (see also test_servers.py), and the files are the same to the byte."""
    with workers(server, 2, FHIR_JOBS_LEASE="3") as both, talking(server) as client:
        url, _ = caught(client, both, signal.SIGKILL)
        assert ended(client, url)
        assert files_of(client, url) == files


def test_a_worker_that_is_stopped_gives_its_part_back(server: Process, files: Files) -> None:
    """SIGTERM: the other one goes on at once, and the exit code is 0."""
    with workers(server, 2, FHIR_JOBS_LEASE="300") as both, talking(server) as client:
        url, stopped = caught(client, both, signal.SIGTERM)
        assert ended(client, url), "it waits for the end of the lease"
        assert files_of(client, url) == files and stopped.wait() == 0


@pytest.mark.parametrize("how", ["away", "flushed", "restarted"])
def test_nothing_is_lost_with_redis(server: Process, files: Files, redis: Restartable, how: str) -> None:
    """Jobs that were begun before, in between and after are all done."""
    with talking(server) as client:
        urls = [begin(client)]
        if how == "flushed":
            subprocess.run(["redis-cli", "-u", redis.url, "FLUSHALL"], check=True, capture_output=True)
        else:
            redis.kill()
        try:
            with workers(server, 2) as both:
                urls.append(begin(client))
                if how == "restarted":
                    redis.start()
                    urls.append(begin(client))
                assert all(ended(client, url) for url in urls)
                assert all(files_of(client, url) == files for url in urls)
                if how == "away":
                    assert all(worker.log().count("cannot be reached") <= 2 for worker in both)
                    assert all(_seconds(worker) < 0.5 for worker in both)
        finally:
            if how == "away":
                redis.start()


def test_probes(server: Process) -> None:
    """A worker answers what containers and Prometheus ask; /metrics has no name of anybody."""
    with workers(server, 1) as (worker,):
        assert httpx.get(f"{worker.root}/livez").text == "ok\n"
        assert httpx.get(f"{worker.root}/readyz").status_code == 200
        text = httpx.get(f"{worker.root}/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4") and "fhir_jobs{" in text.text
        assert httpx.get(f"{worker.root}/fhir/Patient").status_code == 404
        assert httpx.post(f"{worker.root}/livez").status_code == 405
        assert "p1" not in worker.log()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "FHIR_JOBS=workers"),
        ({"FHIR_JOBS": "workers"}, "FHIR_REDIS_URL"),
        ({"FHIR_JOBS": "workers", "FHIR_REDIS_URL": "redis://127.0.0.1:1/0", "FHIR_STORE_URL": "memory://"}, "memory://"),
    ],
)
def test_settings_that_do_not_do(tmp_path: Path, environment: dict[str, str], told: str) -> None:
    """One line says what is missing; exit code 2."""
    command = [sys.executable, "-m", "fhir_server", "worker"]
    given = clean_environment(FHIR_DATA_DIR=str(tmp_path), **environment)
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2 and told in done.stderr


def _seconds(process: Process) -> float:
    """CPU time that it takes in two seconds in which there is nothing to do."""
    before = process.cpu()
    time.sleep(2)
    return process.cpu() - before
