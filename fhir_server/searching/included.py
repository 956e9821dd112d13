"""What a page's matches lead to, never cut off.

A page has fewer matches where together they lead to more resources than it may carry (FHIR_INCLUDE_LIMIT). What a single match leads to
beyond that comes on pages of its own, without a match, before the next one.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from fhir_server.context import Context
from resources.store import Key
from search.index import Result
from search.query import Include

Cursor = tuple[object, ...]


class Rest(NamedTuple):
    """What was included of one match so far: how many resources, and the last of them."""

    type: str
    id: str
    given: int
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
    """The page with what it includes. `find` gives the page that begins at the same place with fewer matches."""
    limit = ctx.settings.include_limit
    while page.keys and (rules := includes(page.keys)):
        extra = await ctx.index.include(page.keys, rules, limit=limit)
        if not extra.truncated:
            return Filled(page, extra.keys)
        if len(page.keys) == 1:
            return Filled(page, extra.keys, _rest(page.keys[0], len(extra.keys), extra.keys[-1]))
        fewer = await find(max(1, len(page.keys) // 2))
        page = replace(page, keys=fewer.keys, cursor=fewer.cursor, scores=fewer.scores)
    return Filled(page)


async def further(ctx: Context, rest: Rest, cursor: Cursor | None, includes: Sequence[Include]) -> Filled:
    """The next part of what a match leads to; nothing if it is gone.

    Goes on after the last one that was given: what was added to or left what the match leads to meanwhile shifts nothing.
    """
    key, last, limit = Key(rest.type, rest.id), Key(rest.last_type, rest.last_id), ctx.settings.include_limit
    extra = await ctx.index.include([key], includes, limit=rest.given + limit)
    start = extra.keys.index(last) + 1 if last in extra.keys else rest.given
    part = extra.keys[start : start + limit]
    page = Result([], cursor, None)
    more = bool(part) and (extra.truncated or start + len(part) < len(extra.keys))
    return Filled(page, part, _rest(key, start + len(part), part[-1]) if more else None)


def _rest(key: Key, given: int, last: Key) -> Rest:
    return Rest(key.type, key.id, given, last.type, last.id)
