"""The long versions of what tests/indexing tests shortly, on two server processes or one, with a real Elasticsearch.

    python tests/indexing/long_runs.py read-your-writes --rounds 10000
    python tests/indexing/long_runs.py read-your-writes --rounds 10000 --search sqlite
    python tests/indexing/long_runs.py kills --rounds 1000

Prints what was done and ends with exit code 1 at the first thing that does not hold.
"""

import argparse
import asyncio
import json
import random
import secrets
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from indexing.feed_harness import sweep  # noqa: E402  (the path is set one line above)
from indexing.serving import FHIR, Process, processes  # noqa: E402
from services.running import begin_run, end_run, service  # noqa: E402


def read_your_writes(folder: Path, settings: dict[str, str], rounds: int) -> str:
    """Write through one process, search through the other: never missed."""
    one, other = Process(folder, **settings), Process(folder, **settings)
    slowest, began = 0.0, time.monotonic()
    with processes(one, other):
        for n in range(rounds):
            writer, reader = (one, other) if n % 2 else (other, one)
            writer.put(f"p{n % 500}", identifier=[{"system": "urn:n", "value": f"{n}"}])
            asked = time.monotonic()
            found = reader.total(f"Patient?identifier=urn:n|{n}")
            slowest = max(slowest, time.monotonic() - asked)
            if found != 1:
                sys.exit(f"round {n}: {found} found instead of 1")
            if n % 500 == 499:
                print(f"{n + 1} rounds, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    return f"{rounds} times written and found through another process in {seconds:.0f} s; slowest search {slowest:.2f} s"


def kills(folder: Path, settings: dict[str, str], rounds: int) -> str:
    """The server is killed at random moments while it is written to; at the end index and store agree, with all that was answered."""
    process = Process(folder, **settings)
    answered: set[str] = set()
    with processes(process):
        for life in range(rounds):
            ended = threading.Event()

            def write(life: int = life, ended: threading.Event = ended) -> None:
                with httpx.Client(base_url=process.client.base_url, timeout=30) as client:
                    for n in range(100_000):
                        body = {"resourceType": "Patient", "id": f"{life}-{n}", "gender": "male"}
                        try:
                            answer = client.put(f"Patient/{life}-{n}", json=body, headers=FHIR)
                        except httpx.TransportError:
                            return
                        if answer.status_code != 201 or ended.is_set():
                            return
                        answered.add(f"{life}-{n}")

            writing = threading.Thread(target=write)
            writing.start()
            time.sleep(random.uniform(0.0, 0.3))
            process.kill()
            ended.set()
            writing.join()
            process.start()
        verified = process.command("verify-index", "--no-repair", "--json")
        drift = json.loads(verified.stdout)["types"]
        wrong = [each for each in drift if each["missing"] or each["surplus"]]
        total = process.total("Patient?gender=male&_summary=count")
    if wrong or verified.returncode or total < len(answered):
        sys.exit(f"index and store differ: {wrong}; {total} found, {len(answered)} answered")
    documents = sum(each["documents"] for each in drift)
    return f"{rounds} kills; {len(answered)} writes answered, {total} found; index and store agree ({documents} documents)"


RUNS = {"read-your-writes": read_your_writes, "kills": kills}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=RUNS)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--search", choices=["elasticsearch", "sqlite"], default="elasticsearch")
    chosen = parser.parse_args()
    if chosen.search == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            print(RUNS[chosen.run](Path(folder), {"FHIR_LOG_LEVEL": "warning"}, chosen.rounds))
        return
    begin_run()
    url, prefix = service("elasticsearch"), f"long{secrets.token_hex(4)}"
    settings = {"FHIR_SEARCH_URL": url, "FHIR_SEARCH_PREFIX": prefix, "FHIR_SEARCH_WAIT": "30", "FHIR_LOG_LEVEL": "warning"}
    try:
        with tempfile.TemporaryDirectory() as folder:
            print(RUNS[chosen.run](Path(folder), settings, chosen.rounds))
    finally:
        asyncio.run(sweep(url, prefix))
        end_run()


if __name__ == "__main__":
    main()
