"""The one caller of `store.commit` that changes resources: every write carries its AuditEvent and its conflicts become answers.

(`fhir_server/perform.py` commits the AuditEvents of what writes nothing.)
"""

import asyncio
import logging
from collections.abc import Collection, Sequence

from fhir_server.access.types import BINARY
from fhir_server.access.views import stood_for, stored
from fhir_server.context import Context
from fhir_server.interactions.references import check_references
from fhir_server.messages import FhirRequest, Identity
from fhir_server.rest.conditional import if_match
from resources.outcomes import FhirError, conflict, precondition_failed
from resources.store import ABSENT, ANY, Change, Claim, Conflict, Key, Receipt, Version, Written

log = logging.getLogger(__name__)

PORTION = 200
"""Documents that are read at a time of those that a write replaces (about 5 ms)."""


async def write(
    ctx: Context,
    who: Identity,
    request: FhirRequest,
    changes: Sequence[Change],
    *,
    interaction: str,
    claims: Sequence[Claim] = (),
    receipt: Receipt | None = None,
    through: Collection[str] = ("claim", "receipt"),
    found: Sequence[Version] = (),
    replaced: Sequence[Version] = (),
) -> list[Written]:
    """Commit the changes with one AuditEvent for all of them (or several, where they are many); one Written a change, in order.

    `interaction` is a code of http://hl7.org/fhir/restful-interaction (create, update, patch, delete, transaction). `found` are
    versions that the answer tells of though they do not change, `replaced` those that the changes replace, as far as the caller has read
    them. Whether the caller may do all this was asked before (`fhir_server/permission.py`).

    Raises FhirError: 412 or 409 where a precondition failed, 422 for a reference to nothing where the settings ask for that check.
    `Conflict` itself comes through for the reasons in `through`: whoever gave a claim or a receipt, or can repeat the change on what
    is there now, knows how to go on.
    """
    if ctx.settings.reference_existence == "on":
        await check_references(ctx, request.base, changes)
    touched = [*(f"{change.type}/{change.id}" for change in changes), *(f"{version.type}/{version.id}" for version in found)]
    events = ctx.audit.success(ctx.clock(), who, request, interaction, touched, await _bodies(ctx, changes, found, replaced))
    try:
        written = await ctx.store.commit(changes, events=events, claims=claims, receipt=receipt)
    except Conflict as clash:
        if clash.reason in through:
            raise
        raise refusal(clash, changes[clash.index]) from None
    request.trail.recorded = True
    if ctx.feed is not None:
        ctx.feed.wrote({change.type for change in changes})
    if any(change.type == "SearchParameter" for change in changes):
        await _define(ctx)
    return written


async def _bodies(ctx: Context, changes: Sequence[Change], found: Sequence[Version], replaced: Sequence[Version]) -> list[bytes]:
    """The documents whose patients the AuditEvent names: what is written, what is told of, and what was there of what is changed or
    deleted: a document that becomes another patient's leaves the record of the first."""
    known = {(version.type, version.id) for version in replaced}
    others = [change for change in changes if change.expect != ABSENT and (change.type, change.id) not in known]
    before = await _current(ctx, [Key(change.type, change.id) for change in others])
    # whole, since `id` and `meta` may stand behind all others, and escapes are read in whole documents only
    bodies = [(change.type, change.draft.stamp(0, "")) for change in changes if change.draft is not None]
    bodies += [(each.type, each.body) for each in (*found, *replaced, *before) if each is not None and each.body is not None]
    return [*(body for _, body in bodies), *await stood_for(ctx, [body for type, body in bodies if type == BINARY])]


async def _current(ctx: Context, keys: Sequence[Key]) -> list[Version | None]:
    """What is there now, read in portions, so that others have their turn beside a large transaction."""
    store, versions = stored(ctx), list[Version | None]()
    for start in range(0, len(keys), PORTION):
        versions += await store.read_many(keys[start : start + PORTION])
        if start + PORTION < len(keys):
            await asyncio.sleep(0)
    return versions


async def _define(ctx: Context) -> None:
    """Search by what was stored from now on. It is stored: where this fails, the answer says so all the same, and the next round of
    `CustomParameters` takes it in."""
    try:
        await ctx.custom.refresh()
    except Exception as failure:
        log.warning("stored search parameters cannot be taken in now", exc_info=failure)


async def expected(ctx: Context, request: FhirRequest) -> int:
    """`Change.expect` for a write of `request.type`/`request.id` from its If-Match and If-None-Match headers.

    `If-Match: *` means the version that is current now, `If-None-Match: *` that there must be none. Raises FhirError 400 for a
    header that cannot be read, 412 where `If-Match: *` finds nothing.
    """
    headers = request.headers
    if "if-match" not in headers:
        return ABSENT if headers.get("if-none-match", "").strip() == "*" else ANY
    number = if_match(headers)
    if number is not None:
        return number
    current = await ctx.store.read(request.type, request.id)
    if current is None or current.body is None:
        raise precondition_failed(f"{request.type}/{request.id} does not exist, but If-Match asks that it does", "not-found")
    return current.version


def refusal(clash: Conflict, change: Change) -> FhirError:
    """What a failed precondition means to the caller (https://hl7.org/fhir/R4/http.html#concurrency)."""
    name = f"{change.type}/{change.id}"
    if clash.reason == "exists":
        if change.method == "POST":
            return conflict(f"{name} exists already")
        return precondition_failed(f"{name} exists already, in version {clash.current}; the request asks that it does not")
    if clash.reason == "version":
        return precondition_failed(
            f"{name} is in version {clash.current}, not {change.expect}; read it again and repeat the change on what it is now"
        )
    state = "was deleted" if clash.reason == "deleted" else "does not exist"
    return precondition_failed(f"{name} {state}, so version {change.expect} of it cannot be changed", "not-found")
