"""One part of an export of views: rows of the documents of a span of positions, into files of bounded size.

Files are the same to the byte whoever writes them: they end at the same documents, and writers get rows in portions that are counted
from the beginning of the file.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import msgspec

from fhir_server.auditing.patients import patients_of
from fhir_server.exporting.cohort import kept_cohort
from fhir_server.exporting.deidentified.binding import check_job
from fhir_server.exporting.writing.output import Form, Output
from fhir_server.exporting.writing.written import Item, Place
from fhir_server.files.contract import Writer
from fhir_server.jobs.work import Task
from fhir_server.views.bulk.asked import Asked, AskedView
from fhir_server.views.bulk.plan import Span, Whole
from fhir_server.views.compiler import View
from fhir_server.views.making import HEAVY, rows_of
from fhir_server.views.narrowing import wanted_of
from fhir_server.views.rows import Row
from fhir_server.views.writers.formats import MEDIA_TYPES, writer
from resources.outcomes import FhirError
from resources.store import Version

PORTION = 2_000
"""Rows that a writer gets at a time."""

AT_ONCE = 0.01
"""Seconds for which rows are made before others have their turn."""


async def work(task: Task) -> Any:
    """Write a part's files; its result is the list of them. Raises FhirError (422 for a document that the view does not go with),
    StoreUnavailable, FilesUnavailable, Lost."""
    asked = msgspec.json.decode(task.job.asked, type=Asked)
    check_job(task.ctx.settings, task.who, task.job)
    whole = msgspec.json.decode(task.job.plan, type=Whole)
    span = msgspec.json.decode(task.part.what, type=Span)
    place = msgspec.json.decode(task.part.place, type=Place | None) or Place(span.after)
    asked_view = asked.views[span.view]
    view = asked_view.compiled()
    cohort = await kept_cohort(task.files, task.job.id) if whole.cohort else None
    wanted = wanted_of(task.ctx, view.resource, cohort, named=bool(asked.patients))
    output = Output(
        task, place, type=view.resource, name=file_name(asked_view), about=(view.resource,), format=form_of(asked, view)
    )
    async with output:
        async for found in task.ctx.store.scan([view.resource], until=whole.position, after=place.after):
            versions = [version for version in found if version.position <= span.until]
            kept = [v for v in versions if v.body is not None and (wanted is None or wanted(v))]
            async for items in _made(task, view, kept, output):
                output.about(_people(task, view, [(id, item.data) for id, item in items]))
                await output.add([item for _, item in items])
            if found and found[-1].position >= span.until:
                break
        await output.close()
        return output.place.files


def _people(task: Task, view: View, documents: Sequence[tuple[str, bytes]]) -> list[str]:
    """The patients whom documents, ids and bytes, are about."""
    found = patients_of([body for _, body in documents], task.ctx.settings.bases)
    return [*(id for id, _ in documents), *found] if view.resource == "Patient" else found


async def _made(task: Task, view: View, versions: Sequence[Version], output: Output) -> AsyncIterator[list[tuple[str, Item]]]:
    """The ids of those (live) versions that give rows, and these, some thousands at a time. Others have their turn meanwhile.

    An error tells of a document too: whom it is about is recorded."""
    made: list[tuple[str, Item]] = []
    count, held, began = 0, 0, perf_counter()
    for version in versions:
        assert version.body is not None
        if perf_counter() - began > AT_ONCE:
            await asyncio.sleep(0)
            began = perf_counter()
        try:
            found = await rows_of(view, version.body)
        except FhirError:
            await output.refused(_people(task, view, [(version.id, version.body)]))
            raise
        if found.rows:
            made.append((version.id, Item(version.body, version.position, len(found.rows), *found)))
            count, held = count + len(found.rows), held + found.weight
        if count >= PORTION or held >= HEAVY:
            yield made
            made, count, held = [], 0, 0
    if made:
        yield made


def form_of(asked: Asked, view: View) -> Form:
    """How files of a view are written."""
    return Form(MEDIA_TYPES[asked.format], asked.format, partial(Rows, view=view, asked=asked))


def file_name(view: AskedView) -> str:
    """What the names of its files begin with: the name as far as a file can have it."""
    plain = "".join(each if each.isascii() and (each.isalnum() or each in "-_") else "_" for each in view.name)[:100]
    return plain if plain[:1].isalnum() else f"view_{plain}"


class Rows:
    """A sheet (`output.Sheet`) of rows."""

    def __init__(self, file: Writer, view: View, asked: Asked) -> None:
        self._file, self._into = file, writer(asked.format, view.columns, header=asked.header)
        self._waiting: list[Row] = []
        self._held = 0
        self._begun = False

    async def write(self, items: Sequence[Item]) -> None:
        """See Sheet."""
        for item in items:
            self._waiting += item.rows
            self._held += item.weight
            full = len(self._waiting) if self._held >= HEAVY else len(self._waiting) // PORTION * PORTION
            for start in range(0, full, PORTION):
                await self._write(self._waiting[start : min(start + PORTION, full)])
            if full:
                del self._waiting[:full]
                self._held = 0

    async def finish(self) -> None:
        """See Sheet."""
        await self._write(self._waiting)
        self._waiting = []
        await self._file.write(self._into.end())

    async def _write(self, rows: Sequence[Row]) -> None:
        before, self._begun = b"" if self._begun else self._into.begin(), True
        await self._file.write(before + self._into.write(rows))
