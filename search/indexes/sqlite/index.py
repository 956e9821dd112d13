"""The SQLite search index: tables beside the store's in the same file, written in the store's transactions (docs/adr/0003).

Searches run on the event loop's own thread, since short statements in a thread beside a busy loop wait for the interpreter's lock; one
that is not done within BUDGET is stopped and begun again in a thread, on a connection of its own, with the time that the settings
allow.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw

from resources.documents import decode
from resources.store import Key, StoreUnavailable
from resources.stores.participant import Applied
from search.extract import Extractor
from search.index import Included, Latest, Result, TooCostly
from search.indexes.bases import warning
from search.indexes.sqlite import write
from search.indexes.sqlite.access import Access
from search.indexes.sqlite.beside.bases import kept, remember
from search.indexes.sqlite.beside.explaining import explained_search
from search.indexes.sqlite.beside.latest import latest
from search.indexes.sqlite.custom.gathering import Custom, reset
from search.indexes.sqlite.deferred.deferral import Deferral, check
from search.indexes.sqlite.deferred.looking import looked_at
from search.indexes.sqlite.deferred.state import Later
from search.indexes.sqlite.include import include
from search.indexes.sqlite.pages import search, search_in_turn
from search.indexes.sqlite.reader import Limits, OutOfTime, Reader
from search.indexes.sqlite.schema import Codebook, install, set_state, state
from search.indexes.sqlite.words.batches import Documents
from search.indexes.sqlite.words.gathering import WAIT, Texts
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.query import Compartment, Grants, Include, Query, Text, added, leaves, named
from search.recurring import Recurring
from search.values import Entry

log = logging.getLogger(__name__)

BUDGET = 0.02
"""Seconds that a search may take on the event loop's thread."""

EVENTS = "AuditEvent"

_MOST_READERS = 4

_MOST_WAITING = 100
"""So many long searches wait for a thread; more are sent away at once."""

_TOO_LARGE = ("too many", "too large", "too complex", "too deep", "too big", "stack overflow")
"""What SQLite says of statements that go beyond its own limits, whatever the state of the database."""

Shape = tuple[object, ...]
"""What a search asks for, without its values."""

_MOST_SHAPES = 1_000

_PRAGMAS = "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8000;"

T = TypeVar("T")

Looked = Callable[[], set[str] | None]
"""The types that a search looks at."""


class SqliteIndex:
    """A `search.index.SearchIndex` and a `resources.stores.participant.Participant`.

    `path` is the store's database file. `settle`, if given, is what `caught_up` awaits for AuditEvents: it has the store index the
    events that it has written since. `limit` is the seconds that one search may take (then TooCostly),
    `budget` those on the loop's thread, `wait` those that a search by words waits for them to be gathered.
    """

    def __init__(
        self,
        path: str | Path,
        parameters: Parameters,
        extractor: Extractor,
        *,
        settle: Callable[[], Awaitable[object]] | None = None,
        limit: float = 30.0,
        budget: float = BUDGET,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        wait: float = WAIT,
    ) -> None:
        self._path = str(path)
        self._extractor = extractor
        self._events = Recurring(extractor, EVENTS, frozenset(("recorded", "entity")))
        self._settle = settle
        self._limit, self._budget, self._limits = limit, budget, limits
        self._codes = Codebook(parameters)
        self._reader: Reader | None = None
        self._spare: list[Reader] = []
        self._slots = asyncio.Semaphore(_MOST_READERS)
        self._waiting = 0
        self._long: set[Shape] = set()
        self._texts: Texts | None = None
        self._custom: Custom | None = None
        self._deferral: Deferral | None = None
        self._wait = wait

    def follow(self, store: Documents) -> None:
        """Where the words of documents are read from when somebody searches by `_text` or `_content`: the store of this file. Without
        it such searches raise StoreUnavailable."""
        self._texts = Texts(store, self._codes.books)
        self._custom = Custom(store, self._codes, self._extractor.bases)
        self._deferral = Deferral(self._path, store, self._codes)

    # What the store calls, in its own transaction.

    def install(self, connection: apsw.Connection) -> None:
        """Make the tables, empty where they are new or were written by another layout or other definitions (see `stale`)."""
        install(connection, self._codes.fingerprint)
        remember(connection, self._extractor.bases)

    def stale(self, connection: apsw.Connection) -> bool:
        """Whether the tables lack the documents that were stored before they were made: the store must then call `rebuild`."""
        return state(connection, "complete") != self._codes.fingerprint

    def rebuild(self, connection: apsw.Connection, documents: Iterable[tuple[int, str, str, int, bytes]]) -> int:
        """Index all live documents anew, given as (row, type, id, instant, body); returns how many. In the caller's transaction.

        Events that the store has not indexed yet must not be among them.
        """
        write.clear(connection)
        reset(connection)
        prepared = (
            Applied(row, type, id, instant, self.prepare(type, body), True, True) for row, type, id, instant, body in documents
        )
        done = write.fill(connection, self._codes, prepared)
        set_state(connection, "complete", self._codes.fingerprint)
        remember(connection, self._extractor.bases, anew=True)
        return done

    def write(self, connection: apsw.Connection, applied: Sequence[Applied]) -> None:
        """Bring the index up to these changes; each resource may appear once."""
        write.write(connection, self._codes, applied)

    def prepare(self, type: str, body: bytes) -> Any:
        """The Entry of a stored document."""
        return self._events.extract(body) if type == EVENTS else self._extractor.extract(type, decode(body))

    # What searches call.

    async def open(self) -> None:
        """Open the connection to read by; the store must have been opened before. Raises StoreUnavailable."""
        self._reader = self._connect()
        if self._texts is not None:
            self._texts.resume(self._reader.connection)
        if self._deferral is not None:
            self._deferral.start(self._reader.connection)

    async def close(self) -> None:
        """Close all connections to read by."""
        if self._texts is not None:
            await self._texts.close()
        if self._custom is not None:
            await self._custom.close()
        if self._deferral is not None:
            await self._deferral.close()
        for reader in [*self._spare, *([self._reader] if self._reader else [])]:
            reader.connection.close()
        self._spare.clear()
        self._reader = None

    def doubt(self) -> str | None:
        """A sentence for those who run the server where documents were indexed for other base URLs than its own."""
        assert self._reader is not None
        return warning(kept(self._reader.connection), self._extractor.bases)

    async def extend(self, parameters: Sequence[SearchParameter]) -> None:
        """See `search.index.SearchIndex`."""
        assert self._custom is not None, "without a store to follow nothing can be added"
        await self._custom.extend(parameters)

    async def reindex(self) -> list[str]:
        """See `search.index.SearchIndex`."""
        return await self._custom.reindex() if self._custom is not None else []

    async def defer(self, types: Sequence[str], until: int) -> frozenset[str]:
        """See `search.index.Deferring`."""
        return await self._deferral.defer(types, until) if self._deferral is not None else frozenset()

    def later(self, entry: Entry) -> Any:
        """See `search.index.Deferring`."""
        return Later(entry)

    async def indexed(self, types: Sequence[str]) -> None:
        """See `search.index.Deferring`."""
        if self._deferral is not None:
            await self._deferral.indexed(types)

    async def search(self, query: Query) -> Result:
        """See `search.index.SearchIndex`."""
        await self._gather((query,))
        carry_out = explained_search if query.explain else search
        return await self._run(lambda reader: carry_out(reader, self._codes, query), lambda: looked_at((query,)), _shape(query))

    async def search_in_turn(self, queries: Sequence[Query], *, count: int, cursor: tuple[Any, ...] | None = None) -> Result:
        """See `search.index.SearchIndex`."""
        await self._gather(queries)
        return await self._run(
            lambda reader: search_in_turn(reader, self._codes, queries, count, cursor), lambda: looked_at(queries)
        )

    async def latest(self, query: Query, by: SearchParameter, most: int) -> Latest:
        """See `search.index.SearchIndex`."""
        await self._gather((query,))
        return await self._run(lambda reader: latest(reader, self._codes, query, by, most), lambda: looked_at((query,)))

    async def include(
        self,
        keys: Sequence[Key],
        includes: Sequence[Include],
        *,
        limit: int,
        compartments: Sequence[Compartment] = (),
        allowed: Grants | None = None,
    ) -> Included:
        """See `search.index.SearchIndex`."""
        await self._gather((Query("", allowed=allowed),), includes)
        return await self._run(
            lambda reader: include(Access(reader, self._codes, compartments, allowed), keys, includes, limit),
            lambda: looked_at((), includes, keys),
        )

    async def allowed(
        self, keys: Sequence[Key], *, compartments: Sequence[Compartment] = (), allowed: Grants | None = None
    ) -> list[Key]:
        """See `search.index.SearchIndex`."""
        await self._gather((Query("", allowed=allowed),))
        return await self._run(
            lambda reader: Access(reader, self._codes, compartments, allowed).within(keys), lambda: looked_at((), (), keys)
        )

    async def caught_up(self, types: Sequence[str], position: int | None = None) -> bool:
        """Always: the index is written in the same transactions as the documents. Only of AuditEvents the latest are indexed here."""
        if EVENTS in types and self._settle is not None:
            await self._settle()
        return True

    async def _gather(self, queries: Sequence[Query], includes: Sequence[Include] = ()) -> None:
        """Catch up with what is indexed after the commit, as far as queries and includes look at it."""
        named = [leaf for query in queries for leaf in leaves(query.clauses)]
        custom = added(queries, includes)
        if custom and self._custom is not None:
            await self._custom.settle(custom, self._wait)
        if any(isinstance(leaf, Text) for leaf in named):
            if self._texts is None:
                raise StoreUnavailable("The search index has no access to the words of documents.")
            await self._texts.settle(self._wait)

    async def _run(self, search: Callable[[Reader], T], looked: Looked, shape: Shape | None = None) -> T:
        """Do the work here, or in a thread if it proves long, or if work of this shape did the last time. Raises Preparing where
        something is deferred of what it looks at."""

        def work(reader: Reader) -> T:
            check(reader.connection, looked)
            return search(reader)

        if self._reader is None:
            raise StoreUnavailable("The search index is not open.")
        if shape is None or shape not in self._long:
            try:
                return _do(self._reader, work, self._budget)
            except OutOfTime:
                pass
        found, seconds = await self._in_turn(work)
        if shape is not None:
            self._remember(shape, seconds > self._budget)
        return found

    async def _in_turn(self, work: Callable[[Reader], T]) -> tuple[T, float]:
        """As `_run_long`, in a thread, when there is one: waiting for it is part of the time that a search has."""
        if self._waiting >= _MOST_WAITING:
            raise _crowded()
        began = time.monotonic()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limit):
                await self._slots.acquire()
        except TimeoutError:
            raise _crowded() from None
        finally:
            self._waiting -= 1
        try:
            waited = time.monotonic() - began
            return await asyncio.to_thread(self._run_long, work, waited)
        finally:
            self._slots.release()

    def _remember(self, shape: Shape, long: bool) -> None:
        if long and len(self._long) < _MOST_SHAPES:
            self._long.add(shape)
        elif not long:
            self._long.discard(shape)

    def _run_long(self, work: Callable[[Reader], T], waited: float) -> tuple[T, float]:
        """What the work gives, and the seconds of CPU that it took, in the time that `waited` seconds leave."""
        reader = self._spare.pop() if self._spare else self._connect()
        began = time.thread_time()  # not the time of the day: a machine with much else to do does not make a search long
        try:
            return _do(reader, work, self._limit - waited), time.thread_time() - began
        except OutOfTime:
            if 2 * waited > self._limit > 0:  # with a thread of its own at once it might have been done
                raise _crowded() from None
            raise TooCostly(
                f"The search took longer than {self._limit:g} seconds. Narrow it with a parameter that few documents match,"
                " or ask for no total (_total=none)."
            ) from None
        finally:
            self._spare.append(reader)

    def _connect(self) -> Reader:
        try:
            connection = apsw.Connection(self._path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=1000)
            connection.set_busy_timeout(10_000)
            connection.execute(_PRAGMAS)
        except apsw.Error as problem:
            raise _unavailable(problem, "opened") from None
        return Reader(connection, self._limits)


def _shape(query: Query) -> Shape:
    keys = tuple((key.parameter.code, key.descending, len(key.via)) for key in query.sort)
    return (query.type, tuple(named(clause) for clause in query.clauses), keys, query.total, query.count > 0, query.cursor is None)


def _unavailable(problem: apsw.Error, what: str) -> StoreUnavailable:
    # SQLite's own words may quote SQL or what was searched for: neither the caller nor the log is to have them.
    log.error("the search index failed: %s (%d)", type(problem).__name__, getattr(problem, "extendedresult", 0))
    return StoreUnavailable(f"The search index cannot be {what} now. The server's log has the reason.")


def _crowded() -> StoreUnavailable:
    return StoreUnavailable("Too many long searches are under way. Send the request again in a moment.")


def _do(reader: Reader, work: Callable[[Reader], T], seconds: float) -> T:
    try:
        with reader.transaction(seconds):
            return work(reader)
    except apsw.Error as problem:
        if isinstance(problem, apsw.TooBigError) or any(words in str(problem) for words in _TOO_LARGE):
            raise TooCostly("The search has more alternatives than can be looked up at once. Ask for fewer values.") from None
        raise _unavailable(problem, "read") from None
