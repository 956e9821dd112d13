"""What imports cost: `$import` of files of NDJSON beside `fhir-server load` of the same files; SQLite, every commit synced.

    .venv/bin/python benchmarks/importing.py [--population FOLDER] [--documents 20000] [--files FOLDER] [--json FILE]

Files are made of a population (Bundles or NDJSON, as `load` reads them), else of Patients with 49 Observations each. CPU seconds are
those of all processes of the server or the command; what gives the files out is not among them.
"""

import argparse
import asyncio
import json
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from exporting import OBSERVATIONS, observation, patient
from measure import ROOT, Server, clean_environment

from fhir_server.app import open_context
from fhir_server.config import Settings

COMMAND = (sys.executable, "-m", "fhir_server")


def synthetic(folder: Path, documents: int) -> None:
    """Files of Patients and Observations."""
    patients = max(documents // (OBSERVATIONS + 1), 1)
    with (folder / "Patient.ndjson").open("wb") as people, (folder / "Observation.ndjson").open("wb") as measured:
        for number in range(patients):
            people.write(patient(number) + b"\n")
            for each in range(number * OBSERVATIONS, (number + 1) * OBSERVATIONS):
                measured.write(observation(each, number) + b"\n")


async def exported(data: Path, folder: Path) -> None:
    """A file of each type of a store."""
    async with open_context(Settings(data_dir=data, auth="off")) as ctx:
        until = await ctx.store.position()
        for type in sorted(ctx.routes.types):
            lines = [version.body async for page in ctx.store.scan([type], until=until) for version in page]
            if lines and type != "AuditEvent":
                (folder / f"{type}.ndjson").write_bytes(b"".join(line + b"\n" for line in lines if line))


def run(*arguments: str, **environment: str) -> dict[str, Any]:
    """A command, and what it took with all processes that it started."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, env=clean_environment(**environment), stdout=subprocess.PIPE, text=True, check=True
    )
    return {"told": json.loads(done.stdout), **_took(before, began)}


def _took(before: resource.struct_rusage, began: float) -> dict[str, Any]:
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_seconds": round(cpu, 2), "seconds": round(time.perf_counter() - began, 2)}


class _Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class _Giver(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asks only for the beginning of a file hangs up."""


def imported(files: Path, data: Path, mode: str, **settings: str) -> dict[str, Any]:
    """`$import` of the files by a server with these settings; what that took, the server's start and stop among it."""
    giver = _Giver(("127.0.0.1", 0), partial(_Quiet, directory=str(files)))
    giver.daemon_threads = True
    threading.Thread(target=giver.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{giver.server_address[1]}"
    inputs = [{"type": path.name.split(".")[0], "url": f"{root}/{path.name}"} for path in sorted(files.iterdir())]
    body = {"inputFormat": "application/fhir+ndjson", "inputSource": root, "input": inputs, "mode": mode}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    server = Server(data, environment={"FHIR_IMPORT_SOURCES": f"{root}/"} | settings)
    with server, httpx.Client(timeout=30) as client:
        answer = client.post(f"{server.base}/$import", json=body, headers={"Prefer": "respond-async"})
        assert answer.status_code == 202, answer.text
        while (told := client.get(answer.headers["content-location"])).status_code in (202, 429):
            time.sleep(2)
        seconds = time.perf_counter() - began
        assert server.process is not None
        peak = _peak(server.process.pid)
        server.stop()
    giver.shutdown()
    assert told.status_code == 200, told.text
    return {"told": told.json(), **_took(before, began), "seconds": round(seconds, 2), "peak_mb": peak}


def _peak(pid: int) -> int:
    """The most memory that a process has had, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) // 1024


def measure(files: Path, folder: Path) -> dict[str, Any]:
    """Each way in turn, on an empty store."""
    found: dict[str, Any] = {"python": platform.python_version()}
    found["load"] = run("load", "--json", "--data-dir", str(folder / "load"), str(files))
    found["load, one process"] = run("load", "--json", "--processes", "1", "--data-dir", str(folder / "one"), str(files))
    found["load --first"] = run("load", "--json", "--first", "--data-dir", str(folder / "first-load"), str(files))
    found["$import"] = imported(files, folder / "upsert", "upsert", FHIR_IMPORT_DEFER="1TB")
    found["$import again"] = imported(files, folder / "upsert", "upsert")
    found["$import, indexed last"] = imported(files, folder / "deferred", "upsert", FHIR_IMPORT_DEFER="1")
    for name, each in found.items():
        if isinstance(each, dict):
            told = each.pop("told")
            count = told["resources"] if "resources" in told else sum(one["count"] for one in told["output"])
            wrong = len(told["failed"]) if "failed" in told else sum(one["count"] for one in told["error"])
            each |= {"documents": count, "wrong": wrong, "cpu_ms": round(1000 * each["cpu_seconds"] / max(count, 1), 3)}
            print(
                f"{name:22} {count:8,} documents, {wrong} wrong: CPU {each['cpu_seconds']:7.1f} s = {each['cpu_ms']:.3f} ms each,"
                f" {each['seconds']:6.1f} s" + (f", peak {each['peak_mb']} MB" if "peak_mb" in each else "")
            )
    return found


def main() -> None:
    """Print a line for each way."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--population", type=Path, help="Bundles or NDJSON")
    reader.add_argument("--documents", type=int, default=20_000, help="where there is no population (20000)")
    reader.add_argument("--files", type=Path, help="where the files lie that are imported; made if it is not there")
    reader.add_argument("--json", type=Path)
    chosen = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="fhir-bench-") as name:
        folder = Path(name)
        files: Path = chosen.files or folder / "files"
        if not files.exists():
            files.mkdir(parents=True)
            if chosen.population is not None:
                run("load", "--json", "--data-dir", str(folder / "first"), str(chosen.population))
                asyncio.run(exported(folder / "first", files))
            else:
                synthetic(files, chosen.documents)
        found = measure(files, folder)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
