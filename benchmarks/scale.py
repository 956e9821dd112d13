"""Fill a store with very many resources, in process and without AuditEvents, as fast as it goes: for measurements at a size."""

import asyncio
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

from measure import GENERATOR

from resources.documents import decode, draft
from resources.store import Change
from resources.stores.sqlite import SqliteStore
from search.extract import Extractor
from search.indexes.sqlite.index import SqliteIndex
from search.parameters import registry

GROUP = 500
CACHE = 1_000_000
"""KiB of database pages in memory while filling: the rows of a commit go to thousands of places."""


def fill(folder: Path, resources: int) -> float:
    """Make `folder`/data with about that many resources (a fifth Patients, three tenths Appointments, the rest Observations),
    `folder`/state.json with their ids; seconds that the store took."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, patients, appointments = folder / "data.ndjson", resources // 5, 3 * resources // 10
    observations = resources - patients - appointments - 100
    sizes = ["-practitioners=100", f"-patients={patients}", f"-appointments={appointments}", f"-observations={observations}"]
    subprocess.run([str(GENERATOR), "-dump", str(lines), "-state", str(folder / "state.json"), *sizes], check=True)
    began = time.perf_counter()
    asyncio.run(_store(folder / "data", lines))
    lines.unlink()
    return time.perf_counter() - began


async def _store(data_dir: Path, lines: Path) -> None:
    data_dir.mkdir()
    path, parameters = data_dir / "fhir.db", registry()
    extractor = Extractor(parameters, "http://127.0.0.1/fhir")
    index = SqliteIndex(path, parameters, extractor)
    store = SqliteStore(path, participant=index, synchronous="NORMAL", cache_kib=CACHE)
    await store.open()
    try:
        with lines.open("rb") as file:
            done = 0
            while group := [line.rstrip() for line in islice(file, GROUP)]:
                await store.commit([_change(line, extractor) for line in group])
                done += len(group)
                print(f"\r{done:,} resources ", end="", file=sys.stderr)
    finally:
        await store.close()
    print(file=sys.stderr)


def _change(line: bytes, extractor: Extractor) -> Change:
    document = decode(line)
    type, id = document["resourceType"], document["id"]
    return Change(type, id, draft(line, id), entry=extractor.extract(type, document))
