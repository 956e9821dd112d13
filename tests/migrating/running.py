"""`fhir-server import`, run as operators run it, and what it told."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from api.conftest import Running
from migrating import standing
from robustness.running import ROOT, clean_environment
from typer.testing import CliRunner

from fhir_server.cli.application import application


class Done(NamedTuple):
    """The exit code, the summary of --json ({} where there is none), the report's OperationOutcomes, and all that was said."""

    code: int
    summary: dict[str, Any]
    report: list[dict[str, Any]]
    said: str

    def of(self, what: str) -> dict[str, int]:
        """That count of each type of which there is any."""
        return {type: row[what] for type, row in self.summary["types"].items() if row[what]}

    @property
    def texts(self) -> list[str]:
        """Where and what, of each problem in the report."""
        return [f"{issue['diagnostics']}: {issue['details']['text']}" for each in self.report for issue in each["issue"]]


def imported(folder: Path, *arguments: str, **environment: str) -> Done:
    """An import into the store in `folder`, in this process."""
    report = folder.parent / f"{folder.name}-report.ndjson"
    report.unlink(missing_ok=True)
    options = ("--data-dir", str(folder), "--report", str(report), "--json")
    result = CliRunner().invoke(
        application, ["import", arguments[0], *options, *arguments[1:]], env={"FHIR_PORT": "1", **environment}
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    told = [json.loads(line) for line in report.read_text("utf-8").splitlines()] if report.exists() else []
    summary = json.loads(result.stdout) if result.stdout.startswith("{") else {}
    return Done(result.exit_code, summary, told, " ".join(result.output.split()))


def beginning(folder: Path, what: str, count: int, *arguments: str) -> "subprocess.Popen[bytes]":
    """An import in a process of its own, which stands still once so much is done (standing.py), to be killed."""
    command = (
        sys.executable,
        standing.__file__,
        what,
        str(count),
        "import",
        *arguments,
        "--data-dir",
        str(folder),
        "--report",
        os.devnull,
    )
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=ROOT, env=clean_environment(FHIR_PORT="1"), stdout=quiet, stderr=quiet)


@contextmanager
def holding(folder: Path, **settings: Any) -> Iterator[httpx.Client]:
    """A server of that store."""
    running = Running(folder, **settings)
    running.start()
    with httpx.Client(base_url=f"{running.root}/fhir/", timeout=60) as client:
        yield client
    running.stop()


def totals(client: httpx.Client, types: Sequence[str]) -> dict[str, int]:
    """How many there are of each type."""
    return {type: client.get(f"{type}?_summary=count").json()["total"] for type in types}


def versions(client: httpx.Client, type: str) -> int:
    """How many versions of resources of that type there are."""
    total: int = client.get(f"{type}/_history?_summary=count").json()["total"]
    return total
