"""Fill a store with very many resources, in process and without AuditEvents, as fast as it goes: for measurements at a size."""

import asyncio
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

from measure import GENERATOR

from fhir_server.app import open_context
from fhir_server.config import load_settings
from resources.documents import decode, draft
from resources.store import Change

GROUP = 500


def fill(folder: Path, resources: int) -> float:
    """Make `folder`/data with about that many resources (a third Patients, two thirds Appointments), `folder`/state.json with their
    ids; seconds that the store took."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, patients = folder / "data.ndjson", resources // 3
    sizes = ("-practitioners", "100", "-patients", str(patients), "-appointments", str(resources - patients - 100))
    subprocess.run([str(GENERATOR), "-dump", str(lines), "-state", str(folder / "state.json"), *sizes], check=True)
    began = time.perf_counter()
    asyncio.run(_store(folder / "data", lines))
    lines.unlink()
    return time.perf_counter() - began


async def _store(data_dir: Path, lines: Path) -> None:
    settings = load_settings({"data_dir": data_dir, "auth": "off", "synchronous": "NORMAL"})
    done = 0
    async with open_context(settings) as ctx:
        with lines.open("rb") as file:
            while group := [line.rstrip() for line in islice(file, GROUP)]:
                changes = []
                for line in group:
                    document = decode(line)
                    type, id = document["resourceType"], document["id"]
                    changes.append(Change(type, id, draft(line, id), entry=ctx.extractor.extract(type, document)))
                await ctx.store.commit(changes)
                done += len(group)
                print(f"\r{done:,} resources ", end="", file=sys.stderr)
    print(file=sys.stderr)
