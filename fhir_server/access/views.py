"""The Context that a handler works with: its store and its index carry the caller's decision, so that no handler can forget it."""

from dataclasses import replace
from typing import cast

from fhir_server.access.decision import Decision, Reach
from fhir_server.access.seen_index import SeenIndex
from fhir_server.access.seen_store import SeenStore
from fhir_server.context import Context
from resources.store import ResourceStore, Version
from search.index import SearchIndex


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


def _shown(decision: Decision, letters: str) -> tuple[Reach | None, Reach | None]:
    """What can be reached by its id, and what among others. Who writes must look at what is to be changed, and shows none of it."""
    if letters in ("r", "s", "rs"):
        return decision.read if "r" in letters else decision.search, decision.search
    known = decision.any("rsud")
    return decision.read if "r" in letters else known, known


def stored(ctx: Context) -> ResourceStore:
    """The store without the caller's decision: for what the record of accesses must know, which no answer shows."""
    return ctx.store.behind if isinstance(ctx.store, SeenStore) else ctx.store


def whole(ctx: Context) -> Context:
    """The Context without the caller's decision: for an operation that shows of it what its own rules say, and for nothing else."""
    index = ctx.index.behind if isinstance(ctx.index, SeenIndex) else ctx.index
    return replace(ctx, store=stored(ctx), index=index, decision=None)
