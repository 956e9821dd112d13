"""What is told of an import (https://github.com/smart-on-fhir/bulk-import/blob/master/import.md#response---complete-status)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from fhir_server.context import Context
from fhir_server.importing.asked import Asked
from fhir_server.importing.part import Place
from fhir_server.jobs.job import Job, Part, Problem
from fhir_server.jobs.work import Told, done_of
from fhir_server.messages import FhirRequest
from resources.instants import instant_text

KIND = "import"


class Came(msgspec.Struct, frozen=True):
    """What came of an input: lines written, lines that were there as they are, wrong ones, and the file that tells of these ("": none).
    `problem`: why it could not be read to its end (None: it was), the first of `problems` of its parts."""

    written: int
    same: int
    wrong: int
    report: str = ""
    problem: Problem | None = None
    problems: int = 0


class Whole(msgspec.Struct, frozen=True):
    """What came of an import: of each input, in order, and the instant at which it was all done, microseconds since the epoch."""

    inputs: tuple[Came, ...]
    instant: int


def told(ctx: Context, request: FhirRequest, job: Job, parts: Sequence[Part]) -> Told:
    """What came of an import that is done, or how far it has come."""
    return Told(_manifest(request, job) if job.state == "done" else None, _progress(job, parts))


def _manifest(request: FhirRequest, job: Job) -> dict[str, Any]:
    """Of each input how many resources were imported (those that were there already, as they are, among them) and how many were not."""
    asked, whole = msgspec.json.decode(job.asked, type=Asked), msgspec.json.decode(job.result, type=Whole)
    output, failed = list[dict[str, Any]](), list[dict[str, Any]]()
    for input, came in zip(asked.inputs, whole.inputs, strict=True):
        told = {"type": "OperationOutcome", "inputUrl": input.url}
        extension = {"written": came.written, "unchanged": came.same}
        output.append({**told, "count": came.written + came.same, "extension": extension})
        if came.report:
            failed.append({**told, "count": came.wrong + came.problems, "url": f"{request.base}/$job/{job.id}/{came.report}"})
    return {"transactionTime": instant_text(whole.instant), "request": job.request, "output": output, "error": failed}


def _progress(job: Job, parts: Sequence[Part]) -> str:
    lines = sum((msgspec.json.decode(part.place, type=Place | None) or Place()).line for part in parts)
    if job.parts and len(parts) + 1 == job.parts and all(part.done for part in parts):
        return f"all inputs read, {lines} lines, being indexed"
    return done_of(job, parts) + (f", {lines} lines" if job.parts else "")


def about(job: Job, parts: Sequence[Part], name: str) -> Sequence[str] | None:
    """No types of a report of wrong lines, if there is one of this name: it tells of no document but those that its owner gave."""
    reports = {each.report for each in msgspec.json.decode(job.result, type=Whole).inputs} if job.state == "done" else {""}
    return () if name and name in reports else None
