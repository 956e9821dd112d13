"""`python standing.py WHAT COUNT COMMAND…`: `fhir-server`, which stands still as soon as more than COUNT resources are `written`, or bytes
`fetched`, or (with COUNT 0) an `export` is begun, so that a test ends or meets it there however quick the machine is."""

import runpy
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fhir_server.migrating.ledger import Ledger
from fhir_server.migrating.remote import bulk, keeping, paging

LONGEST = 300.0
"""Seconds after which it goes on: nobody waits for it any more."""


def stand(met: bool) -> None:
    """Do nothing from now on, where that is so."""
    if met:
        time.sleep(LONGEST)


def written(more_than: int) -> None:
    """After a chunk."""
    put: Callable[..., None] = Ledger.put

    def then(self: Ledger, *chunk: object) -> None:
        put(self, *chunk)
        stand(sum(self.counts().get("written", {}).values()) > more_than)

    Ledger.put = then  # type: ignore[method-assign]


def fetched(more_than: int) -> None:
    """After a page."""

    def then(path: Path, value: object) -> None:
        keeping.save(path, value)
        stand(sum(each.stat().st_size for each in path.parent.glob("pages.*.ndjson")) > more_than)

    paging.save = then


def export(more_than: int) -> None:
    """After the kick-off."""

    def then(path: Path, value: object) -> None:
        keeping.save(path, value)
        stand(True)

    bulk.save = then


if __name__ == "__main__":
    {"written": written, "fetched": fetched, "export": export}[sys.argv[1]](int(sys.argv[2]))
    sys.argv = ["fhir-server", *sys.argv[3:]]
    runpy.run_module("fhir_server", run_name="__main__", alter_sys=True)
