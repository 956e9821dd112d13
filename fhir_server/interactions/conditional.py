"""Conditional create, update, patch and delete (https://hl7.org/fhir/R4/http.html#ccreate, #cond-update, #cdelete).

`find` is the one place where criteria become a match. It notes the store's position before it searches, and gives a claim to
commit with: of several writers with the same criteria one commits, the others get `Conflict("claim")` and search again, so that
criteria never make two resources.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from fhir_server import idempotency
from fhir_server.contention import repeated
from fhir_server.context import Context
from fhir_server.idempotency import Ticket
from fhir_server.interactions import patch as patching
from fhir_server.interactions.accept import Incoming
from fhir_server.interactions.answers import of_write
from fhir_server.interactions.write import write
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.permission import require
from fhir_server.rest.conditional import if_match
from fhir_server.rest.prefer import preferences
from fhir_server.searching.depending import is_late
from fhir_server.searching.into import searchable
from resources import documents
from resources.ids import valid_id
from resources.outcomes import (
    FhirError,
    Issue,
    bad_request,
    conflict,
    error,
    not_found,
    operation_outcome,
    precondition_failed,
    shown,
)
from resources.store import ABSENT, Change, Claim, Key, Version, Written
from search.parse import parse
from search.query import Parsed, Query, criteria_key

RACES = ("claim", "exists", "version", "missing", "deleted")
"""Conflicts after which a conditional write looks again."""


@dataclass(frozen=True, slots=True)
class Found:
    """What criteria led to: one live resource, or none; and the claim of a write that rests on it."""

    version: Version | None
    claim: Claim


def read_criteria(ctx: Context, type: str, criteria: str) -> Parsed:
    """Criteria (a query string) read as a search. Raises FhirError 400 where they are no search or select nothing in particular.

    Nothing of them is ever ignored, whatever the request prefers: they would mean other resources than the caller thinks. Raises
    FhirError 403 where the caller may not search for the type at all.
    """
    require(ctx.decision, "s", type)
    settings = ctx.settings
    try:
        parsed = parse(
            type, criteria, parameters=ctx.parameters, base_url=settings.bases, lenient=True, max_count=settings.max_count
        )
    except FhirError as wrong:  # the name of a parameter is no place in a resource
        raise FhirError(wrong.status, [replace(issue, expression=None) for issue in wrong.issues]) from None
    if parsed.ignored or not parsed.query.clauses:
        why = "; ".join(f"{name}: {reason}" for name, reason in parsed.ignored) or "they select nothing in particular"
        raise bad_request(
            f"The criteria for {type} cannot be used ({why}). Give search parameters, such as identifier=system|value"
        )
    return replace(parsed, query=replace(parsed.query, total="none", sort=(), cursor=None), includes=())


async def find(ctx: Context, type: str, criteria: str, *, without: Collection[str] = ()) -> Found:
    """The one live resource of `type` that matches `criteria`, or none.

    `without`: ids that do not count, because the same transaction deletes them. Raises FhirError 400 for criteria that cannot be
    used, 412 where several match, 503 where the search index is late.
    """
    position = await ctx.store.position()
    query = read_criteria(ctx, type, criteria).query
    matches = [v for v in await _matching(ctx, query, 2 + len(without), position) if v.id not in without]
    if len(matches) > 1:
        raise _several(type, criteria, matches)
    return Found(matches[0] if matches else None, Claim(criteria_key(query), position))


async def matching(ctx: Context, query: Query, most: int, position: int | None = None) -> list[Key]:
    """At most `most` resources that match, all that was written up to `position` (None: until now) taken into account.

    Raises FhirError 503 where the search index cannot be had to catch up: on what it holds, criteria might make a second resource.
    """
    await settled(ctx, query, position)
    query = await searchable(ctx, query)
    return (await ctx.index.search(replace(query, count=most))).keys


async def settled(ctx: Context, query: Query, position: int | None = None) -> None:
    """Wait until the index has what the criteria depend on. Raises FhirError 503 where it cannot be had to catch up."""
    if await is_late(ctx, [query], position=position):
        text = (
            "The search index has not caught up with the latest writes, so criteria cannot be relied on now; send the request again"
        )
        raise error(503, "transient", text, **{"Retry-After": "1"})


async def _matching(ctx: Context, query: Query, most: int, position: int) -> list[Version]:
    versions = await ctx.store.read_many(await matching(ctx, query, most, position))
    return [version for version in versions if version is not None and version.body is not None]


def _several(type: str, criteria: str, matches: list[Version]) -> FhirError:
    names = " and ".join(f"{v.type}/{v.id}" for v in matches[:2])
    text = f"The criteria {shown(criteria)} match several {type} resources, among them {names}; make them more exact"
    return precondition_failed(text, "multiple-matches")


async def create(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """POST [base]/[type] with If-None-Exist: 201 where nothing matches, 200 with what is there where one does, else 412."""
    criteria = request.headers["if-none-exist"].removeprefix("?").removeprefix(f"{request.type}?")
    incoming = Incoming(ctx, request.type, request.body)

    async def carry_out(ticket: Ticket | None) -> FhirResult:
        return await repeated(lambda: _create(ctx, who, request, criteria, incoming, ticket), RACES, (request.type, criteria))

    return await idempotency.once(ctx, who, request, carry_out)


async def _create(
    ctx: Context, who: Identity, request: FhirRequest, criteria: str, incoming: Incoming, ticket: Ticket | None
) -> FhirResult:
    found = await find(ctx, request.type, criteria)
    if found.version is not None:
        existing = of_write(request, Written(found.version, created=False))
        receipt = idempotency.receipt(ticket, lambda _: existing)
        await write(ctx, who, request, (), interaction="create", receipt=receipt, found=(found.version,))
        return existing
    id = ctx.new_id()
    accepted = await incoming.accept(id)
    change = Change(request.type, id, accepted.draft, ABSENT, "POST", accepted.entry)
    receipt = idempotency.receipt(ticket, lambda written: of_write(request, written[0], accepted.warnings))
    [written] = await write(ctx, who, request.having(id=id), [change], interaction="create", claims=[found.claim], receipt=receipt)
    return of_write(request, written, accepted.warnings)


async def update(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """PUT [base]/[type]?criteria: 201 where nothing matches, 200 where one does, else 412 (the table of #cond-update)."""
    wanted = if_match(request.headers)
    own, incoming = own_id(request.body), Incoming(ctx, request.type, request.body)
    return await repeated(lambda: _update(ctx, who, request, wanted, own, incoming), RACES, (request.type, request.query))


async def _update(
    ctx: Context, who: Identity, request: FhirRequest, wanted: int | None, own: str, incoming: Incoming
) -> FhirResult:
    found = await find(ctx, request.type, request.query)
    id, expect = await update_target(ctx, request.type, found.version, own)
    check_match(found.version, wanted)
    accepted = await incoming.accept(id)
    change = Change(request.type, id, accepted.draft, expect, "PUT", accepted.entry)
    [written] = await write(
        ctx,
        who,
        request.having(id=id),
        [change],
        interaction="update",
        claims=[found.claim],
        through=RACES,
        replaced=(found.version,) if found.version is not None else (),
    )
    return of_write(request, written, accepted.warnings)


async def update_target(ctx: Context, type: str, match: Version | None, own: str) -> tuple[str, int]:
    """(id, `Change.expect`) of a conditional update whose criteria led to `match` and whose body has the id `own` ("": none).

    Raises FhirError: 400 where the body names another resource than the criteria, 409 where nothing matches and the body's id is
    taken.
    """
    if match is not None:
        if own and own != match.id:
            raise bad_request(
                f"The body's id is {own}, but the criteria lead to {type}/{match.id}; leave the id out or correct it", "id"
            )
        return match.id, match.version
    if not own:
        return ctx.new_id(), ABSENT
    current = await ctx.store.read(type, own)
    if current is not None and current.body is not None:
        raise conflict(
            f"{type}/{own} exists but does not match the criteria; update it by its id, or leave the id out to make another"
        )
    return own, ABSENT


def check_match(match: Version | None, wanted: int | None) -> None:
    """Raises FhirError 412 where If-Match names another version (`wanted`) than the one that was found."""
    if wanted is not None and (match is None or match.version != wanted):
        there = f"{match.type}/{match.id} in version {match.version}" if match else "nothing"
        raise precondition_failed(f"The criteria lead to {there}, but If-Match asks for version {wanted}")


def own_id(body: bytes) -> str:
    """The id in a resource's bytes; "" if there is none, or none that could be an address (the checks say what is wrong then)."""
    try:
        raw = documents.members(body).get("id")
        own = documents.decode(b'{"id":%b}' % bytes(raw))["id"] if raw is not None else ""
    except ValueError:
        return ""
    return own if isinstance(own, str) and valid_id(own) else ""


async def patch(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """PATCH [base]/[type]?criteria: 200 where one matches, 404 where nothing does, 412 where several do."""
    change = patching.read_patch(request.body, request.headers.get("content-type", ""))
    wanted = if_match(request.headers)

    async def attempt(ticket: Ticket | None) -> FhirResult:
        found = await find(ctx, request.type, request.query)
        if found.version is None:
            raise not_found(f"No {request.type} matches the criteria {shown(request.query)}; there is nothing to patch")
        check_match(found.version, wanted)
        return await patching.commit(ctx, who, request.having(id=found.version.id), found.version, change, ticket)

    async def carry_out(ticket: Ticket | None) -> FhirResult:
        return await repeated(lambda: attempt(ticket), RACES, (request.type, request.query))

    return await idempotency.once(ctx, who, request, carry_out)


async def delete(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """DELETE [base]/[type]?criteria: what matches, in one commit; the same answer where nothing does. Raises FhirError 412 where
    more match than may be deleted at once (`FHIR_CONDITIONAL_DELETE`, `_count`)."""
    return await repeated(lambda: _delete(ctx, who, request), RACES, (request.type, request.query))


async def _delete(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    matches, claim = await deletable(ctx, request.type, request.query)
    if len(matches) < 2:
        check_match(matches[0] if matches else None, if_match(request.headers))
    elif "if-match" in request.headers:
        raise _several(request.type, request.query, matches)
    changes = [Change(v.type, v.id, None, v.version, "DELETE") for v in matches]
    claims = [claim] if changes else ()
    await write(ctx, who, request, changes, interaction="delete", claims=claims, through=RACES, replaced=matches)
    names = tuple(f"{v.type}/{v.id}" for v in matches)
    if len(matches) < 2 and preferences(request.headers).answer != "OperationOutcome":
        return FhirResult(204, touched=names)
    text = f"{len(matches)} {request.type} resources were deleted" + (f": {', '.join(names[:100])}" if names else "")
    return FhirResult(200, (operation_outcome([Issue("information", "informational", text)]),), touched=names)


async def deletable(ctx: Context, type: str, criteria: str, *, without: Collection[str] = ()) -> tuple[list[Version], Claim]:
    """The resources that a conditional delete with `criteria` deletes, and its claim.

    One at most unless `FHIR_CONDITIONAL_DELETE=multiple`; then as many as `_count` says, or all if they are no more than
    `FHIR_MAX_COUNT`. Raises FhirError 412 where more match, 503 where the search index is late.
    """
    position = await ctx.store.position()
    parsed = read_criteria(ctx, type, criteria)
    claim = Claim(criteria_key(parsed.query), position)
    if ctx.settings.conditional_delete == "single":
        matches = [v for v in await _matching(ctx, parsed.query, 2 + len(without), position) if v.id not in without]
        if len(matches) > 1:
            raise _several(type, criteria, matches)
        return matches, claim
    bounded = any(name == "_count" for name, _ in parsed.applied)
    most = max(parsed.query.count, 1) if bounded else ctx.settings.max_count
    matches = [v for v in await _matching(ctx, parsed.query, most + 1 + len(without), position) if v.id not in without]
    if len(matches) > most and not bounded:
        text = f"More than {most} {type} resources match the criteria {shown(criteria)}; delete them in portions with _count"
        raise error(412, "too-costly", text)
    return matches[:most], claim
