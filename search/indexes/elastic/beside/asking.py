"""What one search asks Elasticsearch: everything within one limit on time, and what is ready at the same time in one request."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from search.index import Preparing, TooCostly
from search.indexes.elastic.connection import Connection, refusal
from search.indexes.elastic.documents import packets
from search.indexes.elastic.layout import Layout
from search.indexes.elastic.terms import Json

PAGE = 10_000
"""Documents of one answer: Elasticsearch's own limit (`max_result_window`)."""

_PACKET = 8_000_000
"""Bytes of one request with several searches."""

_PARAMS = {"ignore_unavailable": "true", "allow_no_indices": "true", "allow_partial_search_results": "false"}
_FIELDS = ("timed_out", "_shards.total", "hits.total", "hits.hits.sort", "hits.hits.fields", "hits.hits._score")
_ONE = {**_PARAMS, "filter_path": ",".join(("took", *_FIELDS))}
_ERROR = ("status", "error.type", "error.root_cause.type", "error.caused_by.type")
_AGGREGATED = "aggregations.*.buckets.key"
_MANY = {"filter_path": ",".join(f"responses.{name}" for name in (*_FIELDS, *_ERROR, _AGGREGATED))}

_encode = msgspec.json.Encoder().encode


class Hit(msgspec.Struct):
    """A document: its place by the sort, the fields that were asked for, its score."""

    sort: list[Any] = []
    fields: dict[str, list[Any]] = {}
    score: float | None = msgspec.field(name="_score", default=None)


class Total(msgspec.Struct):
    """How many match: `value`, or more of them where `relation` is not "eq"."""

    value: int
    relation: str


class Hits(msgspec.Struct):
    """The documents found."""

    total: Total | None = None
    hits: list[Hit] = []


class Bucket(msgspec.Struct):
    """A value that documents have."""

    key: str


class Buckets(msgspec.Struct):
    """The values of a field."""

    buckets: list[Bucket] = []


class _Shards(msgspec.Struct):
    total: int = 0


class Answer(msgspec.Struct):
    """The answer to a search. No shards: the type has no index."""

    took: int = 0
    timed_out: bool = False
    status: int = 200
    error: msgspec.Raw = msgspec.Raw(b"")
    shards: _Shards = msgspec.field(name="_shards", default_factory=_Shards)
    hits: Hits = msgspec.field(default_factory=Hits)
    aggregations: dict[str, Buckets] = {}


class _Answers(msgspec.Struct):
    responses: list[Answer] = []


_decode = msgspec.json.Decoder(Answer).decode
_decode_many = msgspec.json.Decoder(_Answers).decode


async def never(_: str) -> bool:
    """What is not there stays so."""
    return False


class Asking:
    """The requests of one search. `limit`: the seconds that all of them together may take, from now on. `appears` is awaited for types
    without an index, for as long as it takes: whether they have one by now (it may raise StoreUnavailable); else they have no documents.

    All methods raise StoreUnavailable where Elasticsearch cannot answer now, TooCostly where the time is over.
    """

    def __init__(
        self, connection: Connection, layout: Layout, limit: float, appears: Callable[[str], Awaitable[bool]] = never
    ) -> None:
        self._connection, self.layout, self._limit, self._appears = connection, layout, limit, appears
        self._ends = time.monotonic() + limit
        self._waiting: list[tuple[str, Json, asyncio.Future[Answer]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def one(self, type: str, body: Json) -> Answer:
        """The answer to a search of the type."""
        answer = await self._one(type, body)
        if answer.shards.total == 0 and await self._appeared([type]):
            answer = await self._one(type, body)
            self._there([(type, answer)])
        return answer

    async def _one(self, type: str, body: Json) -> Answer:
        left = self._left()
        sent = _encode({**body, "timeout": f"{left * 1000:.0f}ms"})
        path = f"/{self.layout.alias(type)}/_search"
        return self._checked(_decode(await self._connection.call("POST", path, sent, params=_ONE, within=left)))

    async def many(self, asked: Sequence[tuple[str, Json]]) -> list[Answer]:
        """The answer to each (type, search)."""
        found = await self._many(asked)
        absent = {type for (type, _), answer in zip(asked, found, strict=True) if answer.shards.total == 0}
        appeared = await self._appeared(sorted(absent)) if absent else set()
        if appeared:
            again = [number for number, (type, _) in enumerate(asked) if type in appeared]
            for number, answer in zip(again, await self._many([asked[number] for number in again]), strict=True):
                found[number] = answer
            self._there([(asked[number][0], found[number]) for number in again])
        return found

    async def _many(self, asked: Sequence[tuple[str, Json]]) -> list[Answer]:
        found: list[Answer] = []
        left = self._left()
        parts = [self._lines(type, body, left) for type, body in asked]
        for _, _, sent in packets(parts, _PACKET):
            answer = await self._connection.call("POST", "/_msearch", sent, params=_MANY, lines=True, within=self._left())
            found += [self._checked(one) for one in _decode_many(answer).responses]
        return found

    async def soon(self, type: str, body: Json) -> Answer:
        """The same for one search, together with others that are asked for before anybody waits for anything."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((type, body, future))
        if len(self._waiting) == 1:
            self._sending = asyncio.create_task(self._send())
        return await future

    async def _send(self) -> None:
        await asyncio.sleep(0)
        waiting, self._waiting = self._waiting, []
        try:
            answers = await self.many([(type, body) for type, body, _ in waiting])
        except Exception as failure:
            for _, _, future in waiting:
                if not future.done():
                    future.set_exception(failure)
            return
        for (_, _, future), answer in zip(waiting, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _appeared(self, types: Sequence[str]) -> set[str]:
        """Those of the types without an index that have one by now. What that takes is not the search's time."""
        began = time.monotonic()
        there = await asyncio.gather(*(self._appears(type) for type in types))
        self._ends += time.monotonic() - began
        return {type for type, one in zip(types, there, strict=True) if one}

    def _there(self, answers: Sequence[tuple[str, Answer]]) -> None:
        for type, answer in answers:
            if answer.shards.total == 0:
                raise absent(type)

    def _lines(self, type: str, body: Json, left: float) -> bytes:
        head = {"index": self.layout.alias(type), "ignore_unavailable": True, "allow_partial_search_results": False}
        return _encode(head) + b"\n" + _encode({**body, "timeout": f"{left * 1000:.0f}ms"}) + b"\n"

    def _left(self) -> float:
        """The seconds that are left."""
        left = self._ends - time.monotonic()
        if left < 0.001:
            raise self._too_slow()
        return left

    def _checked(self, answer: Answer) -> Answer:
        if answer.status >= 300:
            raise refusal(answer.status, b'{"error":%b}' % bytes(answer.error) if bytes(answer.error) else b"")
        if answer.timed_out:
            raise self._too_slow()
        return answer

    def _too_slow(self) -> TooCostly:
        return TooCostly(
            f"The search took more than {self._limit:g} seconds; narrow it with another parameter, or ask without a total."
        )


def absent(type: str) -> Preparing:
    """What to tell where there is no index of a type that has documents."""
    return Preparing(f"The search index of {type} is being built; send the request again later.")
