"""An export of a very large store while it is written to: real processes, real HTTP; and whether the export is what it has to be.

    .venv/bin/python benchmarks/exporting_under_writes.py --store FOLDER [--resources 1000000] [--rate 200] [--workers 2 --redis URL]

FOLDER is filled once, as `run.py --sizes` fills stores, and kept; each run works on a copy. A load generator (half creates, half updates of
Patients, evenly spaced, so that latency counts from when a request was due) runs before the export, to compare with, and until its end.
Then the files are read, and compared with the database by SQL: each document once, in the version that was current at the export's instant.

Memory is looked at every 50 ms: *own* are resident pages that are no file's (RssAnon and RssShmem of /proc/PID/status), *resident* is all
(VmRSS, with what is mapped of the database, which the system may take back).
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apsw
import httpx
import msgspec
from measure import ROOT, Target, build_generator, clean_environment, generate, machine, our_server
from pyarrow import parquet
from scale import fill
from watching import Peak, cpu_of

from fhir_server.app import open_context
from fhir_server.config import Settings
from fhir_server.exporting.asked import NDJSON, PARQUET
from fhir_server.exporting.plan import Whole
from fhir_server.jobs.board import Board

WINDOW = 20
"""Seconds of one measurement of the writes."""

_LIVE = (
    "SELECT t.name, r.id, d.version FROM doc d JOIN res r ON r.row = d.row JOIN type t ON t.number = d.type"
    " WHERE d.seq <= :position AND d.body IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM doc n WHERE n.row = d.row AND n.seq > d.seq AND n.seq <= :position)"
)


class Meta(msgspec.Struct):
    """A document's version."""

    versionId: str  # noqa: N815


class Document(msgspec.Struct):
    """What tells a line of a file from all others."""

    resourceType: str  # noqa: N815
    id: str
    meta: Meta


class Writes:
    """Writes in the background, measured in windows, until they are told to end."""

    def __init__(self, target: Target, rate: int, folder: Path) -> None:
        self.windows: list[dict[str, Any]] = []
        self._target, self._rate, self._out = target, rate, folder / "writes.json"
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def window(self, seconds: int = WINDOW) -> dict[str, Any]:
        """Write for so long; what came of it."""
        more = ("-rate", str(self._rate), "-clients", "64", "-duration", f"{seconds}s", "-ops", "create+update")
        return generate(self._target, *more, out=self._out)[0]

    def _go_on(self) -> None:
        while not self._ending.is_set():
            self.windows.append(self.window())

    def __enter__(self) -> "Writes":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()


def export(base: str, format: str) -> tuple[dict[str, Any], str]:
    """Do an export by HTTP; its manifest, and the id of the job."""
    with httpx.Client(timeout=60) as client:
        begun = client.get(
            f"{base}/$export",
            params={"_outputFormat": format},
            headers={"Prefer": "respond-async", "Accept": "application/fhir+json"},
        )
        begun.raise_for_status()
        url = begun.headers["content-location"]
        while (answer := client.get(url)).status_code in (202, 429):
            time.sleep(float(answer.headers.get("retry-after", 1)))
        answer.raise_for_status()
        return answer.json(), url.rpartition("/")[2]


def exported(folder: Path, manifest: dict[str, Any]) -> list[int]:
    """What the files hold: a number for each document's type, id and version. Raises AssertionError where counts do not agree."""
    found: list[int] = []
    for item in manifest["output"]:
        before = len(found)
        path = folder / item["url"].rpartition("/")[2]
        found += map(hash, _rows(path) if path.suffix == ".parquet" else _lines(path))
        assert len(found) - before == item["count"], item
    return found


def _lines(path: Path) -> Iterator[tuple[str, str, str]]:
    read = msgspec.json.Decoder(Document).decode
    with path.open("rb") as file:
        for line in file:
            document = read(line)
            yield document.resourceType, document.id, document.meta.versionId


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    read = msgspec.json.Decoder(Meta).decode
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["resourceType", "id", "meta"]):
            for type, id, meta in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield type, id, read(meta).versionId


async def position_of(data: Path, job: str) -> int:
    """The position that the export is a snapshot of."""
    async with open_context(Settings(data_dir=data, auth="off"), feeding=False) as ctx:
        kept = await Board(ctx.store).job(job)
        assert kept is not None
        return msgspec.json.decode(kept.job.plan, type=Whole).position


def stored(data: Path, position: int) -> set[int]:
    """What the database says was live at that position."""
    connection = apsw.Connection(str(data / "fhir.db"), flags=apsw.SQLITE_OPEN_READONLY)
    return {hash((type, id, str(version))) for type, id, version in connection.execute(_LIVE, {"position": position})}


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything, on a copy of the store."""
    shutil.copytree(given.store, folder / "copy")
    os.sync()  # what was copied is on the disk before anything is measured
    engines = {"FHIR_RATE_LIMIT_POLLS": "off", "FHIR_RATE_LIMIT_ANONYMOUS": "off"}
    if given.workers:
        engines |= {"FHIR_JOBS": "workers", "FHIR_REDIS_URL": given.redis}
    with ExitStack() as stack:
        target, server = stack.enter_context(our_server(folder / "copy", engines=engines))
        pids = dict(target.pids)
        for number in range(given.workers):
            settings = engines | {"FHIR_AUTH": "off", "FHIR_BASE_URL": target.base, "FHIR_DATA_DIR": str(server.data_dir)}
            command = [sys.executable, "-m", "fhir_server", "worker"]
            worker = subprocess.Popen(command, cwd=ROOT, env=clean_environment(**settings))
            stack.callback(worker.wait, 30)
            stack.callback(worker.terminate)
            pids[f"worker {number + 1}"] = worker.pid
        told, manifest, job = _run(given, target, pids, folder)
    found = exported(server.data_dir / "files" / job, manifest)
    live = stored(server.data_dir, asyncio.run(position_of(server.data_dir, job)))
    told["export"] |= {"documents": len(found), "bytes": _size(server.data_dir / "files" / job)}
    told["export"]["per_second"] = round(len(found) / told["export"]["seconds"])
    told["compared"] = {
        "live": len(live),
        "missing": len(live - set(found)),
        "foreign": len(set(found) - live),
        "twice": len(found) - len(set(found)),
    }
    return told


def _run(
    given: argparse.Namespace, target: Target, pids: dict[str, int], folder: Path
) -> tuple[dict[str, Any], dict[str, Any], str]:
    writes = Writes(target, given.rate, folder)
    before = [writes.window() for _ in range(given.before)]
    with ExitStack() as stack:
        peaks = {name: stack.enter_context(Peak(pid)) for name, pid in pids.items()}
        cpu, began = {name: cpu_of(pid) for name, pid in pids.items()}, time.perf_counter()
        with writes:
            time.sleep(3)  # the generator is warm
            begun = time.perf_counter()
            manifest, job = export(target.base, PARQUET if given.parquet else NDJSON)
            ended = time.perf_counter()
        spent = {name: round(cpu_of(pid) - cpu[name], 1) for name, pid in pids.items()}
        seconds = time.perf_counter() - began
    memory = {name: {"own_mb": round(peak.own), "resident_mb": round(peak.resident)} for name, peak in peaks.items()}
    return (
        {
            "machine": machine(),
            "before": [_kept(one) for one in before],
            "during": [_kept(one) for one in writes.windows],
            "export": {"seconds": round(ended - begun, 1)},
            "cpu_seconds": spent | {"in seconds": round(seconds, 1)},
            "memory": memory,
        },
        manifest,
        job,
    )


def _kept(cell: dict[str, Any]) -> dict[str, Any]:
    names = (
        "requests",
        "errors",
        "statuses",
        "per_second",
        "p50_ms",
        "p95_ms",
        "p99_ms",
        "max_ms",
        "generator_cpu_cores",
        "other_cpu_cores",
    )
    return {name: cell[name] for name in names if name in cell}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def main() -> None:
    """Print what was found as JSON."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--store", type=Path, required=True)
    reader.add_argument("--resources", type=int, default=1_000_000)
    reader.add_argument("--rate", type=int, default=200, help="writes a second")
    reader.add_argument("--before", type=int, default=1, help=f"windows of {WINDOW} s before the export")
    reader.add_argument("--parquet", action="store_true", help="Parquet instead of NDJSON")
    reader.add_argument("--workers", type=int, default=0, help="processes that do the export; 0: the server does")
    reader.add_argument("--redis", default="redis://127.0.0.1:6379/0")
    reader.add_argument("--folder", type=Path, help="where the copy lies (a temporary folder)")
    reader.add_argument("--json", type=Path)
    given = reader.parse_args()
    build_generator()
    if not (given.store / "data" / "fhir.db").exists():
        print(f"{given.resources:,} resources stored in {fill(given.store, given.resources):.0f} s")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        found = measure(given, Path(folder))
    print(json.dumps(found, indent=1))
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
