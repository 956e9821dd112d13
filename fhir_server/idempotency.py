"""`Idempotency-Key`: a POST or PATCH that is sent twice is carried out once.

The header follows https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. The answer is kept in the very commit of
the write, so that there is never one without the other, for `FHIR_IDEMPOTENCY_TTL` seconds:

| second request | answer |
|---|---|
| same key, same method, URL and body | the first answer again (status, Location, ETag, body), with `Idempotency-Replayed: true` |
| same key, another method, URL or body | 422 |
| at the same time as the first | one is carried out, both get its answer |
| the same, but what the first one told of (a patched document, one that a conditional create found) is hidden from the caller now | 404 |
| after the first was refused (4xx, 5xx) | carried out: nothing was written |
| after a 503 that says it is not certain whether the change was kept | the first answer if it was kept, else carried out |
| for a batch | 400: a batch is not atomic, so there is no one moment at which its answer could be kept; use a transaction |

A key belongs to the caller, with what the access token allows: two callers may use the same one.
"""

import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import msgspec

from fhir_server.access.views import still_seen, stored
from fhir_server.context import Context
from fhir_server.messages import Answered, FhirRequest, FhirResult, Identity
from resources.outcomes import bad_request, conflict, error, not_found
from resources.store import Conflict, Receipt, Version, Written

HEADER = "idempotency-key"
REPLAYED = "Idempotency-Replayed"
_LONGEST = 255

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(FhirResult).decode


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request's key. `receipt` makes what goes into the commit."""

    key: bytes
    digest: bytes
    expires: int

    def receipt(self, answer: Callable[[Sequence[Written]], FhirResult]) -> Receipt:
        """The receipt of a commit whose answer is `answer` of what the commit wrote."""
        return Receipt(self.key, self.digest, lambda written: zlib.compress(_encode(answer(written)), 1), self.expires)


def receipt(ticket: Ticket | None, answer: Callable[[Sequence[Written]], FhirResult]) -> Receipt | None:
    """The receipt for a commit, None where the request has no key."""
    return ticket.receipt(answer) if ticket else None


async def once(
    ctx: Context, who: Identity, request: FhirRequest, carry_out: Callable[[Ticket | None], Awaitable[FhirResult]]
) -> FhirResult:
    """The answer of `carry_out`, which commits with the ticket's receipt; or the kept answer if this key was used before.

    Raises FhirError 400 for a key that is none, 422 for a key that was used for another request, and whatever `carry_out` raises.
    """
    ticket = _ticket(ctx, who, request)
    if ticket is None:
        return await carry_out(None)
    kept = await ctx.store.receipt(ticket.key)
    if kept is None:
        try:
            return await carry_out(ticket)
        except Conflict as clash:
            if clash.reason != "receipt":
                raise
        kept = await ctx.store.receipt(ticket.key)
        if kept is None:
            raise conflict("A request with the same Idempotency-Key was answered a moment ago; repeat the request")
    return await _again(ctx, ticket, kept)


def _ticket(ctx: Context, who: Identity, request: FhirRequest) -> Ticket | None:
    text = request.headers.get(HEADER)
    if text is None:
        return None
    if not text.strip() or len(text) > _LONGEST or not text.isprintable():
        raise bad_request(f"Idempotency-Key has to have 1 to {_LONGEST} printable characters", code="value")
    # A token that allows less must not be given what one of the same user and client was answered.
    mark = ctx.decision.mark.hex() if ctx.decision is not None else ""
    owner = "\0".join((who.subject, who.client, mark, text))
    url = f"{request.method} {request.path}?{request.query}\0"
    return Ticket(
        blake2b(owner.encode("utf-8", "surrogatepass"), digest_size=32).digest(),
        blake2b(url.encode("utf-8", "surrogatepass") + request.body, digest_size=32).digest(),
        ctx.clock() + ctx.settings.idempotency_ttl * 1_000_000,
    )


async def _again(ctx: Context, ticket: Ticket, kept: Receipt) -> FhirResult:
    """The kept answer. As nothing is written, `fhir_server/perform.py` records that it was read."""
    if kept.digest != ticket.digest:
        raise error(
            422, "conflict", "This Idempotency-Key was used before for another request (method, URL or body differ); take a new key"
        )
    if callable(kept.answer):
        raise TypeError("a kept receipt holds bytes")
    result = _decode(zlib.decompress(kept.answer))
    told = [await _told(ctx, each) for each in result.answered]
    return replace(result, headers={**result.headers, REPLAYED: "true"}, told=[version for version in told if version is not None])


async def _told(ctx: Context, answered: Answered) -> Version | None:
    """What is told of again. Raises FhirError 404 where the caller may not see it any more: a patient may have denied it meanwhile. What
    the caller brought tells nothing: who may write only is answered as well."""
    type, id, number, own = answered
    if own:
        return await stored(ctx).read_version(type, id, number)
    version = await still_seen(ctx, type, id, number)
    if version is None:
        raise not_found(f"{type}/{id} does not exist")
    return version
