"""Kill the server again and again under load and look at what is on disk.

    .venv/bin/python tests/robustness/kill_loop.py --kills 1000 [--workers 2] [--clients 16] [--seed 1]

Prints counts, and every promise that was broken; exit code 1 if there is one. SIGKILL tells of the program's own care (what is
committed together, what is answered when); it does not take the power from the disk.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import httpx

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from robustness.check import Checker
from robustness.load import Load
from robustness.running import ROOT, Server, clean_environment


class Outcome(NamedTuple):
    """What a run found: promises broken, counts of what was done, seconds that the starts took."""

    problems: list[str]
    counts: Counter[str]
    starts: list[float]


async def run(folder: Path, *, kills: int, clients: int = 16, workers: int = 1, seed: int = 1, progress: bool = False) -> Outcome:
    """Kill a server on `folder` so many times, 50 to 400 ms after the load began or once two creates were answered, and check after every
    one."""
    chance = random.Random(seed)
    server = Server(folder / "data", "--workers", str(workers))
    checker = Checker(folder / "data" / "fhir.db")
    problems: list[str] = []
    starts: list[float] = []
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(limits=limits, timeout=60) as http:
        load = Load(http, server.base, seed, clients)
        with server:
            starts.append(server.start_seconds)
            for life in range(kills):
                load.new_life(life)
                await _kill_under_load(server, load, chance.uniform(0.05, 0.4))
                server.start()
                starts.append(server.start_seconds)
                found = await _after(checker, load)
                problems += [f"life {life}: {one}" for one in found]
                if progress:
                    _show(life, problems, checker, starts[-1])
            server.stop()
    problems += _audited(folder / "data")
    return Outcome(problems, checker.counts, starts)


def _audited(data: Path) -> list[str]:
    """What `fhir-server audit verify` finds: after all these kills the chains of AuditEvents hold."""
    command = [sys.executable, "-m", "fhir_server", "audit", "verify", "--json", "--data-dir", str(data)]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, check=False)
    report = json.loads(done.stdout)
    found = [f"audit: {each['kind']} {each['where']}: {each['text']}" for each in report["findings"]]
    return found + (["audit: no checkpoint was signed"] if not report["checkpoints"] else [])


async def _kill_under_load(server: Server, load: Load, seconds: float) -> None:
    driving = asyncio.create_task(load.drive())
    await asyncio.sleep(seconds)
    for _ in range(12_000):  # a busy machine takes long
        if driving.done() or sum(one.kind == "create" and one.status == 201 for one in load.sent) > 1:
            break
        await asyncio.sleep(0.005)
    server.kill()
    await driving


async def _after(checker: Checker, load: Load) -> list[str]:
    """The checks after a restart: the disk, the repeats of lost transactions, the search index."""
    sent = list(load.sent)
    await checker.read()
    found = checker.problems(sent)
    lost = [one for one in sent if one.kind == "transaction" and not one.status]
    repeats = [(one, await load.repeat(one)) for one in lost]
    await checker.read()
    for one, again in repeats:
        found += checker.repeated(one, again)
    created = {one.name: one.id for one in sent if one.kind == "create"}
    if created:
        searched, stored = set(await load.names(list(created))), checker.alive(created.values())
        if searched != stored:
            found.append(f"search and store differ: {searched ^ stored}")
    checker.counts["kills"] += 1
    return found


def _show(life: int, problems: list[str], checker: Checker, start: float) -> None:
    versions, events = checker.counts["versions"], checker.counts["AuditEvents"]
    print(f"\r{life + 1} kills, {versions} versions, {events} AuditEvents, {len(problems)} problems, start {start:.2f} s ", end="")
    sys.stdout.flush()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--folder", type=Path, help="where the data folder is made (default: a temporary one)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        began = time.perf_counter()
        outcome = asyncio.run(
            run(folder, kills=given.kills, clients=given.clients, workers=given.workers, seed=given.seed, progress=True)
        )
        print(f"\nseed {given.seed}, {time.perf_counter() - began:.0f} s, starts: slowest {max(outcome.starts):.2f} s")
        for name, count in sorted(outcome.counts.items()):
            print(f"  {count:8} {name}")
        for problem in outcome.problems:
            print(f"BROKEN {problem}")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
