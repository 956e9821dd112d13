"""`$export` of everything and `$import` of it, here and by HAPI on PostgreSQL, one after the other; needs Java 17, Maven, PostgreSQL.

    .venv/bin/python benchmarks/bulk_beside_hapi.py [--patients 2000] [--json FILE]

Both servers are seeded by the same transactions: 100 Practitioners, the Patients, and twice as many Appointments and Observations each.
HAPI answers a minute of reads and searches before, so that its code is compiled. An export counts from its kick-off until the job tells of
its files, and until these are fetched. What this server has exported is then imported, here into an empty store, there beside the seeded
data (under ids of its own). CPU time is that of the server's processes, PostgreSQL's among them, in the same span.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from measure import Target, build_generator, generate, hapi, machine, our_server
from watching import cpu_of

LIMIT = "30m"
ORDER = ("Practitioner", "Patient", "Appointment", "Observation")
"""Types, those that others refer to first."""

ASYNC = {"Prefer": "respond-async", "Accept": "application/fhir+json", "Content-Type": "application/fhir+json"}


def seeded(target: Target, patients: int) -> float:
    """Give a target its data; seconds that it took."""
    began = time.perf_counter()
    sizes = (
        "-practitioners",
        "100",
        "-patients",
        str(patients),
        "-appointments",
        str(2 * patients),
        "-observations",
        str(2 * patients),
    )
    generate(target, "-seed-data", *sizes, "-ops", "", out=target.state.with_suffix(".seed.json"))
    return time.perf_counter() - began


def exported(target: Target, out: Path) -> dict[str, Any]:
    """Do an export; what it took, as told above."""
    before = _cpu(target)
    generate(target, "-ops", "", "-export", LIMIT, out=out)
    told: dict[str, Any] = json.loads(out.read_text())["export"]
    assert "error" not in told, told
    return told | _rates(target, before, told["resources"], told["complete_s"])


def imported(target: Target, folder: Path, root: str) -> dict[str, Any]:
    """Import the files of a folder, which can be fetched below `root`; what it took."""
    inputs = sorted(folder.iterdir(), key=lambda file: ORDER.index(file.name.split(".")[0]))
    count = sum(file.read_bytes().count(b"\n") for file in inputs)
    named = [_input(file.name, f"{root}/{file.name}") for file in inputs]
    asked = {
        "resourceType": "Parameters",
        "parameter": [
            {"name": "inputFormat", "valueCode": "application/fhir+ndjson"},
            {"name": "inputSource", "valueUri": root},
            {"name": "storageDetail", "part": [{"name": "type", "valueCode": "https"}]},
            *named,
        ],
    }
    before, began = _cpu(target), time.perf_counter()
    with httpx.Client(timeout=120) as client:
        begun = client.post(f"{target.base}/$import", json=asked, headers=ASYNC)
        assert begun.status_code == 202, begun.text
        while (answer := client.get(begun.headers["content-location"])).status_code in (202, 429):
            time.sleep(0.5)
        seconds = time.perf_counter() - began
        there = client.get(f"{target.base}/{inputs[0].name.split('.')[0]}", params={"_summary": "count"}).json()["total"]
    told = {} if answer.status_code == 200 else {"failed": answer.text[:2_000]}
    return {"resources": count, "complete_s": seconds, f"{inputs[0].name} there": there, **told} | _rates(
        target, before, count, seconds
    )


def _input(name: str, url: str) -> dict[str, Any]:
    return {"name": "input", "part": [{"name": "type", "valueCode": name.split(".")[0]}, {"name": "url", "valueUri": url}]}


def fetched(target: Target, folder: Path) -> None:
    """The files of an export."""
    folder.mkdir()
    with httpx.Client(timeout=120) as client:
        begun = client.get(f"{target.base}/$export", headers=ASYNC)
        while (answer := client.get(begun.headers["content-location"])).status_code in (202, 429):
            time.sleep(1)
        for item in answer.json()["output"]:
            (folder / item["url"].rpartition("/")[2]).write_bytes(client.get(item["url"]).content)


@contextmanager
def given_out(folder: Path) -> Iterator[str]:
    """The files of a folder by HTTP; their address."""
    server = _Giver(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Giver(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asks only for the beginning of a file hangs up."""


class _Quiet(SimpleHTTPRequestHandler):
    extensions_map = {".ndjson": "application/fhir+ndjson"}

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _cpu(target: Target) -> dict[str, float]:
    return {name: cpu_of(pid) for name, pid in target.pids.items()}


def _rates(target: Target, before: dict[str, float], count: int, seconds: float) -> dict[str, Any]:
    spent = {name: round(after - before[name], 2) for name, after in _cpu(target).items()}
    return {
        "cpu_seconds": spent,
        "per_second": round(count / seconds),
        "per_cpu_second": round(count / max(sum(spent.values()), 0.01)),
    }


def measure(patients: int, folder: Path) -> dict[str, Any]:
    """Both servers, one after the other."""
    found: dict[str, Any] = {"machine": machine()}
    files, out = folder / "files", folder / "out.json"
    with our_server(folder / "ours") as (target, _):
        seconds = seeded(target, patients)
        found[target.name] = {"seeded in": round(seconds, 1), "exports": [exported(target, out) for _ in range(2)]}
        fetched(target, files)
    with given_out(files) as root:
        with our_server(folder / "second", engines={"FHIR_IMPORT_SOURCES": f"{root}/"}) as (target, _):
            found[target.name]["import"] = imported(target, files, root)
        with hapi(folder) as target:
            seconds = seeded(target, patients)
            generate(target, "-ops", "read,search_identifier,search_people", "-clients", "8", "-duration", "18s", out=out)
            found[target.name] = {"seeded in": round(seconds, 1), "exports": [exported(target, out)]}
            found[target.name]["import"] = imported(target, files, root)
    return found


def main() -> None:
    """Print what was found as JSON."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--patients", type=int, default=2_000)
    reader.add_argument("--json", type=Path)
    given = reader.parse_args()
    build_generator()
    with tempfile.TemporaryDirectory() as name:
        for part in ("ours", "second"):
            (Path(name) / part).mkdir()
        found = measure(given.patients, Path(name))
    print(json.dumps(found, indent=1))
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
