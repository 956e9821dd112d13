"""$job: what has become of a job, its files, and its end (https://hl7.org/fhir/uv/bulkdata/STU2/export.html#bulk-data-status-request).

A job that is somebody else's is as one that never was.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec

from fhir_server.access.refusals import insufficient
from fhir_server.access.views import stored
from fhir_server.context import Context
from fhir_server.exporting.asked import NDJSON, PARQUET
from fhir_server.exporting.deidentified.binding import check_job
from fhir_server.exporting.writing.output import ENDINGS
from fhir_server.files.contract import FileMissing
from fhir_server.jobs.board import Board, Kept, Lost
from fhir_server.jobs.job import Job, Part
from fhir_server.jobs.starting import owner_of
from fhir_server.jobs.wiring import KINDS
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.rest.conditional import http_date
from fhir_server.views.writers.formats import MEDIA_TYPES
from resources.outcomes import Issue, error, not_found, operation_outcome

POLL = 2
"""Seconds after which it is worth asking again."""

AT_ONCE = 500_000
"""Microseconds for which a job is under way at least, as it is told."""

RESULT = "result"
"""In place of a file's name: the result of a job of a kind whose results have an address of their own."""

_TYPES = {"csv": MEDIA_TYPES["csv"], "json": MEDIA_TYPES["json"], "arrow": MEDIA_TYPES["arrow"]} | {
    ending: format for format, ending in ENDINGS.items() if format in (NDJSON, PARQUET)
}


async def status(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """202 while it is under way, 200 with its result or 303 to where that is, or what it failed for. Raises FhirError 404, 429 for who
    asks too often."""
    job = (await _mine(ctx, who, request)).job
    await ctx.limits.poll(job.id)
    kind = KINDS[job.kind]
    if kind.apart and _told_as_ended(ctx, job):
        return FhirResult(303, headers={"Location": f"{request.base}/$job/{job.id}/{RESULT}"})
    if job.problem is not None:
        raise error(job.problem.status, job.problem.code, job.problem.text)
    told = kind.told(ctx, request, job, await _parts(ctx, job))
    body = msgspec.json.encode(told.body) if told.body is not None else b""
    expires = {"Expires": http_date(job.expires // 1_000_000)} if body else {}
    if _told_as_ended(ctx, job) and not kind.apart:
        return FhirResult(200, (body,), content_type="application/json", headers=expires)
    waits = job.state == "running" and not job.parts and await _waits(ctx, job)
    progress = {"X-Progress": "waiting for its turn" if waits else told.progress, "Retry-After": str(POLL)}
    if body and job.state == "running":
        return FhirResult(202, (body,), content_type="application/json", headers=progress | expires)
    return FhirResult(202, headers=progress)


def _told_as_ended(ctx: Context, job: Job) -> bool:
    """Whether it has ended, as far as it is told: whoever asks at once expects that it takes its time."""
    return job.problem is not None or (job.state == "done" and ctx.clock() - job.created >= AT_ONCE)


async def _result(ctx: Context, request: FhirRequest, job: Job) -> FhirResult:
    """200 with the result of a job whose kind has it at an address of its own, or what it failed for. Raises FhirError 404."""
    if job.problem is not None:
        raise error(job.problem.status, job.problem.code, job.problem.text)
    if job.state != "done":
        raise not_found("The job is under way: it has no result yet")
    told = KINDS[job.kind].told(ctx, request, job, ())
    return FhirResult(200, (msgspec.json.encode(told.body),), headers={"Expires": http_date(job.expires // 1_000_000)})


async def cancel(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """202: it is called off, and its files are gone. Raises FhirError 404."""
    kept = await _mine(ctx, who, request)
    try:
        await Board(stored(ctx)).close(kept, state="cancelled", now=ctx.clock())
    except Lost:  # it ended in this moment: then it is deleted as one that has
        return await cancel(ctx, who, request)
    await ctx.files.delete(f"{kept.job.id}")
    issue = Issue("information", "informational", "The job is called off, and its files are deleted")
    return FhirResult(202, (operation_outcome([issue]),))


async def file(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """200 with a file of the job that its manifest names, or 307 to where the storage gives it out. Raises FhirError 404, 403 for a token
    that may not see all that can be in it."""
    job = (await _mine(ctx, who, request)).job
    check_job(ctx.settings, who, job)
    if request.version == RESULT and KINDS[job.kind].apart:
        return await _result(ctx, request, job)
    name = f"{job.id}/{request.version}"
    about = KINDS[job.kind].about(job, await _parts(ctx, job), request.version)
    size = await ctx.files.size(name) if about is not None else None
    if about is None or size is None:
        raise not_found(f"The job has no file {request.version[:64]}")
    _check_types(ctx, who, job, about)
    link = await ctx.files.link(name, ctx.settings.files_link_seconds)
    if link is not None:
        return FhirResult(307, headers={"Location": link, "Cache-Control": "no-store"})
    format = _TYPES[request.version.rpartition(".")[2]]
    pieces = ctx.files.reading(name)
    if request.method != "HEAD":
        pieces = await _begun(pieces)
    return FhirResult(200, content_type=format, headers={"Content-Length": str(size), "Accept-Ranges": "none"}, stream=pieces)


async def _begun(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The pieces of a file, the first of which was read: what was deleted in this moment, or cannot be read, is told by the status. Raises
    FhirError 404, FilesUnavailable."""
    try:
        first = await anext(pieces, b"")
    except FileMissing:
        raise not_found("The job has this file no more") from None

    async def all_of() -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            yield first
            async for piece in pieces:
                yield piece

    return all_of()


def _check_types(ctx: Context, who: Identity, job: Job, about: Sequence[str]) -> None:
    """Raises FhirError 403 unless the caller's token allows as much of these types as the one that the job was begun with: that is so where
    it says the same, or allows all of them."""
    decision = ctx.decision
    if decision is None or decision.search is None:
        return
    same = job.access is not None and who.access is not None and _says(job) == (who.access.scopes, who.access.patient)
    for type in about:
        if not decision.search.whole(type) and not (same and decision.covers("s", type)):
            raise insufficient(decision, "rs", type)


def _says(job: Job) -> tuple[str, str] | None:
    return (job.access.scopes, job.access.patient) if job.access is not None else None


async def _parts(ctx: Context, job: Job) -> list[Part]:
    """The parts of a job under way that do its work, in order; none of one that has ended."""
    if job.state != "running":
        return []
    return [held.part for held in await Board(stored(ctx)).parts(job.id) if 0 < held.part.number < max(job.parts, 1)]


async def _waits(ctx: Context, job: Job) -> bool:
    """Whether nobody has begun to plan it."""
    planning = await Board(stored(ctx)).part(job.id, 0)
    return planning is not None and not planning.part.holder


async def _mine(ctx: Context, who: Identity, request: FhirRequest) -> Kept:
    kept = await Board(stored(ctx)).job(request.id)
    if kept is None or kept.job.owner != owner_of(who) or kept.job.gone(ctx.clock()):
        raise not_found("There is no such job, or not any more")
    return kept
