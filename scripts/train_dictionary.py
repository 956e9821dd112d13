"""Train the zstd dictionary that bodies are packed with, on the sample population and the official examples.

    python scripts/train_dictionary.py FILE.ndjson.gz … > resources/stores/dictionary.zstd

Each line is a resource, or a Bundle whose entries are taken one by one. A store keeps to the dictionary it was made with: changing
the file needs a new dictionary id (of `resources.stores.bodies.LATER`) and a new layout of every store, never a replacement.
"""

import gzip
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

SIZE = 64 * 1024
PER_TYPE = 250


def resources(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            value = json.loads(line)
            value = value.get("resource", value)
            if value.get("resourceType") == "Bundle" and value.get("entry"):
                yield from (entry["resource"] for entry in value["entry"] if "resource" in entry)
            else:
                yield value


def main(paths: list[str]) -> None:
    by_type: dict[str, list[bytes]] = {}
    for path in paths:
        for resource in resources(Path(path)):
            document = {
                "resourceType": resource["resourceType"],
                "id": resource.get("id", "x"),
                "meta": {"versionId": "1"},
            } | resource
            body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
            if len(body) < 20_000:
                by_type.setdefault(resource["resourceType"], []).append(body)
    chooser = random.Random(4)
    samples = [body for bodies in by_type.values() for body in chooser.sample(bodies, min(len(bodies), PER_TYPE))]
    chooser.shuffle(samples)
    sys.stdout.buffer.write(zstandard.train_dictionary(SIZE, samples).as_bytes())


if __name__ == "__main__":
    main(sys.argv[1:])
