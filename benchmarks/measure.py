"""The measuring tools: the load generator, servers under measurement, facts about the machine."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from robustness.running import Server, clean_environment, free_port  # noqa: E402

__all__ = [
    "HERE",
    "ROOT",
    "Target",
    "bare_fastapi",
    "build_generator",
    "clean_environment",
    "generate",
    "hapi",
    "machine",
    "our_server",
    "seed",
]

GENERATOR = HERE / ".build" / "fhirload"
SEED = ("-practitioners", "100", "-patients", "5000", "-appointments", "10000", "-observations", "10000")


@dataclass(frozen=True)
class Target:
    """A server under measurement. `pids`: its process trees by name. `state`: file with the ids of its seeded data."""

    name: str
    base: str
    pids: dict[str, int]
    state: Path


def build_generator() -> None:
    """Build fhirload with Go. Exits with one line where Go is missing."""
    if shutil.which("go") is None:
        sys.exit("Go 1.22 or newer is needed to build the load generator: https://go.dev/dl or apt-get install golang-go")
    GENERATOR.parent.mkdir(exist_ok=True)
    subprocess.run(["go", "build", "-o", str(GENERATOR), "."], cwd=HERE / "load", check=True)


def generate(target: Target, *options: str, out: Path) -> list[dict[str, Any]]:
    """Run fhirload against a target; what it measured, one dict a cell."""
    out.unlink(missing_ok=True)
    watch = ",".join(f"{name}={pid}" for name, pid in target.pids.items())
    command = [str(GENERATOR), "-state", str(target.state), "-watch", watch, "-out", str(out), *options]
    environment = clean_environment(BASE_URL=target.base, GOMAXPROCS="1")
    subprocess.run(command, env=environment, check=True)
    cells: list[dict[str, Any]] = json.loads(out.read_text())["cells"] if out.exists() else []
    return cells or []


def seed(target: Target) -> float:
    """Give a target its 25,100 resources by transactions of 100; seconds that it took."""
    began = time.perf_counter()
    generate(target, "-seed-data", *SEED, "-ops", "", out=target.state.with_suffix(".seed.json"))
    return time.perf_counter() - began


@contextmanager
def our_server(
    folder: Path, *, state: Path | None = None, engines: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[Target, Server]]:
    """This server, one worker, every commit synced, on `folder`/data, or on the engines that these settings name."""
    with Server(folder / "data", environment={**engines}) as server:
        assert server.process is not None
        yield Target("this server", server.base, {"server": server.process.pid}, state or folder / "state.json"), server
        server.stop()


@contextmanager
def hapi(folder: Path) -> Iterator[Target]:
    """HAPI FHIR on PostgreSQL, from an empty database (peers/hapi/hapi.sh)."""
    script = str(HERE / "peers" / "hapi" / "hapi.sh")
    port, database = str(free_port()), str(free_port())
    environment = os.environ | {"HAPI_PORT": port, "HAPI_PG_PORT": database, "HAPI_PG_DIR": f"/var/tmp/fhir-bench-pg-{os.getpid()}"}
    try:
        done = subprocess.run(["bash", script, "start"], env=environment, check=True, stdout=subprocess.PIPE, text=True)
        base, java, postgres = done.stdout.split()[-3:]
        yield Target("HAPI", base, {"hapi": int(java), "postgres": int(postgres)}, folder / "hapi-state.json")
    finally:
        subprocess.run(["bash", script, "wipe"], env=environment, check=True)


@contextmanager
def bare_fastapi(folder: Path, body: bytes, state: Path) -> Iterator[Target]:
    """A FastAPI route that answers every read with `body`."""
    file, port = folder / "body.json", free_port()
    file.write_bytes(body)
    process = subprocess.Popen([sys.executable, str(HERE / "bare_fastapi.py"), str(port), str(file)])
    try:
        time.sleep(2)
        yield Target("bare FastAPI", f"http://127.0.0.1:{port}/fhir", {"bare": process.pid}, state)
    finally:
        process.terminate()
        process.wait(10)


def machine() -> dict[str, Any]:
    """What a reader must know to compare: processor, cores, memory, versions, commit."""
    facts = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":", 1)[1].strip() for line in facts if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "unknown",
        "date": datetime.now(UTC).date().isoformat(),
    }
