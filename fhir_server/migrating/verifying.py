"""What came compared with what the store holds afterwards, hash by hash."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

from fhir_server.access.views import stored
from fhir_server.context import Context
from fhir_server.migrating.contract import Problem, Wrong
from fhir_server.migrating.digest import digest
from fhir_server.migrating.ledger import Entry, Ledger
from resources.store import Key, Version

PORTION = 200


class Verified:
    """`same` and `different` by type; the first of what differs."""

    MOST = 10_000

    def __init__(self) -> None:
        self.same: Counter[str] = Counter()
        self.different: Counter[str] = Counter()
        self.wrong: list[Wrong] = []

    def add(self, entry: Entry, version: Version | None) -> None:
        """One resource, and the version that is current."""
        if version is not None and version.body is not None and digest(version.body) == entry.digest:
            self.same[entry.type] += 1
            return
        self.different[entry.type] += 1
        if len(self.wrong) < self.MOST:
            self.wrong.append(Wrong(entry.type, entry.where, (_problem(entry, version),)))


async def verify(ctx: Context, ledger: Ledger, watch: Callable[[int], None]) -> Verified:
    """Each resource of the ledger read again. Raises StoreUnavailable."""
    store, verified, done = stored(ctx), Verified(), 0
    entries: Iterator[list[Entry]] = ledger.entries(PORTION)
    for some in entries:
        found = await store.read_many([Key(entry.type, entry.id) for entry in some])
        for entry, version in zip(some, found, strict=True):
            verified.add(entry, version)
        done += len(some)
        watch(done)
        await asyncio.sleep(0)
    return verified


def _problem(entry: Entry, version: Version | None) -> Problem:
    name = f"{entry.type}/{entry.id}"
    if version is None:
        return Problem("incomplete", f"{name} is not in the store, though it was written")
    if version.body is None:
        return Problem("conflict", f"{name} was deleted in the store since it was written (version {version.version})")
    return Problem(
        "conflict",
        f"{name} in the store (version {version.version}) is not what came: somebody has changed it since, or it differs",
    )
