"""Exports as a kind of jobs (https://hl7.org/fhir/uv/bulkdata/STU2/export.html)."""

from collections.abc import Sequence
from typing import Any

from fhir_server.context import Context
from fhir_server.exporting.manifest import Exported, about, pages_of, told
from fhir_server.exporting.part import work
from fhir_server.exporting.plan import plan
from fhir_server.files.contract import Files
from fhir_server.jobs.job import Job, Part
from fhir_server.jobs.work import Kind


async def _result(ctx: Context, files: Files, job: Job, parts: Sequence[Part]) -> Any:
    return Exported(pages_of([part.result for part in parts]))


EXPORT = Kind(plan, work, _result, told, about)
