"""batch, and the way to transaction: a Bundle at the base URL (https://hl7.org/fhir/R4/http.html#transaction).

The entries of a batch are carried out each for itself, in the order deletions, creations, updates and patches, reads; a failure stays in
its entry. Entries of one kind that address different resources go a few at a time, so that they share commits.
"""

import asyncio
from collections.abc import Iterator

from fhir_server import idempotency
from fhir_server.bundles import answers
from fhir_server.bundles.problems import located
from fhir_server.bundles.shell import Entry, Shell, split
from fhir_server.bundles.transaction import transaction
from fhir_server.context import Context
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.perform import answer
from resources.outcomes import FhirError, bad_request

TOGETHER = 16
"""Entries of a batch under way at a time."""

_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}


async def bundle(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """POST [base]: 200 with a batch-response or transaction-response. Raises FhirError: 400 for other bodies, 413 for too many entries,
    429 for more of them than the caller may ask for at a time."""
    shell = await split(request.body, request.base, ctx.settings.max_bundle_entries)
    await ctx.limits.request(who, len(shell.entries) - 1)  # the Bundle itself was counted when it came
    if shell.type == "transaction":
        request.trail.interaction = "transaction"
        return await transaction(ctx, who, request, shell)
    if shell.type == "batch":
        return await _batch(ctx, who, request, shell)
    text = f"A Bundle of type {shell.type or '(none)'} cannot be carried out at the base URL, only batch and transaction"
    hint = ". To keep it as a document, POST it to Bundle" if shell.type else ""
    raise bad_request(text + hint, "Bundle.type", "not-supported")


async def _batch(ctx: Context, who: Identity, request: FhirRequest, shell: Shell) -> FhirResult:
    if idempotency.HEADER in request.headers:
        raise bad_request(
            "Idempotency-Key is not possible for a batch, which is not carried out at one moment; send a transaction, or single requests",
            code="not-supported",
        )
    prefer = answers.preferred(request)
    pieces = [b""] * len(shell.entries)
    for group in _groups(shell.entries):
        done = await asyncio.gather(*(_carry_out(ctx, who, request, entry, prefer) for entry in group))
        for entry, piece in zip(group, done, strict=True):
            pieces[entry.number] = piece
        await asyncio.sleep(0)
    return FhirResult(200, answers.bundle("batch-response", pieces))


def _groups(entries: tuple[Entry, ...]) -> Iterator[list[Entry]]:
    """Entries to carry out together: of one kind, none of them for the same address as another."""
    group: list[Entry] = []
    kind = 0
    for entry in sorted(entries, key=lambda entry: _ORDER.get(entry.method, 0)):
        own = _ORDER.get(entry.method, 0)
        same = own == 2 and any(other.path == entry.path for other in group)
        if group and (own != kind or same or len(group) == TOGETHER):
            yield group
            group = []
        group.append(entry)
        kind = own
    if group:
        yield group


async def _carry_out(ctx: Context, who: Identity, request: FhirRequest, entry: Entry, prefer: str) -> bytes:
    """One entry's response. Never raises FhirError: what goes wrong is the entry's answer."""
    headers = {**entry.headers, "prefer": prefer, "x-request-id": request.headers.get("x-request-id", "")}
    asked = FhirRequest(entry.method, entry.path, entry.query, entry.body, headers, request.base, trail=request.trail.of_entry())
    try:
        if entry.fault is not None:
            raise entry.fault
        if not entry.path and entry.method == "POST":
            raise bad_request("A batch cannot contain another batch or transaction", code="not-supported")
        return answers.of_result(asked, await answer(ctx, who, asked))
    except FhirError as failure:
        return answers.of_failure(FhirError(failure.status, [located(entry, issue, "request.url") for issue in failure.issues]))
