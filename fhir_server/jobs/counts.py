"""What operators see of jobs in /metrics: the store's jobs and parts, and what this process has done."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fhir_server.jobs.board import Board
from fhir_server.jobs.job import ACTIVE, KEPT, State
from resources.store import ResourceStore

STATES: tuple[State, ...] = ("running", "done", "failed", "cancelled")

GAUGE, COUNTER = "gauge", "counter"


class Counts:
    """Counts of one process: parts `done`, tries that `failed`, `bytes` written into files, parts under way."""

    def __init__(self, store: ResourceStore) -> None:
        self._board = Board(store)
        self.done = self.failed = self.bytes = self.under_way = 0

    @contextmanager
    def working(self) -> Iterator[None]:
        """While a part is worked on."""
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1

    async def metrics(self, now: int) -> list[str]:
        """Lines in the text format of Prometheus. `now`: microseconds since the epoch. Raises StoreUnavailable."""
        states = Counter[str](kept.job.state for kept in await self._board.jobs(KEPT))
        waiting = 0
        for kept in await self._board.jobs(ACTIVE):
            async for free in self._board.free(kept.job, now):
                waiting += len(free)
        lines = _told("fhir_jobs", GAUGE, "Jobs that are kept, by state; of all processes.")
        lines += [f'fhir_jobs{{state="{state}"}} {states[state]}' for state in STATES]
        for name, kind, text, value in (
            ("fhir_job_parts_waiting", GAUGE, "Parts of jobs that nobody works on yet; of all processes.", waiting),
            ("fhir_job_parts_running", GAUGE, "Parts of jobs that this process works on.", self.under_way),
            ("fhir_job_parts_done_total", COUNTER, "Parts of jobs that this process has done.", self.done),
            ("fhir_job_parts_failed_total", COUNTER, "Tries at parts of jobs that failed in this process.", self.failed),
            ("fhir_job_bytes_total", COUNTER, "Bytes that jobs have written into files in this process.", self.bytes),
        ):
            lines += [*_told(name, kind, text), f"{name} {value}"]
        return lines


def _told(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
