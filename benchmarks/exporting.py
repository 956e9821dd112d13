"""What exports cost: CPU time of a document in each kind of export, and the most memory that they take; in one process.

    .venv/bin/python benchmarks/exporting.py [--documents 50000] [--store URL] [--search URL] [--server-pid PID] [--json FILE]

The store is made anew each time: Patients, and 49 Observations of each (1.4 kB of JSON). Jobs are worked on as the server does, without
HTTP. `--store` is an empty database of MongoDB or PostgreSQL (else SQLite in a temporary folder), `--search` an Elasticsearch without
indices of the prefix `fhir`. `--server-pid`, several times if you like, are their processes, whose CPU time is told apart.
"""

import argparse
import asyncio
import json
import platform
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from watching import cpu_of

from fhir_server.app import open_context
from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.exporting.asked import PARQUET, Asked
from fhir_server.exporting.filtering import Filter
from fhir_server.exporting.manifest import Exported
from fhir_server.jobs.board import Board
from fhir_server.jobs.job import Job
from fhir_server.jobs.wiring import working
from fhir_server.jobs.work import raw
from resources.documents import draft
from resources.store import Change

BASE = "http://127.0.0.1:8000/fhir"
OBSERVATIONS = 49
FORMS: tuple[tuple[str, Asked], ...] = (
    ("NDJSON, the system", Asked("system", BASE)),
    ("NDJSON, all patients", Asked("patient", BASE)),
    ("NDJSON, ten patients", Asked("patient", BASE, patients=tuple(f"p{number}" for number in range(10)))),
    ("NDJSON, a filter by code", Asked("system", BASE, filters=(Filter("Observation", "code=http%3A%2F%2Floinc.org%7C8867-4"),))),
    ("NDJSON, a filter by patients", Asked("system", BASE, filters=(Filter("Observation", "subject:Patient.family=family1"),))),
    ("NDJSON, two elements", Asked("system", BASE, elements=("code", "subject"))),
    ("NDJSON, by patient", Asked("system", BASE, organized=True)),
    ("Parquet", Asked("system", BASE, format=PARQUET)),
)


def patient(number: int) -> bytes:
    """A Patient's JSON."""
    name = [{"use": "official", "family": f"Family{number % 997}", "given": [f"Given{number % 89}"]}]
    return json.dumps({"resourceType": "Patient", "id": f"p{number}", "name": name, "birthDate": "1970-01-01"}).encode()


def observation(number: int, patient: int) -> bytes:
    """An Observation's JSON."""
    code = "8867-4" if number % 10 == 0 else "8302-2"
    text = f"<div xmlns='http://www.w3.org/1999/xhtml'><p>{f'Measurement {number}. ' * 40}</p></div>"
    return json.dumps(
        {
            "resourceType": "Observation",
            "id": f"o{number}",
            "text": {"status": "generated", "div": text},
            "status": "final",
            "category": [
                {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}
            ],
            "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": "Measured"}]},
            "subject": {"reference": f"Patient/p{patient}"},
            "encounter": {"reference": f"Encounter/e{number}"},
            "effectiveDateTime": f"2026-01-{number % 28 + 1:02d}T08:00:00+01:00",
            "valueQuantity": {"value": number % 200, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"},
        }
    ).encode()


async def fill(ctx: Context, documents: int) -> int:
    """Make the store; the bytes of JSON."""
    size, patients = 0, max(documents // (OBSERVATIONS + 1), 1)
    for number in range(patients):
        bodies = [("Patient", f"p{number}", patient(number))]
        first = number * OBSERVATIONS
        bodies += [("Observation", f"o{each}", observation(each, number)) for each in range(first, first + OBSERVATIONS)]
        changes = [Change(type, id, draft(body, id), 0, "PUT", echo=False) for type, id, body in bodies]
        await ctx.store.commit(changes)
        size += sum(len(body) for _, _, body in bodies)
    return size


async def fed(ctx: Context) -> None:
    """Wait until an index that is a server of its own has everything."""
    while ctx.feed is not None and not await ctx.index.caught_up(("Observation", "Patient"), await ctx.store.position()):  # noqa: ASYNC110
        await asyncio.sleep(0.2)


async def export(ctx: Context, asked: Asked, servers: Sequence[int] = ()) -> dict[str, Any]:
    """Do a job; what it took, in this process and in those of `servers`."""
    board, now = Board(ctx.store), ctx.clock()
    id = ctx.new_id()
    before, began, wall = sum(map(cpu_of, servers)), time.process_time(), time.perf_counter()
    await board.begin(Job(id, "export", "benchmark/benchmark", f"{BASE}/$export", raw(asked), now, now + 3_600_000_000))
    if ctx.runner is not None:
        ctx.runner.wake(id)
    while (kept := await board.job(id)) is not None and kept.job.state == "running":  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    took, wall = time.process_time() - began, time.perf_counter() - wall
    assert kept is not None and kept.job.state == "done", kept
    files = [file for page in msgspec.json.decode(kept.job.result, type=Exported).pages for file in page]
    await ctx.files.delete(id)
    return {
        "documents": sum(file.count for file in files), "bytes": sum(file.size for file in files), "files": len(files),
        "cpu_seconds": round(took, 2), "seconds": round(wall, 2), "server_cpu_seconds": round(sum(map(cpu_of, servers)) - before, 2),
    }  # fmt: skip


async def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All forms, one after the other."""
    engines = {name: url for name, url in (("store_url", given.store), ("search_url", given.search)) if url}
    with tempfile.TemporaryDirectory() as folder:
        async with open_context(Settings(data_dir=Path(folder), auth="off", synchronous="NORMAL", **engines)) as ctx:
            size = await fill(ctx, given.documents)
            await fed(ctx)
            before = _peak()
            async with working(ctx) as runner:
                found = await _forms(replace(ctx, runner=runner), given)
    return {
        "documents": given.documents,
        "bytes": size,
        "peak_before_mb": before,
        "python": platform.python_version(),
        "forms": found,
    }


async def _forms(ctx: Context, given: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for name, asked in FORMS:
        if name in (given.form or [name]):
            told = found[name] = await export(ctx, asked, given.server_pid)
            rate = given.documents / told["cpu_seconds"]  # whatever is left out was looked at
            told |= {"per_cpu_second": round(rate), "per_second": round(given.documents / told["seconds"]), "peak_mb": _peak()}
            size, server = f"{told['documents']:8,} documents {told['bytes'] / 1e6:8.1f} MB", told["server_cpu_seconds"]
            rates = f"looked at: {rate:9,.0f} /s CPU {told['per_second']:9,} /s"
            print(f"{name:28} {size}  {rates}  servers {server:6.2f} s CPU  peak {told['peak_mb']} MB")
    return found


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Print a line for each form."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--documents", type=int, default=50_000)
    reader.add_argument("--store", help="an empty database: mongodb://127.0.0.1:27017/bench1, postgresql://…")
    reader.add_argument("--search", help="Elasticsearch: http://127.0.0.1:9200")
    reader.add_argument("--server-pid", type=int, action="append", default=[])
    reader.add_argument("--form", action="append", choices=[name for name, _ in FORMS], help="only this one")
    reader.add_argument("--json", type=Path)
    chosen = reader.parse_args()
    found = asyncio.run(measure(chosen))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
