"""The words of documents in the SQLite index, for those who search by them: a full-text table that is filled at the first such search.

A create costs nothing more for it: the words are taken from the documents committed since, whenever somebody searches by text, and
by a round in the background once a second from the first such search on. The table is contentless: it has the words, not
the documents. Its rows have the numbers of `item`; what was deleted stays until it is written anew and is left out by joining `item`.

    txt         words of the narrative, of the rest       txt_state     `position`: up to where the store's commits are in it
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import apsw

from resources.documents import decode
from resources.store import StoreUnavailable, Version
from search.index import Preparing
from search.indexes.sqlite.schema import Book
from search.indexes.sqlite.words.batches import Batches, Documents
from search.text.conditions import UNSEARCHED
from search.text.words import text_of
from search.values import hash64

log = logging.getLogger(__name__)

LAYOUT = 1
"""Goes up whenever other words are kept, or in another form: the table is then filled anew."""

WAIT = 1.0
"""Seconds that a search waits for the words to be complete; a few thousand documents are done by then."""

TICK = 1.0
"""Seconds between two rounds in the background."""

REST = 2
"""Rest after each batch in the background, in times of what it took."""

_TABLES = """
DROP TABLE IF EXISTS txt; DROP TABLE IF EXISTS txt_state;
CREATE VIRTUAL TABLE txt USING fts5(narrative, rest, content = '', contentless_delete = 1, tokenize = 'ascii');
CREATE TABLE txt_state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
# Words are letters and digits, folded: to the tokenizer `ascii` all of these belong to a word, beyond ASCII too, and a space does not.
_ADD = "INSERT OR REPLACE INTO txt (rowid, narrative, rest) SELECT rid, ?, ? FROM item WHERE h = ? AND id = ? AND type = ?"


class Texts:
    """Keeps the words up, once somebody has asked for them. `books` are the types."""

    def __init__(self, store: Documents, books: dict[str, Book]) -> None:
        self._store, self._books = store, books
        self._batches = Batches(store, tuple(name for name in books if name != UNSEARCHED))
        self._lock = asyncio.Lock()
        self._position = -1  # up to where this process knows the words to be complete; -1: not known
        self._rounds: asyncio.Task[None] | None = None

    def resume(self, connection: apsw.Connection) -> None:
        """Go on keeping the words up in the background, if they were asked for before."""
        if _position(connection) is not None:
            self._start()

    async def close(self) -> None:
        """End the background rounds."""
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait([self._rounds])
            self._rounds = None

    async def settle(self, wait: float) -> None:
        """Take in the words of all that was committed until now. Raises Preparing where that takes longer than `wait` seconds; it
        then goes on in the background."""
        until = await self._store.position()
        deadline = time.monotonic() + wait
        async with self._lock:
            done = await self._advance(until, lambda: time.monotonic() < deadline)
        self._start()
        if not done:
            share = 100 * self._position // max(until, 1)
            raise Preparing(
                f"The words of the documents are being gathered, for the first search by _text or _content or after many writes:"
                f" {share} % are done. Send the request again in a moment."
            )

    def _start(self) -> None:
        if self._rounds is None:
            self._rounds = asyncio.get_running_loop().create_task(self._keep_up())

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                until, done = await self._store.position(), False
                while not done:
                    began = time.perf_counter()
                    async with self._lock:
                        done = await self._advance(until, lambda: False)
                    await asyncio.sleep(REST * (time.perf_counter() - began))
            except (apsw.Error, StoreUnavailable) as problem:
                log.warning("gathering the words of documents failed and is tried again: %s", type(problem).__name__)

    async def _advance(self, until: int, more: Callable[[], bool]) -> bool:
        """Take in a batch, and others while `more()`; whether all up to `until` is in."""
        if self._position < 0:
            self._position = await self._store.alongside(_prepare)
        while self._position < until:
            found = await self._batches.after(self._position, until)
            if not found:
                self._position = until
                break
            reached = found[-1].position
            rows = [self._row(version) for version in found]
            before = self._position
            self._position = await self._store.alongside(partial(_write, rows=rows, before=before, reached=reached))
            if self._position < until and not more():
                return False
            await asyncio.sleep(0)  # a store of this kind never waits: others get their turn between batches
        return True

    def _row(self, version: Version) -> tuple[Any, ...]:
        assert version.body is not None
        narrative, rest = text_of(decode(version.body))
        address = hash64.__wrapped__(f"{version.type}/{version.id}")
        return narrative, rest, address, version.id, self._books[version.type].number


def _position(connection: apsw.Connection) -> int | None:
    """Up to where the words are in, None where none were ever asked for (or in another layout)."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'txt_state'").get:
        return None
    found: dict[Any, Any] = {name: value for name, value in connection.execute("SELECT name, value FROM txt_state")}
    return int(found["position"]) if found.get("layout") == LAYOUT else None


def _prepare(connection: apsw.Connection) -> int:
    """Make the tables where they are not there; up to where the words are in."""
    position = _position(connection)
    if position is None:
        connection.execute(_TABLES)
        connection.execute("INSERT INTO txt_state VALUES ('layout', ?), ('position', 0)", (LAYOUT,))
    return position or 0


def _write(connection: apsw.Connection, rows: Sequence[tuple[Any, ...]], before: int, reached: int) -> int:
    """Write a batch unless another process was first; up to where the words are in."""
    position = _prepare(connection)
    if position != before:
        return position
    connection.executemany(_ADD, rows)
    connection.execute("UPDATE txt_state SET value = ? WHERE name = 'position'", (reached,))
    return reached
