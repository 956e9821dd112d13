"""Exports of views as a kind of jobs."""

from collections.abc import Sequence
from typing import Any

import msgspec

from fhir_server.context import Context
from fhir_server.exporting.writing.written import Written
from fhir_server.files.contract import Files
from fhir_server.jobs.job import Job, Part
from fhir_server.jobs.work import Kind
from fhir_server.views.bulk.asked import Asked
from fhir_server.views.bulk.part import file_name, form_of, work
from fhir_server.views.bulk.plan import Span, plan
from fhir_server.views.bulk.telling import Exported, about, told

KIND = "view-export"


async def _result(ctx: Context, files: Files, job: Job, parts: Sequence[Part]) -> Any:
    """The files of each view. One without rows gets a file too: with its columns, where the format tells them."""
    asked = msgspec.json.decode(job.asked, type=Asked)
    found: list[list[Written]] = [[] for _ in asked.views]
    for part in parts:
        number = msgspec.json.decode(part.what, type=Span).view
        found[number] += msgspec.json.decode(part.result, type=tuple[Written, ...])
    for number, view in enumerate(asked.views):
        if not found[number]:
            compiled = view.compiled()
            form = form_of(asked, compiled)
            name = f"{file_name(view)}.{number:06d}.empty.{form.ending}"
            async with files.writing(f"{job.id}/{name}", form.content_type) as file:
                await form.sheet(file).finish()
            found[number].append(Written(name, compiled.resource, 0, file.size, (compiled.resource,)))
    return Exported(tuple(tuple(files_of) for files_of in found), ctx.clock())


VIEW_EXPORT = Kind(plan, work, _result, told, about, apart=True)
