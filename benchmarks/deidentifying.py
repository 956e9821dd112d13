"""Microseconds of CPU that de-identification costs a document, by type, beside reading and writing its JSON.

    python -m benchmarks.deidentifying [FILE …]       (default: sample_data/3-patients.ndjson.gz)

Files are NDJSON, packed or not; Bundles are opened.
"""

import gzip
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from conformance.load import definitions
from fhir_server.deidentifying.deidentifier import Deidentifier
from resources.documents import decode, encode

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3


def documents(paths: list[str]) -> Iterator[dict[str, Any]]:
    """All resources of the files."""
    for path in paths:
        with gzip.open(path) if path.endswith(".gz") else Path(path).open("rb") as lines:
            for line in lines:
                one = decode(line)
                yield from (entry["resource"] for entry in one["entry"]) if one["resourceType"] == "Bundle" else [one]


def cost(work: Callable[[Any], object], items: list[Any]) -> float:
    """CPU microseconds an item, the best of some rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for item in items:
            work(item)
        best = min(best, time.process_time() - begun)
    return best / len(items) * 1e6


def main() -> None:
    deidentifier = Deidentifier(definitions(), b"benchmark" * 4)
    by_type: dict[str, list[dict[str, Any]]] = {}
    for document in documents(sys.argv[1:] or [str(ROOT / "sample_data" / "3-patients.ndjson.gz")]):
        if deidentifier.exported(document["resourceType"]):
            by_type.setdefault(document["resourceType"], []).append(document)
    print(f"{'type':<28}{'documents':>10}{'de-identify':>13}{'decode':>9}{'encode':>9}  µs")
    for type, given in sorted(by_type.items(), key=lambda item: -len(item[1])):
        made = [deidentifier.document(type, document, ("p",)) for document in given]
        figures = (
            cost(lambda document, of=type: deidentifier.document(of, document, ("p",)), given),  # type: ignore[misc]
            cost(decode, [encode(document) for document in given]),
            cost(encode, made),
        )
        print(f"{type:<28}{len(given):>10}{figures[0]:>13.1f}{figures[1]:>9.1f}{figures[2]:>9.1f}")


if __name__ == "__main__":
    main()
