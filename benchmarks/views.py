"""What views cost: rows a second of CPU time in each format, read from a store; and the most memory that they take.

    .venv/bin/python benchmarks/views.py [--bundles A.bundles.ndjson.gz] [--copies 1] [--json FILE]

The store (SQLite, in a temporary folder, made anew) has the Observations of a file of Bundles, one a line, `--copies` times under ids of
their own; without a file 50,000 that are made up. Each format is measured in a process of its own.
"""

import argparse
import asyncio
import gzip
import json
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporting import observation

from fhir_server.app import make_store
from fhir_server.config import Settings
from fhir_server.views.compiler import compile_view
from fhir_server.views.running import Run
from fhir_server.views.writers.formats import writer
from resources.documents import decode, draft
from resources.store import Change

FORMATS = ("json", "ndjson", "csv", "parquet", "arrow")
MADE_UP = 50_000
AT_ONCE = 1_000

LOINC = "code.coding.where(system = 'http://loinc.org').first()"
VIEW: dict[str, Any] = {
    "resourceType": "ViewDefinition",
    "name": "observations",
    "resource": "Observation",
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()"},
                {"name": "patient", "path": "subject.getReferenceKey(Patient)"},
                {"name": "encounter", "path": "encounter.getReferenceKey(Encounter)"},
                {"name": "status", "path": "status"},
                {"name": "category", "path": "category.first().coding.first().code"},
                {"name": "code", "path": f"{LOINC}.code"},
                {"name": "display", "path": f"{LOINC}.display"},
                {"name": "taken", "path": "effective.ofType(dateTime)"},
                {"name": "issued", "path": "issued"},
                {"name": "value", "path": "value.ofType(Quantity).value"},
                {"name": "unit", "path": "value.ofType(Quantity).unit"},
            ]
        }
    ],
}
"""Every Observation is one row of what people ask for most."""


def observations(bundles: Path | None) -> Iterator[bytes]:
    """The Observations of the file, or made up ones, as JSON."""
    if bundles is None:
        yield from (observation(number, number // 50) for number in range(MADE_UP))
        return
    with gzip.open(bundles) if bundles.suffix == ".gz" else bundles.open("rb") as lines:
        for line in lines:
            for entry in json.loads(line).get("entry", ()):
                if entry["resource"]["resourceType"] == "Observation":
                    yield json.dumps(entry["resource"]).encode()


async def fill(settings: Settings, bundles: Path | None, copies: int) -> int:
    """Make the store; how many documents there are."""
    store, count = make_store(settings), 0
    await store.open()
    for copy in range(copies):
        changes: list[Change] = []
        for number, body in enumerate(observations(bundles)):
            id = f"o{copy}-{number}"
            changes.append(Change("Observation", id, draft(body, id), 0, "PUT", echo=False))
            if len(changes) == AT_ONCE:
                await store.commit(changes)
                changes, count = [], count + len(changes)
        if changes:
            await store.commit(changes)
            count += len(changes)
    await store.close()
    return count


async def run(settings: Settings, format: str) -> dict[str, Any]:
    """All rows in a format; what that took, and the most memory before and after."""
    store, view = make_store(settings), compile_view(decode(json.dumps(VIEW).encode()))
    await store.open()
    into, warm = writer(format, view.columns), writer(format, view.columns)
    (
        warm.begin(),
        warm.write([(None,) * len(view.columns)]),
        warm.end(),
    )  # libraries load what they need (Arrow even pandas, if it is there)
    before, began, size, rows = peak(), time.process_time(), 0, 0
    made = Run(view, store)
    size += len(into.begin())
    async for some in made.rows():
        rows += len(some)
        size += len(into.write(some))
    size += len(into.end())
    took = time.process_time() - began
    await store.close()
    told = {"rows": rows, "bytes": size, "cpu_seconds": round(took, 2), "rows_per_cpu_second": round(rows / took)}
    return told | {"peak_before_mb": before, "peak_mb": peak()}


def peak() -> int:
    """The most memory that this process has had so far, MB."""
    told = Path("/proc/self/status").read_text(encoding="ascii")
    return int(told.partition("VmHWM:")[2].split()[0]) // 1024


def measured(settings: Settings, format: str) -> dict[str, Any]:
    """`run`, for a process of its own."""
    return asyncio.run(run(settings, format))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundles", type=Path, help="a file of Bundles, one a line, packed (.gz) or not")
    parser.add_argument("--copies", type=int, default=1, help="how often its Observations are stored")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), auth="off", synchronous="NORMAL")
        count = asyncio.run(fill(settings, given.bundles, given.copies))
        found: dict[str, Any] = {"documents": count, "python": platform.python_version(), "formats": {}}
        for format in FORMATS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                told = found["formats"][format] = pool.apply(measured, (settings, format))
            rate, size = told["rows_per_cpu_second"], told["bytes"] / 1e6
            memory = f"memory {told['peak_before_mb']} to {told['peak_mb']} MB"
            print(f"{format:8} {told['rows']:9,} rows {size:8.1f} MB {rate:9,} rows/s CPU  {memory}")
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
