"""Types whose index takes nothing for now: what is written to them is kept for later, and all else goes on being indexed.

The position that the store knows as confirmed stays where the first of them stopped, so whoever feeds the index next misses nothing.
How far everything else has come is noted in the feed's own index, where other processes look that wait for it.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec

from search.indexes.elastic.connection import Connection, Denied, Refused

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds between two attempts to go on with a type: the first pause, and the longest of them, each twice as long as the one before."""

MOMENT = 0.05
"""Seconds for which what another process has noted counts as new."""


class Held:
    """`ahead`: everything up to this position is in the index, but for what was written to the held types after a position of each.
    `newest`: asks the store for its position."""

    def __init__(self, connection: Connection, index: str, newest: Callable[[], Awaitable[int]]) -> None:
        self._connection, self._path, self._newest = connection, f"/{index}/_doc/held", newest
        self.ahead = 0
        self._types: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._next: dict[str, tuple[float, float]] = {}
        self._noted, self._looked = False, 0.0

    def __contains__(self, type: str) -> bool:
        return type in self._types

    @property
    def number(self) -> int:
        """How many types are held."""
        return len(self._types)

    def reached(self, type: str) -> int:
        """Up to where the index has what was written to the type."""
        return self._types.get(type, self.ahead)

    def complete(self) -> int:
        """Up to where the index has everything."""
        return min(self._types.values(), default=self.ahead)

    def hold(self, types: Iterable[str], position: int) -> None:
        """The index of these types takes nothing after the position."""
        now = time.monotonic()
        for type in types:
            self._types.setdefault(type, position)
            self._since.setdefault(type, now)
            pause = min(2 * self._next[type][1], LONGEST_PAUSE) if type in self._next else FIRST_PAUSE
            self._next[type] = (now + pause, pause)

    def advance(self, type: str, position: int) -> None:
        """The index has what was written to a held type up to the position; the type is held no longer where that is all."""
        self._types[type] = position
        now = time.monotonic()
        self._since[type], self._next[type] = now, (now, FIRST_PAUSE / 2)  # the others that are due come before it
        if position >= self.ahead:
            self._let_go(type)

    def due(self) -> str | None:
        """The type that is to be tried again: of several, the one that has been waiting for it the longest."""
        first = min(self._types, key=lambda type: self._next[type][0], default=None)
        return first if first is not None and self._next[first][0] <= time.monotonic() else None

    def refuses(self, types: Iterable[str], longer: float) -> Denied | None:
        """What to tell who depends on these types, where the index of one has refused writes for so many seconds."""
        now = time.monotonic()
        stuck = sorted(type for type in types if type in self._types and now - self._since[type] > longer)
        if not stuck:
            return None
        text = "blocked or closed by hand, because of a full disk or for lack of permission"
        return Denied(
            f"Elasticsearch takes no writes to the search index of {', '.join(stuck)}, so it lacks what was written last: it is {text}."
            " Searches work again once that has ended."
        )

    async def load(self, complete: int, *, anew: bool = False) -> None:
        """Take over what is noted, if it goes beyond what the index has anyway, and tells of this store: not where the index is fed `anew`
        from it, nor where the store has not come that far, as one that was restored from a backup. Raises StoreUnavailable."""
        found = await self._read()
        positions, types, before = found.get("position", [0]), found.get("type", []), self._types
        self._noted = bool(found)
        usable = not anew and positions[0] > complete and positions[0] <= await self._newest()
        self.ahead = positions[0] if usable else complete
        self._types = dict(zip(types, positions[1:], strict=True)) if usable else {}
        now = time.monotonic()
        self._since = {type: self._since[type] if before.get(type) == at else now for type, at in self._types.items()}
        self._next = {type: self._next.get(type, (0.0, FIRST_PAUSE / 2)) for type in self._types}

    async def look(self, complete: int) -> None:
        """The same, where another process notes it; who looked a moment ago need not look again."""
        now = time.monotonic()
        if now - self._looked > MOMENT:
            self._looked = now
            await self.load(complete)

    async def note(self) -> None:
        """Note it for others, where anything is held, and that nothing is."""
        if self._types:
            body = {"position": [self.ahead, *self._types.values()], "type": list(self._types)}
            await self._connection.call("PUT", self._path, _encode(body))
            self._noted = True
        elif self._noted:
            try:
                await self._connection.call("DELETE", self._path)
            except Refused as refusal:
                if refusal.status != 404:
                    raise
            self._noted = False

    async def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = _decode(await self._connection.call("GET", self._path))["_source"]
        except Refused as refusal:
            if refusal.status != 404:
                raise
            return {}
        return found

    def _let_go(self, type: str) -> None:
        for each in (self._types, self._since, self._next):
            each.pop(type, None)
