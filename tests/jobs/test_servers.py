"""Several server processes on one SQLite store, each of which may work on any job, and end at any moment.

    PYTHONPATH=.:tests .venv/bin/python tests/jobs/test_servers.py EXPORTS SEED

kills two servers in each of so many exports, and compares.
"""

import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jobs.processes import Files, Process, begin, caught, ended, files_of, fill, talking

SETTINGS = {"FHIR_RATE_LIMIT_POLLS": "off", "FHIR_JOBS_AT_ONCE": "1000"}
QUICK = SETTINGS | {"FHIR_JOBS_LEASE": "1"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Files]:
    """See `population`."""
    return population(tmp_path_factory.mktemp("jobs"))


def population(folder: Path) -> tuple[Path, Files]:
    """A folder with a store, and what an export of it is that nobody disturbs."""
    with Process(folder, "serve", **QUICK) as server, talking(server) as client:
        fill(client, 8_000)
        url = begin(client)
        assert ended(client, url)
        files = files_of(client, url)
        assert sum(count for _, count, _ in files) == 24_000
        assert server.stop() == 0
    return folder, files


@contextmanager
def two(folder: Path, settings: dict[str, str]) -> Iterator[list[Process]]:
    """Two servers."""
    with Process(folder, "serve", **settings) as one, Process(folder, "serve", **settings) as other:
        yield [one, other]


def _caught(processes: list[Process], number: int) -> tuple[Process, str]:
    """Send a signal to whoever works on a new export, in the middle of it; the other process, and the export's address there."""
    with talking(processes[0]) as client:
        url, victim = caught(client, processes, number)
    other = processes[1 - processes.index(victim)]
    return other, url.replace(processes[0].root, other.root)


def test_who_is_killed_is_followed(filled: tuple[Path, Files]) -> None:
    """With the settings that are the default: within 30 s (a lease is half of that), and the files are the same to the byte."""
    folder, files = filled
    with two(folder, SETTINGS) as processes:
        other, url = _caught(processes, signal.SIGKILL)
        with talking(other) as client:
            assert ended(client, url, seconds=30)
            assert files_of(client, url) == files


def test_who_is_stopped_gives_its_part_back(filled: tuple[Path, Files]) -> None:
    """SIGTERM: somebody else goes on at once, however long the lease is."""
    folder, files = filled
    with two(folder, SETTINGS | {"FHIR_JOBS_LEASE": "300"}) as processes:
        other, url = _caught(processes, signal.SIGTERM)
        with talking(other) as client:
            assert ended(client, url), "it waits for the end of the lease"
            assert files_of(client, url) == files


def test_who_was_away_changes_nothing(filled: tuple[Path, Files]) -> None:
    """A process that stands still for longer than its lease is followed; when it wakes up it stops, and the files stay what they are."""
    folder, files = filled
    with two(folder, QUICK) as processes:
        other, url = _caught(processes, signal.SIGSTOP)
        with talking(other) as client:
            assert ended(client, url)
            assert files_of(client, url) == files
            late = processes[1 - processes.index(other)]
            late.signal(signal.SIGCONT)
            deadline = time.monotonic() + 60
            while late.metric("fhir_job_parts_running"):
                assert time.monotonic() < deadline, "it does not stop"
                time.sleep(0.05)
            assert files_of(client, url) == files
            assert "exception" not in late.log()


def test_killed_at_any_moment(filled: tuple[Path, Files]) -> None:
    """While planning, writing or settling: whoever comes next ends the export, which is the same to the byte."""
    assert kill_loop(*filled, exports=3, seed=7) == []


def kill_loop(folder: Path, files: Files, exports: int, seed: int) -> list[str]:
    """So many exports, during each of which two servers are killed, one after the other; what is wrong in the end."""
    chance, wrong = random.Random(seed), []
    with two(folder, QUICK) as processes:
        for number in range(exports):
            with talking(processes[0]) as client:
                url = begin(client)
            for victim in processes:
                time.sleep(chance.uniform(0, 0.7))
                victim.kill()
                victim.begin()
            for process in processes:
                process.start()
            with talking(processes[0]) as client:
                if not ended(client, url):
                    wrong.append(f"export {number} does not end")
                elif files_of(client, url) != files:
                    wrong.append(f"export {number} differs")
        if processes[0].metric('fhir_jobs{state="failed"}') or processes[0].metric("fhir_job_parts_waiting"):
            wrong.append("a job failed, or a part was left over")
    return wrong


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        found = kill_loop(*population(Path(temporary)), exports=int(sys.argv[1]), seed=int(sys.argv[2]))
        print(*found or ["all exports are the same"], sep="\n")
