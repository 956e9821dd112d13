"""What a page's matches lead to, never cut off.

A page has fewer matches where together they lead to more resources than it may carry (FHIR_INCLUDE_LIMIT). What a single match leads to
beyond that comes on pages of its own, without a match, before the next one, in the order of its types and ids: so nothing that is written
meanwhile makes the others come twice or not at all.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from fhir_server.context import Context
from fhir_server.interactions.answers import present
from resources.store import Key
from search.index import Included, Result, TooCostly
from search.query import Include

Cursor = tuple[object, ...]

MOST_OF_ONE = 100_000
"""Resources that a single match may lead to: all their keys are looked up for each of its pages."""


class Rest(NamedTuple):
    """The match whose includes go on, and the last of them that was given."""

    type: str
    id: str
    last_type: str
    last_id: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A page with all that it includes, or with the next part of what a match leads to. `rest`: of what a match more is to come."""

    page: Result
    included: Sequence[Key] = ()
    rest: Rest | None = None

    @property
    def place(self) -> tuple[object, ...] | None:
        """Where the next page begins, in JSON-able values: `opened` reads it. None: there is none."""
        if self.rest is None and self.page.cursor is None:
            return None
        return (self.rest, *(self.page.cursor or ()))


def opened(place: Sequence[object]) -> tuple[Rest | None, Cursor | None]:
    """What `Filled.place` was made of: the match to go on with and the index's cursor after it."""
    rest, *cursor = place
    assert rest is None or isinstance(rest, list)
    return Rest(*rest) if rest is not None else None, tuple(cursor) or None


async def filled(
    ctx: Context, page: Result, includes: Callable[[Sequence[Key]], Sequence[Include]], find: Callable[[int], Awaitable[Result]]
) -> Filled:
    """The page with what it includes. `find` gives the page that begins at the same place with fewer matches. Raises TooCostly."""
    while page.keys and (rules := includes(page.keys)):
        keys = page.keys
        extra = await ctx.index.include(keys, rules, limit=ctx.settings.include_limit)
        while extra.truncated and len(keys) > 1:
            keys = keys[: len(keys) // 2]
            extra = await ctx.index.include(keys, rules, limit=ctx.settings.include_limit)
        if len(keys) < len(page.keys):
            fewer = await find(len(keys))
            page = replace(page, keys=fewer.keys, cursor=fewer.cursor, scores=fewer.scores)
            if page.keys != keys:  # something was written meanwhile
                continue
        return await _part(ctx, page, keys[0], None, rules) if extra.truncated else Filled(page, extra.keys)
    return Filled(page)


async def further(ctx: Context, rest: Rest, cursor: Cursor | None, includes: Sequence[Include]) -> Filled:
    """The next part of what a match leads to; nothing if it is gone. Raises TooCostly."""
    key, page = Key(rest.type, rest.id), Result([], cursor, None)
    if not await present(ctx, [key]):
        return Filled(page)
    return await _part(ctx, page, key, (rest.last_type, rest.last_id), includes)


async def _part(ctx: Context, page: Result, key: Key, last: tuple[str, str] | None, includes: Sequence[Include]) -> Filled:
    """The page with as much as it may carry of what a match leads to, from behind the last one that was given."""
    extra: Included = await ctx.index.include([key], includes, limit=MOST_OF_ONE)
    if extra.truncated:
        text = f"{key.type}/{key.id} leads to more than {MOST_OF_ONE:,} resources, too many to include"
        raise TooCostly(f"{text}: search for these directly, by what refers to it or what it refers to.")
    left = sorted((each for each in extra.keys if last is None or (each.type, each.id) > last), key=_name)
    part = left[: ctx.settings.include_limit]
    return Filled(page, part, Rest(*_name(key), *_name(part[-1])) if len(part) < len(left) else None)


def _name(key: Key) -> tuple[str, str]:
    return key.type, key.id
