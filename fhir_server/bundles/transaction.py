"""transaction: all entries of a Bundle, or none (https://hl7.org/fhir/R4/http.html#transaction).

What the entries mean is looked up, every resource is checked with its links replaced, and all changes go into one commit. If somebody else
got in between (claims, versions) the whole is looked up again. Reads come last, from the committed state.
"""

from collections.abc import Sequence

from fhir_server import idempotency
from fhir_server.access.refusals import NotGranted
from fhir_server.bundles import answers
from fhir_server.bundles.changes import Changes
from fhir_server.bundles.problems import Problems, located
from fhir_server.bundles.resolve import Resolver
from fhir_server.bundles.shell import Entry, Shell
from fhir_server.bundles.steps import ORDER, Step, refuse_overlap, steps
from fhir_server.contention import repeated
from fhir_server.context import Context
from fhir_server.idempotency import Ticket
from fhir_server.interactions.write import refusal, write
from fhir_server.messages import Answered, FhirRequest, FhirResult, Identity
from fhir_server.perform import answer
from fhir_server.rest.prefer import preferences
from resources.outcomes import FhirError
from resources.store import ANY, Change, Conflict, Written

RACES = ("claim", "version", "missing", "deleted", "exists")
"""Conflicts after which a transaction looks again, unless the client itself set the condition that failed."""


async def transaction(ctx: Context, who: Identity, request: FhirRequest, shell: Shell) -> FhirResult:
    """200 with a transaction-response whose entries are in the order of the request.

    Raises FhirError with every problem found, its expressions below `Bundle.entry[n]`; nothing is written then.
    """
    request = request.having(headers={**request.headers, "prefer": answers.preferred(request)})
    wrong = Problems()
    todo = steps(ctx, who, shell.entries, wrong)

    async def carry_out(ticket: Ticket | None) -> FhirResult:
        return await repeated(lambda: _attempt(ctx, who, request, todo, Problems(wrong), ticket), RACES, "transaction")

    result = await idempotency.once(ctx, who, request, carry_out)
    return await _with_reads(ctx, who, request, todo, result)


async def _attempt(
    ctx: Context, who: Identity, request: FhirRequest, todo: list[Step], problems: Problems, ticket: Ticket | None
) -> FhirResult:
    """Looks up, checks, commits. Raises Conflict where somebody else got in between, FhirError where it cannot be done.

    What is wrong with one entry does not keep the others from being checked: the caller hears of everything at once.
    """
    for step in todo:
        step.begin()
    resolver = Resolver(ctx, todo, problems)
    await resolver.identities()
    refuse_overlap(todo, problems)
    await resolver.references()
    echo = preferences(request.headers).answer == "representation"
    planned = await Changes(ctx, resolver.links, problems, echo=echo).make(sorted(todo, key=lambda step: ORDER[step.kind]))
    problems.check()
    return await _commit(ctx, who, request, todo, planned, ticket)


async def _commit(
    ctx: Context, who: Identity, request: FhirRequest, todo: list[Step], planned: list[tuple[Step, Change]], ticket: Ticket | None
) -> FhirResult:
    changes = [change for _, change in planned]
    claims = [step.claim for step in todo if step.claim is not None and step.changes]

    def answered(written: Sequence[Written]) -> FhirResult:
        by_entry: dict[int, Written] = {}
        for (step, _), done in zip(planned, written, strict=True):
            by_entry.setdefault(step.entry.number, done)
        return _answer(request, todo, by_entry)

    receipt = idempotency.receipt(ticket, answered)
    found = [version for step in todo if not step.changes for version in step.matches]
    replaced = [version for step in todo if step.changes for version in step.matches]
    try:
        written = await write(
            ctx,
            who,
            request,
            changes,
            interaction="transaction",
            claims=claims,
            receipt=receipt,
            through=("receipt", *RACES),
            found=found,
            replaced=replaced,
        )
    except NotGranted as refused:
        step, _ = planned[refused.index]
        raise FhirError(
            refused.status, [located(step.entry, issue, "resource") for issue in refused.issues], refused.headers
        ) from None
    except Conflict as clash:
        if clash.reason not in ("claim", "receipt"):
            _refuse_own_condition(clash, *planned[clash.index])
        raise
    return answered(written)


def _refuse_own_condition(clash: Conflict, step: Step, change: Change) -> None:
    """Raises FhirError 412 where the condition that failed is the client's own (ifMatch, ifNoneMatch): trying again cannot help."""
    if step.expect == ANY or step.kind == "create":
        return
    failure = refusal(clash, change)
    place = "request.ifMatch" if step.expect > 0 else "request.ifNoneMatch"
    raise FhirError(failure.status, [located(step.entry, issue, place) for issue in failure.issues])


def _answer(request: FhirRequest, todo: list[Step], written: dict[int, Written]) -> FhirResult:
    """The response; entries that read have no piece yet."""
    wanted = preferences(request.headers).answer
    pieces = [_piece(step, written, wanted) for step in todo]
    touched = tuple(f"{done.version.type}/{done.version.id}" for done in written.values())
    return FhirResult(200, answers.bundle("transaction-response", pieces), touched=touched, answered=_answered(todo, written))


def _answered(todo: list[Step], written: dict[int, Written]) -> tuple[Answered, ...]:
    """What was written (a patch brings a part only of what it makes), and what was found and left as it is."""
    kinds = {step.entry.number: step.kind for step in todo}
    done = [(each.version, kinds[number] != "patch") for number, each in written.items()]
    found = [(version, False) for step in todo if not step.changes and step.twin is None for version in step.matches]
    return tuple(Answered(version.type, version.id, version.version, own) for version, own in (*done, *found))


def _piece(step: Step, written: dict[int, Written], wanted: str) -> bytes:
    if step.kind == "read":
        return b""
    done = written.get(step.twin.entry.number if step.twin else step.entry.number)
    if step.kind == "delete":
        if done is None:
            return answers.entry(204, "", None, None, b"", b"")
        return answers.of_change(204, done.version, wanted)
    if done is None:
        return answers.of_change(200, step.matches[0], wanted)
    return answers.of_change(201 if done.created and step.twin is None else 200, done.version, wanted)


async def _with_reads(ctx: Context, who: Identity, request: FhirRequest, todo: list[Step], result: FhirResult) -> FhirResult:
    """The response with what its GET and HEAD entries read, from the state after the commit."""
    body = list(result.body)
    for place, step in enumerate(todo):
        if step.kind == "read":
            body[2 * place + 1] = await _read(ctx, who, request, step.entry)
    result.body = tuple(body)
    return result


async def _read(ctx: Context, who: Identity, request: FhirRequest, entry: Entry) -> bytes:
    asked = FhirRequest(
        entry.method, entry.path, entry.query, headers=entry.headers, base=request.base, trail=request.trail.of_entry()
    )
    try:
        return answers.of_result(asked, await answer(ctx, who, asked))
    except FhirError as failure:
        return answers.of_failure(FhirError(failure.status, [located(entry, issue, "request.url") for issue in failure.issues]))
