"""Measure a real server on this machine: `make bench`, or `.venv/bin/python benchmarks/run.py --help`."""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from measure import HERE, ROOT, Target, bare_fastapi, build_generator, clean_environment, generate, hapi, machine, our_server, seed
from tables import document

OPS = "read,search_identifier,search_people,search_appointment,create,update,transaction100"
SEARCHES = (
    "chain,chain_name,include,revinclude,has,has_all,has_observation,frequent_name,contains,date_newest,sort_name,total,total_most,"
    "code_date,patient_code,text,quantity,composite,combo,filter,types,everything"
)
"""Searches beside the core operations (benchmarks/load/searches.go): on this server, and at each size of the store."""

PARTS = ("operations", "searches", "bare", "start", "connections")
"""What is measured if nothing else is asked; `population` and `sizes` take longer, `hapi` needs Java and PostgreSQL."""


class Run:
    """One run: its options, its folder, what it found so far."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.given, self.folder = given, folder
        self.results: dict[str, Any] = {"machine": machine()}
        self._out = folder / "cells.json"
        engines = {"FHIR_STORE_URL": given.store_url, "FHIR_SEARCH_URL": given.search_url}
        self._engines = {name: url for name, url in engines.items() if url}

    def cells(self, target: Target, *, ops: str, clients: str, more: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """Measure these operations on a target, answers packed."""
        return generate(
            target, "-gzip", "-ops", ops, "-clients", clients, "-duration", f"{self.given.duration}s", *more, out=self._out
        )

    def ours(self) -> None:
        """Everything that runs on our seeded server."""
        with our_server(self.folder, engines=self._engines) as (target, server):
            empty = server.start_seconds
            print(f"seeded in {seed(target):.1f} s")
            if self.given.search_url:
                print(f"the search index had caught up after {_fed(target):.1f} s more")
            if "searches" in self.given.parts:
                self.results["searches"] = self.cells(target, ops=self.given.searches, clients="8")
            if "operations" in self.given.parts:
                self.results["operations"] = self.cells(target, ops=self.given.ops, clients=self.given.clients)
            if "bare" in self.given.parts:
                self._bare(target)
            if "connections" in self.given.parts:
                self._connections(target)
        if "start" in self.given.parts:
            self._start(empty)

    def _bare(self, target: Target) -> None:
        patient = json.loads(target.state.read_text())["patients"][0]
        body = httpx.get(f"{target.base}/Patient/{patient}").content
        plain = ("-ops", "read", "-clients", "8", "-duration", f"{self.given.duration}s")  # FastAPI packs nothing, so ours must not
        [ours] = generate(target, *plain, out=self._out)
        with bare_fastapi(self.folder, body, target.state) as bare:
            [floor] = generate(bare, *plain, out=self._out)
        ratio = ours["cpu_ms_per_request"] / floor["cpu_ms_per_request"]
        self.results["bare"] = {"read": ours, "bare FastAPI": floor, "ratio": ratio}

    def _connections(self, target: Target) -> None:
        """1,000 connections at half of what 8 clients reach."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 4_000:
            print(f"not measured: 1,000 connections (this machine allows {hard} open files)")
            return
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4_000), hard))
        [few] = self.cells(target, ops="read", clients="8")
        [many] = self.cells(target, ops="read", clients="1000", more=("-rate", f"{few['per_second'] / 2:.0f}"))
        self.results["connections"] = [few, many]

    def _start(self, empty: float) -> None:
        rows: list[list[object]] = [["first start, empty folder", empty, None]]
        for _ in range(3):
            with our_server(self.folder, engines=self._engines) as (target, server):
                rows.append(["start with data", server.start_seconds, _pss(target.pids["server"])])
        self.results["start"] = rows

    def population(self) -> None:
        """`fhir-server load` of a folder or file."""
        data = self.folder / "population"
        command = [sys.executable, "-m", "fhir_server", "load", "--json", "--data-dir", str(data), str(self.given.population)]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True, check=True)
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        totals = json.loads(done.stdout)
        count = totals["resources"]
        size = sum(file.stat().st_size for file in data.iterdir() if file.is_file()) / 1e6
        self.results["population"] = {
            "resources": count,
            "seconds": seconds,
            "resources/s": count / seconds,
            "CPU ms/resource": 1000 * cpu / count,
            "MB on disk": size,
        }

    def sizes(self) -> None:
        """The same operations on a small and a very large store."""
        from scale import fill

        found = {}
        for size in self.given.sizes:
            folder, kept = self.folder / f"size-{size}", (self.given.stores or self.folder) / f"kept-{size}"
            if not (kept / "data" / "fhir.db").exists():
                print(f"{size:,} resources stored in {fill(kept, size):.0f} s")
            shutil.copytree(kept, folder)  # what is measured writes
            with our_server(folder) as (target, _):
                ops = ",".join(part for part in (self.given.searches, self.given.ops) if part)  # searches first: the others write
                found[f"{size:,}"] = self.cells(target, ops=ops, clients=self.given.size_clients)
        self.results["sizes"] = found

    def peer(self) -> None:
        """HAPI with the same data and the same requests, after 90 s of warming up."""
        with hapi(self.folder) as target:
            print(f"HAPI seeded in {seed(target):.1f} s")
            warm = ("-warmup", f"{self.given.warmup}s")
            self.results["hapi"] = self.cells(target, ops=self.given.ops, clients=self.given.clients, more=warm)


def _fed(target: Target) -> float:
    """Wait until the search index has what was seeded, which else would be indexed while requests are measured; seconds that took."""
    began = time.perf_counter()
    url = target.base.removesuffix("/fhir") + "/metrics"
    while "\nfhir_index_behind_positions 0\n" not in httpx.get(url).text:
        time.sleep(0.2)
    return time.perf_counter() - began


def _pss(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1]) / 1024


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--duration", type=int, default=10, help="seconds of each measurement (10)")
    parser.add_argument("--clients", default="1,8,32", help="numbers of concurrent clients (1,8,32)")
    parser.add_argument("--ops", default=OPS, help=f"operations ({OPS})")
    parser.add_argument("--searches", default=SEARCHES, help=f"searches beside them ({SEARCHES})")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"what to measure ({','.join(PARTS)}; also none)")
    parser.add_argument("--hapi", action="store_true", help="measure HAPI on PostgreSQL too, and print the ratios")
    parser.add_argument("--warmup", type=int, default=90, help="seconds for which HAPI is warmed up (90)")
    parser.add_argument("--population", type=Path, help="measure `fhir-server load` of this file or folder")
    parser.add_argument("--sizes", type=lambda text: [int(one) for one in text.split(",")], help="e.g. 10000,1000000")
    parser.add_argument("--size-clients", default="1,8", help="numbers of concurrent clients with --sizes (1,8)")
    parser.add_argument("--stores", type=Path, help="where filled stores of --sizes are kept for the next run")
    parser.add_argument(
        "--store-url", help="documents elsewhere (FHIR_STORE_URL): an empty database, e.g. mongodb://127.0.0.1/bench1"
    )
    parser.add_argument(
        "--search-url", help="search in Elasticsearch (FHIR_SEARCH_URL), for --parts operations, bare, connections, start"
    )
    parser.add_argument("--name", default="latest.local", help="results go to benchmarks/results/NAME.json and NAME.md")
    parser.add_argument("--folder", type=Path, help="where the data of the run goes (a temporary folder)")
    given = parser.parse_args()
    given.parts = given.parts.split(",")
    return given


def main() -> None:
    """Run what was asked for and show it."""
    given = options()
    build_generator()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="fhir-bench-") as folder:
        run = Run(given, Path(folder))
        steps: list[tuple[object, Callable[[], None]]] = [
            (set(given.parts) & set(PARTS), run.ours),
            (given.population, run.population),
            (given.sizes, run.sizes),
            (given.hapi, run.peer),
        ]
        for wanted, step in steps:
            if wanted:
                step()
    report = document(run.results)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / f"{given.name}.json").write_text(json.dumps(run.results, indent=1) + "\n")
    (results / f"{given.name}.md").write_text(report)
    print(f"\n{report}\nWritten to {os.path.relpath(results / given.name)}.md and .json")


if __name__ == "__main__":
    main()
