"""Carry out one interaction: refusals, handler, AuditEvent. The HTTP edge and a batch's entries both come through here."""

import logging
from collections.abc import Awaitable, Callable

from fhir_server.access.types import BINARY
from fhir_server.access.views import seen, stood_for
from fhir_server.audit import ACTIONS, NONE
from fhir_server.context import Context
from fhir_server.exporting.deidentified.binding import check_row
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.permission import check_entry, permitted
from fhir_server.rest.errors import as_fhir_error
from fhir_server.rest.routing import Route
from resources.outcomes import FhirError
from resources.store import StoreUnavailable

_log = logging.getLogger("fhir_server")

ReadBody = Callable[[], Awaitable[bytes]]


async def answer(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """Find the row for `request.method` and `request.path` and carry it out; for requests that did not come over HTTP.

    Raises FhirError, also where there is no such row, or one whose answer could be no entry of a Bundle.
    """
    try:
        route, *names = ctx.routes.find(request.method, request.path)
        check_entry(route)
    except FhirError as refusal:
        await record_refusal(ctx, who, None, request, refusal)
        raise
    type, id, version, operation = names
    return await perform(ctx, who, route, request.having(type=type, id=id, version=version, operation=operation))


async def perform(
    ctx: Context, who: Identity, route: Route[Context], request: FhirRequest, body: ReadBody | None = None
) -> FhirResult:
    """Carry out `route` for a request whose parts are filled in. `body` gives the request's body once it is wanted.

    The AuditEvent is durable before this returns, also that of a refused attempt. Raises FhirError only.
    """
    try:
        decision = ctx.decision or await ctx.deciding.decide(who, request)
        permitted(decision, who, route, request.type, request.operation)
        check_row(ctx.settings, who, route)
        if body is not None:
            request = request.having(body=await body())
        result = await route.handler(seen(ctx, decision, route.access), who, request)
        if not request.trail.recorded and route.interaction in ACTIONS:
            interaction = _recorded_as(route, request)
            bodies = [version.body for version in result.told if version.body is not None]
            if binaries := [version.body for version in result.told if version.type == BINARY and version.body is not None]:
                bodies += await stood_for(ctx, binaries)
            events = ctx.audit.success(ctx.clock(), who, request, interaction, _names(result, interaction), bodies)
            await ctx.store.commit((), events=events)
    except Exception as failure:
        refusal = as_fhir_error(failure, route.label, request.headers.get("x-request-id", ""))
        await record_refusal(ctx, who, route, request, refusal)
        raise refusal from None
    return result


async def record_refusal(
    ctx: Context, who: Identity, route: Route[Context] | None, request: FhirRequest, refusal: FhirError
) -> None:
    """Record an attempt that was refused. `route` is None for a request that leads to no interaction."""
    if route is not None and route.interaction not in ACTIONS:
        return
    code = refusal.issues[0].code
    interaction = NONE if route is None else _recorded_as(route, request)
    event = ctx.audit.failure(ctx.clock(), who, request, interaction, refusal.status, code)
    try:
        await ctx.store.commit((), events=(event,))
    except StoreUnavailable as failure:
        # The caller gets the refusal all the same: nothing was read or written, so nothing went unrecorded but the attempt.
        _log.error("refused attempt not recorded: %s", failure, extra={"interaction": interaction})


def _names(result: FhirResult, interaction: str) -> tuple[str, ...]:
    """The resources that the AuditEvent names; the one that was read with its version."""
    if interaction in ("read", "vread"):
        return (*result.touched, *(f"{v.type}/{v.id}/_history/{v.version}" for v in result.told))
    return tuple(dict.fromkeys((*result.touched, *(f"{v.type}/{v.id}" for v in result.told))))


def _recorded_as(route: Route[Context], request: FhirRequest) -> str:
    return request.trail.interaction or route.interaction
