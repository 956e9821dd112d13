"""A connection that reads the index: functions that SQL may call, and a limit on time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import apsw

from search.indexes.sqlite.predicates import Check
from search.indexes.sqlite.rows import Row, unpack_rows
from search.types.position import apart
from search.values import fold

_STEPS = 5_000
"""Instructions of SQLite's machine between two looks at the clock (some tenths of a millisecond)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of rows at which a search is done in another way (measured in docs/adr/0003).

    Up to `gather` rows, all that match are read, sorted and counted at once. Up to `scan` rows of a range are read and sorted;
    beyond, documents are walked in their order until a page is full. A predicate with no more than `few` rows drives without the
    others being counted. Ranges up to `listed` rows are tested as a list in memory while documents are walked.
    """

    gather: int = 1_000
    scan: int = 20_000
    few: int = 100
    listed: int = 5_000


_LAST = b"\xff" * 9

Edge = Callable[[list[Row], Any], bool]


class OutOfTime(Exception):
    """A search used up the time that it had."""


class Reader:
    """One connection and what the search that runs on it needs. Not for two threads, nor two searches, at once."""

    def __init__(self, connection: apsw.Connection, limits: Limits = Limits()) -> None:
        self.connection, self.limits = connection, limits
        self._checks: list[Check | Edge] = []
        self._facts: dict[tuple[int, bytes], bool] = {}
        self._deadline = 0.0
        connection.create_scalar_function("fhir_fold", fold, 1, deterministic=True)
        connection.create_scalar_function("fhir_apart", _apart, 4, deterministic=True)
        connection.create_scalar_function("fhir_check", self._check, 2)
        connection.create_scalar_function("fhir_edge", self._edge, 3)
        connection.set_progress_handler(self._late, _STEPS)

    @contextmanager
    def transaction(self, seconds: float) -> Iterator[None]:
        """Statements see one state of the database and together may take `seconds`. Raises OutOfTime."""
        self._checks.clear()
        self._facts.clear()
        self._deadline = time.perf_counter() + seconds
        self.connection.execute("BEGIN")
        try:
            yield
        except apsw.InterruptError:
            raise OutOfTime from None
        finally:
            self._deadline = 0.0
            self.connection.execute("COMMIT" if self.connection.in_transaction else "SELECT 1")

    def rows(self, sql: str, args: list[Any] | tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a statement."""
        return self.connection.execute(sql, args).fetchall()

    def number(self, sql: str, args: list[Any] | tuple[Any, ...] = ()) -> int:
        """The single number that a statement gives."""
        value: int = self.connection.execute(sql, args).get
        return value

    def any_of(self, pid: int, start: bytes = b"") -> bool:
        """Whether there are rows of this pid, or of those any whose `v` begins with these bytes (remembered during a transaction)."""
        known = self._facts.get((pid, start))
        if known is None:
            test, args = ("AND v >= ? AND v < ?", (pid, start, start + _LAST)) if start else ("", (pid,))
            found = self.number(f"SELECT EXISTS (SELECT 1 FROM idx WHERE pid = ? {test})", args)
            known = self._facts[(pid, start)] = bool(found)
        return known

    def keep(self, check: Check | Edge) -> int:
        """A number by which SQL of this transaction can name a check."""
        self._checks.append(check)
        return len(self._checks) - 1

    def on_time(self) -> None:
        """Raises OutOfTime if the time is up: for loops in Python."""
        if time.perf_counter() > self._deadline:
            raise OutOfTime

    def _late(self) -> bool:
        return self._deadline > 0 and time.perf_counter() > self._deadline

    def _check(self, *args: Any) -> bool:
        number, blob = args
        check: Any = self._checks[number]
        return bool(check(unpack_rows(blob)[1]))

    def _edge(self, *args: Any) -> bool:
        number, blob, v = args
        edge: Any = self._checks[number]
        return bool(edge(unpack_rows(blob)[1], v))


def _apart(*place: Any) -> float:
    return apart(*place)
