"""What tokens and scopes add to a request: CPU of the server process for each, with sign-in off and with tokens, in one run.

    .venv/bin/python benchmarks/access.py [--requests 200] [--rounds 60] [--json FILE]

Two servers with the same documents, one with `--auth off`, one that asks for tokens; the callers take turns in many short rounds, each
in another order, so that whatever else the machine does falls on all alike. What counts is the median of the rounds, and by how much it is
more than with sign-in off.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from measure import ROOT, Server, clean_environment, machine

PATIENT = "Patient/p"
FHIR = {"Content-Type": "application/fhir+json"}
SCOPES = {
    "system": ("--scope", "system/*.cruds"),
    "system, one type": ("--scope", "system/Patient.rs system/Observation.rs"),
    "patient": ("--scope", "patient/*.rs", "--patient", "p"),
    "patient, narrowed": ("--scope", "patient/Patient.rs patient/Observation.rs?category=laboratory", "--patient", "p"),
}
PATHS = {"read Patient": "Patient/p", "read Observation": "Observation/o", "search Observation": "Observation?patient=p&_count=10"}


@dataclass(frozen=True)
class Caller:
    """A server, and the headers that its requests carry."""

    server: Server
    headers: Mapping[str, str]

    def cpu(self, path: str, requests: int) -> float:
        """Milliseconds of CPU that the server took for one such request."""
        connection = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        assert self.server.process is not None
        before = _nanoseconds(self.server.process.pid)
        for _ in range(requests):
            connection.request("GET", f"/fhir/{path}", headers=self.headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                sys.exit(f"{path} was answered with {answer.status}")
        connection.close()
        return (_nanoseconds(self.server.process.pid) - before) / requests / 1e6


def _nanoseconds(process: int) -> int:
    """CPU time of all threads of a process."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


@contextmanager
def _servers(folder: Path) -> Iterator[dict[str, Caller]]:
    with Server(folder / "off") as off, Server(folder / "smart", "--auth", "smart") as smart:
        callers = {"off": Caller(off, {})}
        _fill(callers["off"])
        for name, options in SCOPES.items():
            callers[name] = Caller(smart, {"Authorization": f"Bearer {_token(folder / 'smart', *options)}"})
            if name == "system":  # the others are about a patient, who has to be there
                _fill(callers[name])
        yield callers


def _token(data_dir: Path, *options: str) -> str:
    command = (sys.executable, "-m", "fhir_server", "token", *options)
    environment = clean_environment(FHIR_DATA_DIR=str(data_dir))
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def _fill(caller: Caller) -> None:
    """A Patient and 40 Observations of about 1.5 kB each."""
    connection = HTTPConnection("127.0.0.1", caller.server.port, timeout=60)
    name = {"family": "Benchmark", "given": ["Any"], "text": "x" * 1_000}
    documents = [{"resourceType": "Patient", "id": "p", "name": [name], "birthDate": "1970-01-01"}]
    for number in range(40):
        document = {
            "resourceType": "Observation",
            "id": "o" if number == 0 else f"o{number}",
            "status": "final",
            "category": [{"coding": [{"code": "laboratory"}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}], "text": "y" * 1_000},
            "subject": {"reference": PATIENT},
            "effectiveDateTime": f"2020-01-{number % 28 + 1:02}",
        }
        documents.append(document)
    for document in documents:
        body = json.dumps(document)
        connection.request("PUT", f"/fhir/{document['resourceType']}/{document['id']}", body, {**FHIR, **caller.headers})
        answer = connection.getresponse()
        if answer.status not in (200, 201):
            sys.exit(f"seeding failed: {answer.status} {answer.read()[:500]!r}")
        answer.read()


def measured(requests: int, rounds: int) -> dict[str, dict[str, float]]:
    """Path's name -> caller -> milliseconds of CPU for one request, the median of the rounds."""
    with tempfile.TemporaryDirectory() as folder, _servers(Path(folder)) as callers:
        for caller in callers.values():
            caller.cpu(PATHS["read Patient"], 200)
        found: dict[str, dict[str, float]] = {}
        for what, path in PATHS.items():
            times: dict[str, list[float]] = {name: [] for name in callers}
            for _ in range(rounds):
                for name in random.sample(tuple(callers), len(callers)):
                    times[name].append(callers[name].cpu(path, requests))
            found[what] = {name: statistics.median(each) for name, each in times.items()}
        return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200, help="requests in a round")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    found = measured(given.requests, given.rounds)
    for what, by_caller in found.items():
        off = by_caller["off"]
        print(f"{what}: {off:.3f} ms of CPU with sign-in off")
        for name, each in by_caller.items():
            if name != "off":
                print(f"    {name:20} {each:.3f} ms, {each - off:+.3f}")
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "cpu_ms": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
