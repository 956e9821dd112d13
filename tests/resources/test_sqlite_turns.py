"""The tasks of one process and the processes of one file take turns at writing."""

import asyncio
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw
import pytest

from resources.documents import draft
from resources.store import Change, RecordChange
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


COUNTS = "SELECT (SELECT count(*) FROM record), (SELECT count(*) FROM tag)"
RENEW = "UPDATE record SET expires = 0 WHERE kind = 'token' AND key = '1'"


@contextmanager
def meanwhile(path: Path, sql: str, renewed: list[int]) -> Iterator[None]:
    """Before each statement about records or tags of connections that are opened here, another process tries `sql`; `renewed` has how many
    rows it changed each time that it came through."""
    other = apsw.Connection(str(path))

    def trace(_: object, statement: str, __: object) -> bool:
        if statement.startswith("DELETE") and ("record" in statement or "tag" in statement):
            with suppress(apsw.BusyError):
                other.execute(sql)
                renewed.append(other.changes())
        return True

    def hook(connection: apsw.Connection) -> None:
        connection.exec_trace = trace

    apsw.connection_hooks.append(hook)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(hook)
        other.close()


def test_a_record_that_is_made_anew_while_expired_ones_are_forgotten_stays(tmp_path: Path) -> None:
    """Nobody comes between finding expired records and forgetting them: another writer is before that, and its record stays, or after."""

    async def run(sweep: bool) -> None:
        store = SqliteStore(tmp_path / "fhir.db", clock=lambda: 1_000)
        await store.open()
        try:
            if sweep:
                await store.sweep()
            else:
                await store.commit((), records=[RecordChange("token", "1", b"", tags=("a", "b"), expires=500)])
        finally:
            await store.close()

    asyncio.run(run(sweep=False))
    renewed: list[int] = []
    with meanwhile(tmp_path / "fhir.db", RENEW, renewed):
        asyncio.run(run(sweep=True))
    kept = next(iter(apsw.Connection(str(tmp_path / "fhir.db")).execute(COUNTS)))
    assert kept == ((1, 2) if any(renewed) else (0, 0))


def test_expired_records_are_forgotten_however_many(tmp_path: Path) -> None:
    """With their tags; the others stay."""

    async def run() -> None:
        store = SqliteStore(tmp_path / "fhir.db", clock=lambda: 1_000)
        await store.open()
        try:
            made = [
                RecordChange("token", f"{n}", b"", tags=(f"{n % 7}", "t"), expires=(0, 500, 1_000, 1_001)[n % 4])
                for n in range(5_000)
            ]
            await store.commit((), records=made)
            await store.sweep()
        finally:
            await store.close()

    asyncio.run(run())
    assert next(iter(apsw.Connection(str(tmp_path / "fhir.db")).execute(COUNTS))) == (2_500, 5_000)
