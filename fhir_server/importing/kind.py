"""Imports as a kind of jobs: one part an input, or a range of a large one."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

import msgspec

from fhir_server.access.views import deferring
from fhir_server.context import Context
from fhir_server.files.contract import Files
from fhir_server.importing.asked import Asked, Input
from fhir_server.importing.fetching import UNKNOWN, Probed
from fhir_server.importing.manifest import Came, Whole, about, told
from fhir_server.importing.part import LEASE, Imported, Piece, Place, Planned, fetching_of, work
from fhir_server.importing.reports import publish
from fhir_server.jobs.job import Job, Part, Problem
from fhir_server.jobs.work import Failed, Kind, Plan, Task
from search.index import Preparing

RANGE = 64_000_000
"""Bytes of an input that one part reads, where it can be had in ranges; more of one that has more than MOST_RANGES of them."""

MOST_RANGES = 1_000

AT_ONCE, PROBING = 8, 60.0
"""Inputs that are asked for their size at a time, and seconds after which no more are asked."""

UNPACKED = 8
"""Times of its size that a packed input comes to, about."""


async def _plan(task: Task) -> Plan:
    asked = msgspec.json.decode(task.job.asked, type=Asked)
    turns, until = asyncio.Semaphore(AT_ONCE), asyncio.get_running_loop().time() + PROBING

    async def probed(input: Input) -> Probed:
        with suppress(TimeoutError):
            async with turns, asyncio.timeout_at(until):
                return await fetching_of(task, Piece(input.type, input.url), Place()).probe()
        return UNKNOWN

    found = await asyncio.gather(*(probed(input) for input in asked.inputs))
    pieces = [piece for place, probe in enumerate(found) for piece in _pieces(asked, place, probe)]
    return Plan(Planned(await _deferred(task.ctx, asked, found)), pieces)


def _pieces(asked: Asked, place: int, probe: Probed) -> list[Piece]:
    """An input as parts. Where each line becomes a version, in their order, one part reads them all."""
    input = asked.inputs[place]
    if not probe.tag or probe.size <= RANGE or asked.mode == "keep-history":
        return [Piece(input.type, input.url, place)]
    step = max(RANGE, -(-probe.size // MOST_RANGES))
    starts = range(0, probe.size, step)
    return [
        Piece(input.type, input.url, place, start, start + step if start + step < probe.size else 0, probe.tag) for start in starts
    ]


async def _deferred(ctx: Context, asked: Asked, found: Sequence[Probed]) -> tuple[str, ...]:
    """The types whose first documents these are, where they are so many that it is worth it."""
    index = deferring(ctx)
    size = sum(probe.size * (UNPACKED if probe.packed else 1) for probe in found)
    if index is None or size < ctx.settings.import_defer:
        return ()
    types = list(dict.fromkeys(input.type for input in asked.inputs))
    return tuple(sorted(await index.defer(types, ctx.clock() + LEASE)))


async def _result(ctx: Context, files: Files, job: Job, parts: Sequence[Part]) -> Any:
    """What came of each input, once all can be searched. Raises Preparing until then, Failed where no input could be read to its end."""
    asked = msgspec.json.decode(job.asked, type=Asked)
    await _searchable(ctx, job, asked)
    done = [(msgspec.json.decode(part.what, type=Piece), part) for part in parts]
    found = {}
    for place, group in groupby(done, key=lambda each: each[0].input):
        results = [msgspec.json.decode(part.result, type=Imported) for _, part in group]
        found[place] = await _came(files, job, asked.inputs[place], place, results)
    whole = Whole(tuple(found[place] for place in range(len(asked.inputs))), ctx.clock())
    if all(came.problem is not None for came in whole.inputs):
        raise _failed(whole.inputs)
    return whole


def _failed(inputs: Sequence[Came]) -> Failed:
    """The first problem, and what was done in spite of them all."""
    problem, written, wrong = inputs[0].problem, sum(each.written for each in inputs), sum(each.wrong for each in inputs)
    assert problem is not None
    others = f" So it is with all {len(inputs)} inputs." if len(inputs) > 1 else ""
    done = f" Of what came {written} lines were written, {wrong} were wrong." if written or wrong else ""
    return Failed(Problem(problem.status, problem.code, f"{problem.text}{'.' if others or done else ''}{others}{done}"))


async def _searchable(ctx: Context, job: Job, asked: Asked) -> None:
    planned = msgspec.json.decode(job.plan, type=Planned | None) or Planned()
    index = deferring(ctx)
    if planned.deferred and index is not None:
        await index.indexed(planned.deferred)
    if ctx.feed is not None and not await ctx.index.caught_up(list(dict.fromkeys(input.type for input in asked.inputs))):
        raise Preparing("The search index has not taken in yet what was imported.")


async def _came(files: Files, job: Job, input: Input, place: int, results: Sequence[Imported]) -> Came:
    """What came of an input, of the results of its parts; what tells of its wrong lines, and why it could not be read to its end, becomes
    one file."""
    kept, lines = list[tuple[str, int]](), 0
    for each in results:
        kept += [(f"{job.id}/{report}", lines) for report in each.reports]
        lines += each.lines
    problems = [each.problem for each in results if each.problem is not None]
    name = f"errors.{place + 1:06d}.ndjson" if kept or problems else ""
    if name and await files.size(f"{job.id}/{name}") is None:
        await publish(files, f"{job.id}/{name}", input.url.partition("?")[0], kept, problems)
    for report, _ in kept:
        await files.delete(report)
    written, same, wrong = (sum(getattr(each, name) for each in results) for name in ("written", "same", "wrong"))
    return Came(written, same, wrong, name, problems[0] if problems else None, len(problems))


IMPORT = Kind(_plan, work, _result, told, about)
