"""The Context that a handler works with: its store and its index carry the caller's decision, so that no handler can forget it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from fhir_server.access.decision import Decision, Reach
from fhir_server.access.seen_index import SeenIndex
from fhir_server.access.seen_store import SeenStore
from fhir_server.context import Context
from resources.store import ResourceStore, Version
from search.index import Deferring, SearchIndex


def seen(ctx: Context, decision: Decision, letters: str) -> Context:
    """The Context for a handler that needs these letters of a scope ("": one that needs whatever its parts need).

    Where nothing is kept from the caller, `ctx` itself, for its parts together with the decision.
    """
    if decision.everything:
        return ctx if letters else replace(ctx, decision=decision)
    store = stored(ctx)
    index = ctx.index.behind if isinstance(ctx.index, SeenIndex) else ctx.index
    view = SeenStore(store, ctx.deciding.judge, decision, *_shown(decision, letters), ctx.new_id)
    found = index if decision.search is None else cast(SearchIndex, SeenIndex(index, decision.search))
    return replace(
        ctx,
        store=cast(ResourceStore, view),
        index=found,
        cursors=ctx.cursors.of(decision.mark),
        new_id=view.new_id,
        decision=decision,
    )


def readable(ctx: Context, version: Version) -> bool:
    """Whether the caller may read a version that a write has looked at (no deletion)."""
    return ctx.decision is None or ctx.deciding.judge.within(ctx.decision.read, version)


def findable(ctx: Context, version: Version) -> bool:
    """Whether a version (no deletion) is among those that the caller finds."""
    return ctx.decision is None or ctx.deciding.judge.within(ctx.decision.search, version)


async def still_seen(ctx: Context, type: str, id: str, version: int) -> Version | None:
    """A version if the caller may read it or find it now."""
    store = stored(ctx)
    if ctx.decision is None:
        return await store.read_version(type, id, version)
    reach = ctx.decision.any("rs")
    return await SeenStore(store, ctx.deciding.judge, ctx.decision, reach, reach, ctx.new_id).read_version(type, id, version)


def _shown(decision: Decision, letters: str) -> tuple[Reach | None, Reach | None]:
    """What can be reached by its id, and what among others. Who writes must look at what is to be changed, and shows none of it."""
    if letters in ("r", "s", "rs"):
        return decision.read if "r" in letters else decision.search, decision.search
    known = decision.any("rsud")
    return decision.read if "r" in letters else known, known


def stored(ctx: Context) -> ResourceStore:
    """The store without the caller's decision: for what the record of accesses must know, which no answer shows."""
    return ctx.store.behind if isinstance(ctx.store, SeenStore) else ctx.store


async def stood_for(ctx: Context, binaries: Iterable[bytes]) -> list[bytes]:
    """The documents that stand in for these Binaries (`securityContext`), beside Patients: whom they are about the Binaries are about too.
    For the record of accesses. Raises StoreUnavailable."""
    named = (ctx.deciding.judge.stand_in(body) for body in binaries)
    keys = list(dict.fromkeys(key for key in named if key is not None and key.type != "Patient"))
    found = await stored(ctx).read_many(keys) if keys else []
    return [version.body for version in found if version is not None and version.body is not None]


def deferring(ctx: Context) -> Deferring | None:
    """The index without the caller's decision, if documents may be written to it before they are indexed: it shows none of them."""
    index = ctx.index.behind if isinstance(ctx.index, SeenIndex) else ctx.index
    return index if isinstance(index, Deferring) else None


def whole(ctx: Context) -> Context:
    """The Context without the caller's decision: for an operation that shows of it what its own rules say, and for nothing else."""
    index = ctx.index.behind if isinstance(ctx.index, SeenIndex) else ctx.index
    return replace(ctx, store=stored(ctx), index=index, decision=None)
