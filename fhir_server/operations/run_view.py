"""ViewDefinition/$run: rows of a view as they are now (https://sql-on-fhir.org/ig/OperationDefinition-ViewDefinitionRun.html).

The specification calls it $viewdefinition-run too, and has servers of R4 offer that for the whole system.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import perf_counter

from fhir_server.access.purposes import check_not_for_many
from fhir_server.context import Context
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.views.asked import read_asked
from fhir_server.views.recording import record_of
from fhir_server.views.running import Run, find_view, run_of, written
from fhir_server.views.writers.formats import MEDIA_TYPES, Writer, writer

DEFINITION = "http://sql-on-fhir.org/OperationDefinition/$viewdefinition-run"

AT_ONCE = 4
"""Runs of one client."""

FIRST = 1.0
"""Seconds for which the status waits for the first rows."""


async def run_view(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """200 with the rows, sent as they are made. Raises FhirError 400 for parameters, 404 for a view that is not there, 403 where the caller
    may see nothing of its type, 422 for a ViewDefinition that cannot be run and for a document that it does not go with, if that is
    one of the first, 429 where the client has too many runs under way."""
    check_not_for_many(request.trail.purpose)
    seat = ctx.limits.begin(who, "runs of views", AT_ONCE)
    try:
        result = await _run(ctx, who, request)
        assert result.stream is not None
        result.stream = _seated(ctx, seat, result.stream)
        await anext(result.stream)  # it has begun: whoever closes it now leaves the seat
    except BaseException:
        ctx.limits.leave(seat)
        raise
    return result


async def _seated(ctx: Context, seat: str, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """An empty piece, then the pieces."""
    try:
        async with aclosing(pieces):
            yield b""
            async for piece in pieces:
                yield piece
    finally:
        ctx.limits.leave(seat)


async def _run(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    asked = read_asked(request)
    view, stored = await find_view(ctx, request, asked)
    record = record_of(ctx, who, request, view, asked, stored)
    run = await run_of(ctx, who, request, view, asked, record)
    pieces = await _begun(run, writer(asked.format, view.columns, header=asked.header))
    await record.keep()
    request.trail.recorded = True
    headers = {"Content-Disposition": f'attachment; filename="{view.name or "view"}.{asked.format}"'}
    return FhirResult(200, content_type=MEDIA_TYPES[asked.format], headers=headers, stream=pieces)


async def _begun(run: Run, into: Writer) -> AsyncGenerator[bytes, None]:
    """The pieces, the first of which are made already: what is wrong with the first documents is told by the status. Where no row comes for
    a while the answer begins without: whether anybody still listens is known only then."""
    pieces, until = written(run, into), perf_counter() + FIRST
    first = [await anext(pieces)]
    while (piece := await anext(pieces, None)) is not None:
        first.append(piece)
        if piece or perf_counter() > until:
            break

    async def all_of() -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            for piece in first:
                if piece:
                    yield piece
            async for piece in pieces:
                if piece:
                    yield piece

    return all_of()
