"""Rows of search parameters that SearchParameter resources define: written after the documents, when somebody searches by them.

Commits know nothing of these parameters, so processes need not agree on them in order to write. Their rows stand in `idx` beside all
others, under numbers from FIRST on, and once more in `crow`, by document; triggers take them away when their document changes or
goes, whoever changes it. They come back from the documents committed since, before the next search by the parameter.

    cparam    number and definition of each parameter, and up to where the store's commits are in it
    crow      their rows by document
    cpacked   the same as packed rows, one blob a document and parameter: to sort by, to follow, to include
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import apsw

from resources.documents import decode
from resources.store import StoreUnavailable
from search.extract import Reader, reader_of
from search.index import Preparing
from search.indexes.sqlite.custom.reading import packed
from search.indexes.sqlite.rows import expand, maker
from search.indexes.sqlite.schema import FIRST_FACET, Codebook, Field
from search.indexes.sqlite.words.batches import Batches, Documents
from search.parameter import SearchParameter
from search.types.text import Bases
from search.values import hash64

log = logging.getLogger(__name__)

FIRST = 1_000_000
"""The first number of a custom parameter, far above those of the official ones."""

PAUSE = 5.0
"""Seconds between two rounds in the background."""

REST = 2
"""Rest after each batch in the background, in times of what it took."""

_TABLES = """
CREATE TABLE cparam (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, position INTEGER NOT NULL);
CREATE TABLE crow (
    rid INTEGER NOT NULL, pid INTEGER NOT NULL, v NOT NULL, d INTEGER NOT NULL, w NOT NULL, PRIMARY KEY (rid, pid, v, w)
) WITHOUT ROWID;
CREATE TABLE cpacked (rid INTEGER NOT NULL, pid INTEGER NOT NULL, rows BLOB NOT NULL, PRIMARY KEY (rid, pid)) WITHOUT ROWID;
"""
_FORGET = """
DELETE FROM idx WHERE (pid, v, d, rid, w) IN (SELECT pid, v, d, rid, w FROM crow WHERE rid = old.rid);
DELETE FROM crow WHERE rid = old.rid;
DELETE FROM cpacked WHERE rid = old.rid;
"""
_TRIGGERS = f"""
CREATE TRIGGER custom_gone AFTER DELETE ON item BEGIN {_FORGET} END;
CREATE TRIGGER custom_changed AFTER UPDATE ON item BEGIN {_FORGET} END;
"""
_GIVE_UP = """
DROP TABLE IF EXISTS cparam; DROP TABLE IF EXISTS crow; DROP TABLE IF EXISTS cpacked;
DROP TRIGGER IF EXISTS custom_gone; DROP TRIGGER IF EXISTS custom_changed;
"""
_ITEM = "SELECT rid, d FROM item WHERE h = ? AND id = ? AND type = ?"
_OWN = "rid = ? AND pid BETWEEN ? AND ?"


class _Read(NamedTuple):
    """A document's type and id, and its values (None: it lacks the element)."""

    type: str
    id: str
    values: list[Any] | None


@dataclass(slots=True)
class _Followed:
    """One parameter: how to read it, and up to where this process knows its rows to be complete."""

    key: str
    parameter: SearchParameter
    field: Field
    read: Reader
    position: int
    batches: Batches


class Custom:
    """Keeps the rows of custom parameters up."""

    def __init__(self, store: Documents, codes: Codebook, bases: Bases) -> None:
        self._store, self._codes, self._bases = store, codes, bases
        self._lock = asyncio.Lock()
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._rounds: asyncio.Task[None] | None = None

    async def extend(self, parameters: Sequence[SearchParameter]) -> None:
        """Have exactly these parameters; the rows of new ones are made in the background. Raises StoreUnavailable."""
        wanted = {_key(parameter): parameter for parameter in parameters}
        if wanted or self._followed:
            known = await self._store.alongside(lambda connection: _numbers(connection, wanted))
            followed = [self._follow(key, parameter, *known[key]) for key, parameter in wanted.items()]
            self._codes.extend((each.parameter.type, each.field) for each in followed)
            self._followed = {(each.parameter.type, each.parameter.code): each for each in followed}
        if self._followed and self._rounds is None:
            self._rounds = asyncio.get_running_loop().create_task(self._keep_up())

    def _follow(self, key: str, parameter: SearchParameter, number: int, position: int) -> _Followed:
        field = Field(parameter.stored, parameter.kind, 4 * number, 0, 0, False, custom=True)
        return _Followed(
            key, parameter, field, reader_of(parameter, self._bases), position, Batches(self._store, (parameter.type,))
        )

    async def close(self) -> None:
        """End the background rounds."""
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait([self._rounds])
            self._rounds = None

    async def settle(self, wanted: Iterable[SearchParameter], wait: float) -> None:
        """Make the rows of these parameters for all that was committed until now. Raises Preparing where that takes longer than
        `wait` seconds; it then goes on in the background."""
        until = await self._store.position()
        deadline = time.monotonic() + wait
        for parameter in wanted:
            followed = self._followed.get((parameter.type, parameter.code))
            if followed is None:
                raise Preparing(
                    f"The search parameter {parameter.code} of {parameter.type} is being set up. Send the request again."
                )
            async with self._lock:
                done = await self._advance(followed, until, lambda: time.monotonic() < deadline)
            if not done:
                share = 100 * followed.position // max(until, 1)
                raise Preparing(
                    f"The documents are being indexed for the search parameter {parameter.code} of {parameter.type}:"
                    f" {share} % are done. Send the request again in a moment."
                )

    async def reindex(self) -> list[str]:
        """Have all rows made anew in the background; the parameters that this concerns, as `Type.code`."""
        await self._store.alongside(reset)
        for followed in self._followed.values():
            followed.position = 0
        return [f"{type}.{code}" for type, code in self._followed]

    async def _keep_up(self) -> None:
        while True:
            for followed in list(self._followed.values()):
                try:
                    until, done = await self._store.position(), False
                    while not done:
                        began = time.perf_counter()
                        async with self._lock:
                            done = await self._advance(followed, until, lambda: False)
                        await asyncio.sleep(REST * (time.perf_counter() - began))
                except (apsw.Error, StoreUnavailable) as problem:
                    log.warning("indexing for custom search parameters failed and is tried again: %s", type(problem).__name__)
            await asyncio.sleep(PAUSE)

    async def _advance(self, followed: _Followed, until: int, more: Callable[[], bool]) -> bool:
        """Write the rows of a batch, and of others while `more()`; whether all up to `until` have theirs."""
        while followed.position < until:
            found = await followed.batches.after(followed.position, until)
            reached = found[-1].position if found else until
            read = [_Read(v.type, v.id, followed.read(decode(v.body or b"{}"))) for v in found]
            before = followed.position
            followed.position = await self._store.alongside(
                partial(self._write, followed=followed, read=read, before=before, reached=reached)
            )
            if followed.position < until and not more():
                return False
            await asyncio.sleep(0)  # a store of this kind never waits: others get their turn between batches
        return True

    def _write(self, connection: apsw.Connection, followed: _Followed, read: Sequence[_Read], before: int, reached: int) -> int:
        """Write a batch's rows unless another process was first; up to where the rows are there."""
        position = _numbers(connection, {followed.key: followed.parameter})[followed.key][1]
        if position != before:
            return position
        field, number = followed.field, self._codes.books[followed.parameter.type].number
        for type, id, values in read:
            place = connection.execute(_ITEM, (hash64.__wrapped__(f"{type}/{id}"), id, number)).fetchall()
            if place:
                self._replace(connection, field, values, *place[0])
        connection.execute("UPDATE cparam SET position = ? WHERE key = ?", (reached, followed.key))
        return reached

    def _replace(self, connection: apsw.Connection, field: Field, values: list[Any] | None, rid: Any, d: Any) -> None:
        own = (rid, field.pid, field.pid + 3)
        listed = f"SELECT pid, v, d, rid, w FROM crow WHERE {_OWN}"
        connection.execute(f"DELETE FROM idx WHERE (pid, v, d, rid, w) IN ({listed})", own)
        connection.execute(f"DELETE FROM crow WHERE {_OWN}", own)
        connection.execute(f"DELETE FROM cpacked WHERE {_OWN}", own)
        if values is not None:
            kept = maker(field.kind)(field, values)
            made = expand(self._codes.kinds, kept, d, rid)
            connection.execute("INSERT INTO cpacked VALUES (?, ?, ?)", (rid, field.pid, packed(kept)))
            rows = list(dict.fromkeys([(field.there, 0, d, rid, 0), *made]))
            connection.executemany("INSERT INTO idx (pid, v, d, rid, w) VALUES (?, ?, ?, ?, ?)", rows)
            connection.executemany("INSERT INTO crow (pid, v, d, rid, w) VALUES (?, ?, ?, ?, ?)", rows)


def _key(parameter: SearchParameter) -> str:
    """What a parameter's rows follow from: another definition has another number."""
    return "\n".join((parameter.type, parameter.code, parameter.kind, parameter.expression))


def _numbers(connection: apsw.Connection, wanted: dict[str, SearchParameter]) -> dict[str, tuple[int, int]]:
    """Key -> (number, position) of the parameters, which get a number where they have none."""
    there = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name IN ('custom_changed', 'cpacked')").get
    if there != 2:  # never made, by an older release, or gone with the table `item` when the index was made anew
        connection.execute(f"DELETE FROM idx WHERE pid BETWEEN {4 * FIRST} AND {FIRST_FACET - 1};" + _GIVE_UP)
        connection.execute(_TABLES + _TRIGGERS)
    for key in wanted:
        connection.execute(
            "INSERT OR IGNORE INTO cparam SELECT max(?, coalesce(max(number) + 1, 0)), ?, 0 FROM cparam", (FIRST, key)
        )
    found: list[Any] = connection.execute("SELECT key, number, position FROM cparam").fetchall()
    return {key: (number, position) for key, number, position in found if key in wanted}


def reset(connection: apsw.Connection) -> None:
    """Have all rows made anew: the index was filled anew, or somebody asks for it."""
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'cparam'").get:
        connection.execute("UPDATE cparam SET position = 0")
