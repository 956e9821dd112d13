"""One part of an import: an input, or a range of one, line by line, in portions that are each one commit."""

import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

import msgspec

from fhir_server.access.views import deferring
from fhir_server.importing.asked import Asked, check_access
from fhir_server.importing.fetching import Fetching, Line, Unreadable
from fhir_server.importing.pace import Pace
from fhir_server.importing.portions import Came, Parsed, parsed, store
from fhir_server.importing.reports import keep
from fhir_server.importing.sources import Sources
from fhir_server.importing.wrong import ENOUGH, MOST, Wrong
from fhir_server.jobs import work as jobs
from fhir_server.jobs.job import Problem
from fhir_server.jobs.work import Task, Turn

MOST_WRONG = 10_000
"""Lines of an input that may be wrong before the import is given up."""

SOON = 5.0
"""Seconds after its first line at which a portion is closed, however few lines it has."""

TURN, SHARE = 10.0, 10
"""Seconds after which a part is let go where other jobs wait, and how many times as long as it took to come to its place (what is packed
is read from its beginning) it goes on at least."""

LEASE = 60_000_000
"""Microseconds for which the types that are imported stay without an index while nobody says that there is more to come."""


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a part is to import: the lines of input `input` (by its place in the manifest) that begin at bytes `start` up to `end` (0: to
    its end), where it has the ETag `tag`."""

    type: str
    url: str
    input: int = 0
    start: int = 0
    end: int = 0
    tag: str = ""


class Planned(msgspec.Struct, frozen=True, omit_defaults=True):
    """What holds for all parts. `deferred`: types that are not indexed one by one."""

    deferred: tuple[str, ...] = ()


class Place(msgspec.Struct, frozen=True):
    """How far a part has come: all lines up to `line`, which ends before byte `offset`. `reports` name files of `wrong` lines; `slow`: see
    Pace. `first`: what is wrong with the first of those."""

    line: int = 0
    offset: int = 0
    tag: str = ""
    packed: bool = False
    written: int = 0
    same: int = 0
    wrong: int = 0
    reports: tuple[str, ...] = ()
    slow: float = 0.0
    first: str = ""


class Imported(msgspec.Struct, frozen=True):
    """What came of an input, or a range of one: lines written, lines that were there as they are, wrong ones, the files that tell of
    these, how many lines there were, and why those behind them could not be had (None: that was all)."""

    written: int
    same: int
    wrong: int
    reports: tuple[str, ...] = ()
    lines: int = 0
    problem: Problem | None = None


async def work(task: Task) -> Any:
    """Import an input, or its range. Whoever goes on after another begins behind the last portion that was put down. What is wrong with
    the input is its result. Raises Failed where nothing can go on."""
    asked = msgspec.json.decode(task.job.asked, type=Asked)
    check_access(task.ctx.decision, asked)
    piece = msgspec.json.decode(task.part.what, type=Piece)
    place = msgspec.json.decode(task.part.place, type=Place | None) or Place(tag=piece.tag)
    fetching = fetching_of(task, piece, place)
    importing = _Importing(task, asked, piece, place)
    try:
        async with aclosing(fetching.lines()) as lines:
            async for line in lines:
                await importing.add(line, fetching)
        await importing.close(fetching, last=True)
    except Unreadable as failure:
        with suppress(Unreadable):
            await importing.close(fetching)
        return importing.result(failure.problem)
    return importing.result()


def fetching_of(task: Task, piece: Piece, place: Place) -> Fetching:
    """What fetches the rest of a piece."""
    settings = task.ctx.settings
    return Fetching(
        piece.url, Sources.of(settings), int(settings.max_body), int(settings.import_max_size),
        place.line, place.offset, place.tag, place.packed, piece.start, piece.end, Pace(place.slow), task.files,
    )  # fmt: skip


class _Importing:
    """The portion that is being put together, and what came of those before."""

    def __init__(self, task: Task, asked: Asked, piece: Piece, place: Place) -> None:
        self._task, self._asked, self._piece, self._place = task, asked, piece, place
        self._lines: list[tuple[Line, Parsed | Wrong]] = []
        self._last: Line | None = None
        self._ids: set[str] = set()
        self._size = self._until = 0
        self._deferring = _Deferral(task, piece.type)
        self._began = self._decided = self._opened = time.monotonic()
        self._arrived = 0.0

    async def add(self, line: Line, fetching: Fetching) -> None:
        """One line more; writes the portion where it is full, or where the resource is in it already: the order of lines counts. Raises
        Turn where others are to have theirs."""
        found = parsed(line, self._piece.type) if line.body else None
        if isinstance(found, Parsed) and found.id in self._ids and not self._until:
            await self.close(fetching)
        self._check_first(line, fetching)
        now = time.monotonic()
        self._arrived = self._arrived or now
        self._opened = now if self._last is None else self._opened
        self._last = line
        if found is not None:
            self._lines.append((line, found))
        if isinstance(found, Parsed):
            self._ids.add(found.id)
        self._size += len(line.body)
        full = len(self._lines) >= MOST or self._size >= ENOUGH or now - self._opened >= SOON
        if line.number >= self._until if self._until else full:
            await self.close(fetching)
            await self._let_go()

    def _check_first(self, line: Line, fetching: Fetching) -> None:
        """Raises Unreadable where the first line of an input tells that it is something else."""
        first = self._place.line == 0 and self._last is None and self._piece.start == 0
        if first and line.body and not line.body.startswith(b"{"):
            raise fetching.failed(422, "structure", "is not NDJSON: its first line is no JSON object")

    async def _let_go(self) -> None:
        """Raises Turn where this has had its time and another job waits."""
        enough = time.monotonic() - self._began > max(TURN, SHARE * (self._arrived - self._began))
        if enough and self._last is None and await self._task.awaited():
            raise Turn

    async def close(self, fetching: Fetching, *, last: bool = False) -> None:
        """Write the portion and put down how far the part has come. `last`: there are no more lines.

        Where it was written before, by somebody who could not put that down, it ends where it ended then: it is gone on with up to there,
        or what is behind that is a portion of its own."""
        while self._last is not None:
            await self._decide()
            end, came = self._last.number, Came(0, 0)
            lines = [found for _, found in self._lines if isinstance(found, Parsed)]
            if lines:
                later = await self._deferring.later()
                came = await store(self._task, self._piece.type, self._asked.mode, lines, later, last=end)
            self._until = came.last if came.last > end else 0
            if self._until:
                if last:
                    raise fetching.failed(409, "conflict", f"has changed since line {came.last} was read")
                return
            await self._put_down(fetching, came, came.last or end)

    async def _decide(self) -> None:
        """Look now and then whether the owner may still import this. Raises Failed, FhirError."""
        if time.monotonic() - self._decided > jobs.FRESH:
            self._task = await self._task.decided()
            check_access(self._task.ctx.decision, self._asked)
            self._decided = time.monotonic()

    async def _put_down(self, fetching: Fetching, came: Came, end: int) -> None:
        assert self._last is not None
        mine = [each for each in self._lines if each[0].number <= end]
        whole = len(mine) == len(self._lines)
        place, line = self._place, self._last if whole else mine[-1][0]
        wrong = sorted([*(found for _, found in mine if isinstance(found, Wrong)), *came.wrong], key=lambda each: each.line)
        reports = (await self._report(wrong),) if wrong else ()
        self._place = Place(
            line.number, line.next, fetching.tag, fetching.packed, place.written + came.written, place.same + came.same,
            place.wrong + len(wrong), (*place.reports, *reports), fetching.pace.slow,
            place.first or (f"line {wrong[0].line}: {wrong[0].issues[0][1]}"[:300] if wrong else ""),
        )  # fmt: skip
        await self._task.keep(self._place)
        self._lines, self._last = self._lines[len(mine) :], None if whole else self._last
        self._ids = {found.id for _, found in self._lines if isinstance(found, Parsed)}
        self._size = sum(len(line.body) for line, _ in self._lines)
        if self._place.wrong > MOST_WRONG:
            raise fetching.failed(422, "invalid", f"has more than {MOST_WRONG} wrong lines; the first: {self._place.first}")

    def result(self, problem: Problem | None = None) -> Imported:
        """What came of it."""
        place = self._place
        return Imported(place.written, place.same, place.wrong, place.reports, place.line, problem)

    async def _report(self, wrong: list[Wrong]) -> str:
        """The file that tells of wrong lines; the same for whoever writes it."""
        name = f"wrong.{self._task.part.number:06d}.{self._place.line:012d}.ndjson"
        await keep(self._task.files, f"{self._task.job.id}/{name}", wrong)
        return name


class _Deferral:
    """Whether what is written now need not be indexed at once."""

    def __init__(self, task: Task, type: str) -> None:
        planned = msgspec.json.decode(task.job.plan, type=Planned | None) or Planned()
        self._index = deferring(task.ctx) if type in planned.deferred else None
        self._clock, self._types, self._until = task.ctx.clock, planned.deferred, 0

    async def later(self) -> Callable[[Any], Any] | None:
        """What makes of an entry one that may be indexed later; None where it may not."""
        if self._index is None:
            return None
        now = self._clock()
        if now + LEASE // 2 > self._until:
            self._until = now + LEASE
            await self._index.defer(self._types, self._until)
        return self._index.later
