"""The beginning of a job: kept, recorded, and answered with where to ask about it (https://hl7.org/fhir/R4/async.html)."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

from fhir_server.access.purposes import check_not_for_many
from fhir_server.access.views import stored
from fhir_server.context import Context
from fhir_server.jobs.board import Board, Lost
from fhir_server.jobs.job import Job, owner_tag
from fhir_server.jobs.work import raw
from fhir_server.messages import FhirRequest, FhirResult, Identity
from resources.outcomes import FhirError, Issue, error, operation_outcome

RETRY_AFTER = 60
"""Seconds after which a caller with too many jobs may ask again."""


MOST_TOLD = 16_000
"""Characters of the parameters in a body that the AuditEvent of a kick-off repeats."""


MOST_ASKED = 4_000_000
"""Bytes of what a job is asked for, as it is kept."""

ATTEMPTS = 50
"""Times that a job is begun while others of the same owner are."""


def owner_of(who: Identity) -> str:
    """Whose the caller's jobs are: a user's with one app, or a client's own. Names may be anything, where another server gives them."""
    return f"{quote(who.client, safe='')}/{quote(who.subject, safe='')}"


async def start(
    ctx: Context, who: Identity, request: FhirRequest, kind: str, asked: Any, told: Iterable[tuple[str, str]] = ()
) -> FhirResult:
    """202 with the address at which the job is told of. `told` are the parameters that came in the body, as they may be recorded. Raises
    FhirError 429 where the caller has too many jobs under way, 403 in an emergency."""
    check_not_for_many(request.trail.purpose)
    board, now, owner = Board(stored(ctx)), ctx.clock(), owner_of(who)
    url = f"{request.base}/{request.path}" + (f"?{request.query}" if request.query else "")
    expires = now + int(ctx.settings.jobs_kept * 3_600_000_000)
    job = Job(
        ctx.new_id(), kind, owner, url, raw(asked), now, expires, who.access, who.address, request.trail.purpose,
        request.method, request.path, request.query,
    )  # fmt: skip
    request.trail.job = f"$job/{job.id}"
    query = "&".join(part for part in (request.query, _bounded(told)) if part)
    events = ctx.audit.success(now, who, request.having(query=query), "operation", ())
    if len(bytes(job.asked)) > MOST_ASKED:
        raise error(413, "too-long", f"A kick-off may ask for what {MOST_ASKED} bytes say; ask for less at a time")
    await _begin(ctx, board, job, events)
    request.trail.recorded = True
    if ctx.runner is not None:
        ctx.runner.wake(job.id)
    issue = Issue("information", "informational", f"The job has begun; ask about it at {request.base}/$job/{job.id}")
    return FhirResult(202, (operation_outcome([issue]),), headers={"Content-Location": f"{request.base}/$job/{job.id}"})


async def _begin(ctx: Context, board: Board, job: Job, events: Sequence[bytes]) -> None:
    """Keep the job, unless its owner has too many, however many are begun at the same moment: each commit follows one that was counted."""
    for _ in range(ATTEMPTS):
        count = await board.count(job.owner)
        kept = [each.job for each in await board.jobs(owner_tag(job.owner)) if not each.job.gone(job.created)]
        running = sum(each.state == "running" for each in kept)
        if running >= ctx.settings.jobs_at_once:
            raise _too_many(f"{running} jobs of this client are under way (FHIR_JOBS_AT_ONCE); wait for one to end, or DELETE one")
        if len(kept) >= ctx.settings.jobs_kept_at_once:
            raise _too_many(f"{len(kept)} jobs of this client are kept (FHIR_JOBS_KEPT_AT_ONCE); DELETE those whose files you have")
        with suppress(Lost):
            return await board.begin(job, events, count)
    raise _too_many("This client begins too many jobs at the same moment")


def _too_many(text: str) -> FhirError:
    return error(429, "throttled", text, **{"Retry-After": str(RETRY_AFTER)})


def _bounded(told: Iterable[tuple[str, str]]) -> str:
    """Parameters as a query string; where they are too long, how many are left out."""
    found, size, left = list[str](), 0, 0
    for pair in told:
        text = urlencode([pair])
        size += len(text) + 1
        if size > MOST_TOLD:
            left += 1
        else:
            found.append(text)
    return "&".join(found + ([f"left-out={left}"] if left else []))
