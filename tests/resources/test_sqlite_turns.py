"""The tasks of one process and the processes of one file take turns at writing."""

import asyncio
import fcntl
from pathlib import Path

import pytest

from resources.documents import draft
from resources.store import Change
from resources.stores.sqlite import SqliteStore

EVENT = b'{"resourceType":"AuditEvent","recorded":"2026-01-01T00:00:00Z"}'


def changes(count: int) -> list[Change]:
    """Patients to write."""
    body = b'{"resourceType":"Patient"}'
    return [Change("Patient", f"p{n}", draft(body, f"p{n}")) for n in range(count)]


def test_upkeep_waits_for_a_large_commit(tmp_path: Path) -> None:
    """While a large commit lets the loop breathe, indexing events and copying the log wait for its end."""

    async def run() -> int:
        store = SqliteStore(tmp_path / "fhir.db")
        await store.open()
        try:
            large = asyncio.create_task(store.commit(changes(1000), events=[EVENT]))
            for _ in range(20):
                await asyncio.sleep(0)
                await store.settle()
                await store.checkpoint()
                await store.sweep()
            return len(await large)
        finally:
            await store.close()

    assert asyncio.run(run()) == 1000


def test_who_gives_up_waiting_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A task that is cancelled while another process writes leaves the file free for all once that one is done."""

    async def run() -> None:
        store = SqliteStore(tmp_path / "fhir.db")
        await store.open()
        try:
            with (tmp_path / "fhir.db.lock").open("rb+") as other:
                fcntl.flock(other, fcntl.LOCK_EX)
                waiting = asyncio.create_task(store.settle())
                await asyncio.sleep(0.05)
                waiting.cancel()
                await asyncio.sleep(0.05)
                fcntl.flock(other, fcntl.LOCK_UN)
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            await store.close()

    asyncio.run(run())
