"""One part of an export: documents of a type, as bytes, into files of bounded size.

Whoever goes on after another begins the file that was not finished anew. Files end at the same documents each time, whatever lists
they come in, since the store tells the documents of a snapshot in the order of their positions.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec

from fhir_server.auditing.patients import patients_of
from fhir_server.exporting.asked import Asked
from fhir_server.exporting.candidates import kept_found
from fhir_server.exporting.cohort import kept_cohort
from fhir_server.exporting.deidentified.binding import check_job
from fhir_server.exporting.deidentified.hiding import hiding
from fhir_server.exporting.parts.deleted import write_deleted
from fhir_server.exporting.parts.records import write_records
from fhir_server.exporting.parts.supporting import write_supporting
from fhir_server.exporting.plan import Span, Whole
from fhir_server.exporting.provenance import Provenances
from fhir_server.exporting.selecting import Selection
from fhir_server.exporting.writing.output import Output
from fhir_server.exporting.writing.shape import shape_of
from fhir_server.exporting.writing.written import Item, Place
from fhir_server.jobs.work import Task
from resources.store import Version

_TOGETHER = 200


async def work(task: Task) -> Any:
    """Write a part's files; its result is the list of them. Raises FhirError, StoreUnavailable, FilesUnavailable, Lost."""
    span = msgspec.json.decode(task.part.what, type=Span)
    place = msgspec.json.decode(task.part.place, type=Place | None) or Place(span.after)
    selection = await _selection(task)
    if span.kind == "record":
        return await write_records(task, span, place, selection)
    if span.kind == "supporting":
        return await write_supporting(task, place, selection)
    if span.kind == "deleted":
        return await write_deleted(task, span, place, selection)
    return await _write_live(task, span, place, selection)


async def _selection(task: Task) -> Selection:
    asked = msgspec.json.decode(task.job.asked, type=Asked)
    whole = msgspec.json.decode(task.job.plan, type=Whole)
    check_job(task.ctx.settings, task.who, task.job)
    cohort = await kept_cohort(task.files, task.job.id) if whole.cohort else None
    found = await kept_found(task.files, task.job.id, whole.position) if whole.found else None
    hide = None
    if asked.deidentified:
        hide = await hiding(task.ctx, asked.deidentified, client=task.who.client, base=asked.base, instant=whole.instant)
    return Selection(task.ctx, asked, whole, cohort, task.job.created, hiding=hide, found=found)


def _few(versions: list[Version]) -> Iterator[list[Version]]:
    """A list in pieces: documents that are taken apart are worked on for a moment at a time."""
    return (versions[start : start + _TOGETHER] for start in range(0, len(versions), _TOGETHER))


async def _write_live(task: Task, span: Span, place: Place, selection: Selection) -> Any:
    asked, bases = selection.asked, task.ctx.settings.bases
    shape = shape_of(asked, span.type, selection.hiding)
    chosen = Provenances(selection) if span.type == "Provenance" else selection
    output = Output(task, place, type=span.type, name=span.type, about=(span.type,), format=asked.format)
    async with output:
        async for found in selection.documents(span.type, place.after):
            versions = [version for version in found if version.position <= span.until]
            for several in _few(versions) if selection.hiding is not None else (versions,):
                kept = await chosen.kept(several)
                output.about(patients_of((version.body for version in kept if version.body is not None), bases))
                if span.type == "Patient":
                    output.about(version.id for version in kept)
                await output.add([Item(data, version.position) for version in kept if (data := shape(version)) is not None])
                await asyncio.sleep(0)
            if found and found[-1].position >= span.until:
                break
        await output.close()
        return output.place.files
