"""The search index in memory: every document looked at by `search.match`. For the memory store, and what other indexes are tested by."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import cmp_to_key, partial
from typing import Any, Protocol

from resources.documents import decode
from resources.outcomes import counted
from resources.store import Key, Version
from resources.stores.participant import Applied
from search.extract import Extractor
from search.index import Included, Latest, Result
from search.indexes.latest import latest_of
from search.match import Document, allows, matches, names_by_canonical, sort_value, targets, values_of
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.query import Compartment, Grants, Include, Query, SortKey, added
from search.text.scoring import SCORE, score
from search.values import TokenValue

Place = tuple[Any, ...]
"""A document's values by the sort keys, its date, its row: what a cursor carries."""


_AT_A_TIME = 200


class Bodies(Protocol):
    """Whoever has the documents."""

    async def read_many(self, keys: Sequence[Key]) -> Sequence[Version | None]:
        """The current version of each, None where there is none."""


class MemoryIndex:
    """A `search.index.SearchIndex` and a `resources.stores.participant.Participant` (which ignores the connection).

    Nothing outlives the process.
    """

    def __init__(
        self, parameters: Parameters, extractor: Extractor, *, settle: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        self._extractor = extractor
        self._settle = settle
        self._documents: dict[int, Document] = {}
        self._rows: dict[Key, int] = {}
        self._store: Bodies | None = None
        self._added: tuple[SearchParameter, ...] = ()
        self._lacking: set[int] = set()

    def follow(self, store: Bodies) -> None:
        """Where documents are read from for the values of parameters that are added later."""
        self._store = store

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def install(self, connection: Any) -> None:
        """Nothing to make."""

    def stale(self, connection: Any) -> bool:
        """Never: it begins empty, as the memory store does."""
        return False

    def rebuild(self, connection: Any, documents: Iterable[tuple[int, str, str, int, bytes]]) -> int:
        """Index all live documents anew, given as (row, type, id, instant, body); returns how many."""
        self._documents.clear()
        self._rows.clear()
        for row, type, id, instant, body in documents:
            self.write(connection, [Applied(row, type, id, instant, self.prepare(type, body), True, True)])
        return len(self._documents)

    def write(self, connection: Any, applied: Sequence[Applied]) -> None:
        """Bring the index up to these changes."""
        for change in applied:
            if not change.live:
                self._documents.pop(change.row, None)
                self._rows.pop(Key(change.type, change.id), None)
                self._lacking.discard(change.row)
            else:
                key = Key(change.type, change.id, change.row)
                self._documents[change.row] = Document(key, change.entry, change.instant)
                self._rows[key] = change.row
                if any(parameter.type == change.type for parameter in self._added):
                    self._lacking.add(change.row)

    async def extend(self, parameters: Sequence[SearchParameter]) -> None:
        """See `search.index.SearchIndex`. Documents are read for them when somebody searches by them."""
        self._added = tuple(parameters)
        types = {parameter.type for parameter in parameters}
        self._lacking = {row for row, document in self._documents.items() if document.key.type in types}

    async def reindex(self) -> list[str]:
        """See `search.index.SearchIndex`."""
        await self.extend(self._added)
        return [f"{parameter.type}.{parameter.code}" for parameter in self._added]

    async def _read(self, wanted: Iterable[SearchParameter]) -> None:
        """Have the values of these parameters, which were added, of all documents."""
        types = {parameter.type for parameter in wanted}
        extractor = self._extractor.with_added(self._added)
        while rows := [row for row in self._lacking if self._documents[row].key.type in types][:_AT_A_TIME]:
            assert self._store is not None, "without a store to follow nothing can be added"
            before = [self._documents[row] for row in rows]
            await asyncio.sleep(0)  # others have their turn
            for row, document, version in zip(
                rows, before, await self._store.read_many([document.key for document in before]), strict=True
            ):
                if self._documents.get(row) is document and version is not None and version.body is not None:
                    self._documents[row] = document._replace(entry=extractor.extract(version.type, decode(version.body)))
                    self._lacking.discard(row)

    def prepare(self, type: str, body: bytes) -> Any:
        """The Entry of a stored document."""
        return self._extractor.extract(type, decode(body))

    def of_type(self, type: str) -> Iterable[Document]:
        """See `search.match.World`."""
        return [document for document in self._documents.values() if document.key.type == type]

    async def search(self, query: Query) -> Result:
        """See `search.index.SearchIndex`."""
        await self._read(added((query,)))
        found = [d for d in self._documents.values() if matches(query, d, self)]
        places = sorted((self._place(query, document) for document in found), key=cmp_to_key(partial(_compare, query.sort)))
        total = None if query.total == "none" and query.count > 0 else len(places)
        if query.cursor is not None:
            places = [place for place in places if _compare(query.sort, place, query.cursor) > 0]
        page = places[: query.count]
        cursor = page[-1] if query.count and len(places) > query.count else None
        told = (f"Index in memory: {counted(len(self._documents), 'document')} looked at",) if query.explain else ()
        keys = [self._documents[place[-1]].key for place in page]
        at = next((n for n, key in enumerate(query.sort) if key.parameter.code == SCORE), None)
        scores = tuple(place[at] for place in page) if at is not None else ()
        return Result(keys, cursor, total, explained=told, scores=scores)

    async def search_in_turn(self, queries: Sequence[Query], *, count: int, cursor: tuple[Any, ...] | None = None) -> Result:
        """See `search.index.SearchIndex`."""
        number, *place = cursor or (0,)
        keys: list[Key] = []
        for turn in range(number, len(queries)):
            query = replace(queries[turn], count=count - len(keys), cursor=tuple(place) or None, total="none")
            page = await self.search(query)
            keys += page.keys
            if page.cursor is not None:
                return Result(keys, (turn, *page.cursor), None)
            if len(keys) == count:
                return Result(keys, (turn + 1,) if turn + 1 < len(queries) else None, None)
            place = []
        return Result(keys, None, None)

    async def latest(self, query: Query, by: SearchParameter, most: int) -> Latest:
        """See `search.index.SearchIndex`."""
        await self._read(added((query,)))
        found = [d for d in self._documents.values() if matches(query, d, self)]
        found.sort(key=lambda d: (d.entry.date, d.key.hint), reverse=True)
        coded = ((d, (v for v in values_of(by.stored, d) if isinstance(v, TokenValue) and v.code)) for d in found)
        groups, apart = latest_of(((d.key, d.entry.date, tuple(codes)) for d, codes in coded), most)
        return Latest(groups, apart)

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
        await self._read(added((Query("", allowed=allowed),), includes))
        seen = set(keys)
        found: list[Key] = []
        newest, rules = list(keys), list(includes)
        while newest and rules:
            before = len(found)
            for key in (key for rule in rules for key in self._included(rule, newest)):
                if key in seen or not self._allows(key, compartments, allowed):
                    continue
                if len(found) >= limit:
                    return Included(found, truncated=True)
                seen.add(key)
                found.append(key)
            newest, rules = found[before:], [rule for rule in includes if rule.iterate]
        return Included(found)

    async def allowed(
        self, keys: Sequence[Key], *, compartments: Sequence[Compartment] = (), allowed: Grants | None = None
    ) -> list[Key]:
        """See `search.index.SearchIndex`."""
        await self._read(added((Query("", allowed=allowed),)))
        return [key for key in keys if self._allows(key, compartments, allowed)]

    async def caught_up(self, types: Sequence[str], position: int | None = None) -> bool:
        """Always, once the store has had the events indexed that it wrote itself."""
        if "AuditEvent" in types and self._settle is not None:
            await self._settle()
        return True

    def _allows(self, key: Key, compartments: Sequence[Compartment], allowed: Grants | None) -> bool:
        document = self._documents.get(self._rows.get(key, -1))
        return document is not None and allows(compartments, allowed, document)

    def _place(self, query: Query, document: Document) -> Place:
        values = (
            score(query, document.entry.text) if key.parameter.code == SCORE else sort_value(key, document, self, query.allowed)
            for key in query.sort
        )
        return (*values, document.entry.date, document.key.hint)

    def _included(self, rule: Include, keys: Sequence[Key]) -> Iterable[Key]:
        by_url = [parameter for parameter in rule.parameters if parameter.canonicals]
        if rule.reverse:
            names = {f"{key.type}/{key.id}" for key in keys if rule.target in (None, key.type)}
            ends = [document for document in self._documents.values() if by_url and document.name in names]
            for document in self.of_type(rule.source):
                by_name = not names.isdisjoint(targets(rule.parameters, document))
                if by_name or any(names_by_canonical(by_url, document, end) for end in ends):
                    yield document.key
            return
        for key in keys:
            row = self._rows.get(key)
            if key.type != rule.source or row is None:
                continue
            source = self._documents[row]
            for target in sorted(targets(rule.parameters, source)):
                type, _, id = target.partition("/")
                there = self._rows.get(Key(type, id))
                if there is not None and rule.target in (None, type):
                    yield self._documents[there].key
            for end in list(self._documents.values()) if by_url else ():
                if rule.target in (None, end.key.type) and names_by_canonical(by_url, source, end):
                    yield end.key


def _compare(keys: Sequence[SortKey], a: Place, b: Place) -> int:
    """By the sort keys, None last; then by date and row, newest first where nothing or a descending key comes first."""
    for place, key in enumerate(keys):
        x, y = a[place], b[place]
        if x == y:
            continue
        if x is None or y is None:
            return 1 if x is None else -1
        return -1 if (x < y) is not key.descending else 1
    descending = keys[0].descending if keys else True
    if a[-2:] == b[-2:]:
        return 0
    return -1 if (a[-2:] < b[-2:]) is not descending else 1
