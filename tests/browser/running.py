"""A server with sign-in, sample data, users and clients, made with the commands that its operators use."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import httpx
from robustness.running import ROOT, Server, clean_environment

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Guarded:
    """`patient` and `practitioner` are ids of people in the sample data; the users `pat` and `doc` are they."""

    server: Server
    patient: str
    practitioner: str
    token: str

    def command(self, *arguments: str, input: str = "") -> str:
        """What `fhir-server …` prints, on this server's data."""
        return command(self.server, *arguments, input=input)

    def client(self, *options: str) -> dict[str, Any]:
        """A registered client."""
        made: dict[str, Any] = json.loads(self.command("client", "add", *options, "--json"))
        return made

    def user(self, name: str, *options: str) -> None:
        """A user with the password PASSWORD."""
        self.command("user", "add", name, *options, "--password-stdin", input=f"{PASSWORD}\n")

    def get(self, path: str) -> Any:
        """A resource, seen by the operator."""
        answer = httpx.get(f"{self.server.base}/{path}", headers={"Authorization": f"Bearer {self.token}"})
        answer.raise_for_status()
        return answer.json()


def command(server: Server, *arguments: str, input: str = "") -> str:
    """What `fhir-server …` prints. Raises AssertionError where it fails."""
    environment = clean_environment(FHIR_DATA_DIR=str(server.data_dir), FHIR_PORT=str(server.port), **_paths())
    done = subprocess.run(
        [sys.executable, "-m", "fhir_server", *arguments], cwd=ROOT, env=environment, input=input, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _paths() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}


def prepared(server: Server) -> Guarded:
    """The users and ids of a running server that has the sample data."""
    token = command(server, "token", "--scope", "system/*.cruds")
    seen = Guarded(server, "", "", token)
    patient = seen.get("Observation?category=laboratory&_count=1&_elements=subject")["entry"][0]["resource"]["subject"]["reference"]
    practitioner = seen.get("Practitioner?_count=1&_elements=id")["entry"][0]["resource"]["id"]
    guarded = Guarded(server, patient.removeprefix("Patient/"), practitioner, token)
    guarded.user("pat", "--role", "patient", "--fhir-user", patient)
    guarded.user("doc", "--role", "practitioner", "--fhir-user", f"Practitioner/{practitioner}")
    return guarded
