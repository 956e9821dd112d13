"""Servers and workers as processes of their own on one store, for tests that end them in every way."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from exporting.asking import KICK_OFF
from exporting.people import observation, of, patient
from jobs.standing import before, close
from robustness.running import ROOT, clean_environment, free_port

TYPES = ("Condition", "Observation", "Patient")

Files = list[tuple[str, int, str]]
"""Of each file of an export: the end of its name, how many documents it has, and the hash of its bytes."""


class Process:
    """`fhir-server serve` or `fhir-server worker` in `folder`, which stands still while there is a `gate` (standing.py); `environment` are
    its settings. Use it in a `with` statement."""

    def __init__(self, folder: Path, *command: str, **environment: str) -> None:
        self.folder, self.settings, self.gate = folder, environment, folder / "gate"
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        name = "FHIR_WORKER_PORT" if command[0] == "worker" else "FHIR_PORT"
        given = {"FHIR_AUTH": "off", "FHIR_SYNCHRONOUS": "NORMAL", "FHIR_DATA_DIR": str(folder / "data"), name: str(self.port)}
        self._environment = clean_environment(**given | environment)
        self._command = (*before(self.gate), sys.executable, "-m", "fhir_server", *command)
        self._log = folder / f"log-{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def begin(self) -> Self:
        """Start it, without waiting."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def start(self) -> Self:
        """Start it, unless that was begun, and wait until it is ready."""
        if self.process is None or self.process.poll() is not None:
            self.begin()
        assert self.process is not None
        deadline = time.monotonic() + 40
        while not self._ready():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        return self

    def _ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.root}/readyz", timeout=5).status_code == 200
        return False

    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace")[-6000:]

    def metric(self, name: str) -> int:
        """A number of /metrics."""
        text = httpx.get(f"{self.root}/metrics", timeout=30).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found is not None, text
        return int(found[1])

    def cpu(self) -> float:
        """Seconds of CPU time that it has taken."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is given back."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        assert self.process is not None
        return self.process.wait(40)

    def signal(self, number: int) -> None:
        """Send a signal to it and its children."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()


@contextlib.contextmanager
def talking(process: Process) -> Iterator[httpx.Client]:
    """A client of the server."""
    with httpx.Client(base_url=f"{process.root}/fhir/", timeout=60) as client:
        yield client


def fill(client: httpx.Client, count: int) -> None:
    """So many Patients, Observations and Conditions."""
    text = "".join(sha256(str(number).encode()).hexdigest() for number in range(8))
    for start in range(0, count, 1_000):
        entries = []
        for number in range(start, min(count, start + 1_000)):
            subject, note = f"Patient/p{number % 97}", [{"text": f"{number} {text}"}]
            found = (
                patient(f"p{number}"),
                observation(f"o{number}", subject, note=note),
                of("Condition", f"c{number}", subject={"reference": subject}, note=note),
            )
            entries += [
                {"resource": one, "request": {"method": "PUT", "url": f"{one['resourceType']}/{one['id']}"}} for one in found
            ]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        client.post("", content=json.dumps(bundle), headers={"Content-Type": "application/fhir+json"}).raise_for_status()


def begin(client: httpx.Client) -> str:
    """The address of a new export."""
    answer = client.get(f"$export?_type={','.join(TYPES)}", headers=KICK_OFF)
    assert answer.status_code == 202, answer.text
    return answer.headers["content-location"]


def ended(client: httpx.Client, url: str, seconds: float = 120.0) -> bool:
    """Whether the job ends in time; it must not fail."""
    deadline = time.monotonic() + seconds
    while (answer := client.get(url)).status_code in (202, 429):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    assert answer.status_code == 200, answer.text
    return True


def files_of(client: httpx.Client, url: str) -> Files:
    """What an export that has ended is made of."""
    told = client.get(url).json()["output"]
    return [(item["url"].rpartition("/")[2], item["count"], sha256(client.get(item["url"]).content).hexdigest()) for item in told]


def caught(client: httpx.Client, processes: list[Process], number: int) -> tuple[str, Process]:
    """Send a signal to one of them in the middle of a new export; the export's address, and the process. All have the same gate."""
    close(processes[0].gate)
    try:
        url = begin(client)
        victim = working(processes)
        victim.signal(number)
    finally:
        processes[0].gate.unlink()
    return url, victim


def working(processes: list[Process], seconds: float = 60.0) -> Process:
    """The first of them that is seen working on a part."""
    deadline = time.monotonic() + seconds
    while True:
        for process in processes:
            if process.metric("fhir_job_parts_running"):
                return process
        assert time.monotonic() < deadline, "nobody works"
