"""Writing to the indices by bulk requests, and what became of each operation."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import msgspec

from resources.store import StoreUnavailable
from search.indexes.elastic.connection import Connection, Refused
from search.indexes.elastic.documents import Operation, lines, packets
from search.indexes.elastic.layout import Layout

PACKET = 4_000_000
"""Bytes of one bulk request."""


class Fate(Enum):
    """What became of an operation."""

    DONE = "done"
    """The index has it, or something newer."""

    BUSY = "busy"
    """Elasticsearch could not take it now: it is overloaded."""

    BLOCKED = "blocked"
    """The type's index takes nothing: a full disk or somebody has blocked it, it is closed, or access to it is denied."""

    ABSENT = "absent"
    """The type has no index."""

    REFUSED = "refused"
    """Elasticsearch does not take this document."""


class Answer(NamedTuple):
    """An operation's fate, and why: Elasticsearch's name for the error, never its words, which quote the document."""

    fate: Fate
    reason: str = ""


class _Error(msgspec.Struct):
    type: str = "unknown"


class _Item(msgspec.Struct):
    status: int
    error: _Error | None = None


class _Bulk(msgspec.Struct):
    errors: bool
    items: list[dict[str, _Item]] = []


_decode = msgspec.json.Decoder(_Bulk).decode
_DONE = Answer(Fate.DONE)
_OF_THE_DOCUMENT = (400, 413)
"""Statuses that tell of what was sent. Whatever else it says (401, 403, 429, 500 and more) is the cluster's, and passes."""
_OF_THE_INDEX = ("cluster_block_exception", "index_closed_exception", "security_exception")
"""Errors that say, with any status below 500, that an index takes nothing."""
_FILTER = "errors,items.*.status,items.*.error.type"


class Bulk:
    """Writes operations. What it says is DONE survives the death of Elasticsearch."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection, self._layout = connection, layout

    async def write(
        self, operations: Sequence[Operation], *, index: str | None = None, newer_only: bool = False, version: int | None = None
    ) -> list[Answer]:
        """Each operation's fate, in order. `index`: write to this one instead of the types' entrances; `newer_only`, `version`: see
        `lines`.

        Raises StoreUnavailable where Elasticsearch is not there; then any of them may have been written.
        """
        parts, answers = list[bytes](), dict[int, Answer]()
        numbers = []
        for number, operation in enumerate(operations):
            try:
                target = index or self._layout.entrance(operation.type)
                parts.append(lines(self._layout, operation, target, newer_only=newer_only, version=version))
                numbers.append(number)
            except (ValueError, TypeError, KeyError, AssertionError) as failure:
                answers[number] = Answer(Fate.REFUSED, type(failure).__name__)
        for start, end, body in packets(parts, PACKET):
            for number, answer in zip(numbers[start:end], await self._send(body, end - start, index is None), strict=True):
                answers[number] = answer
        return [answers[number] for number in range(len(operations))]

    async def _send(self, body: bytes, count: int, aliased: bool) -> list[Answer]:
        params = {"filter_path": _FILTER, "require_alias": "true" if aliased else "false"}
        try:
            answer = _decode(await self._connection.call("POST", "/_bulk", body, params=params, lines=True, within=30))
        except Refused as refusal:
            if count == 1 and refusal.status in _OF_THE_DOCUMENT:
                return [Answer(Fate.REFUSED, refusal.kind)]
            raise StoreUnavailable("The search index (Elasticsearch) refuses what it is sent.") from refusal
        if not answer.errors:
            return [_DONE] * count
        return [_fate(next(iter(item.values()))) for item in answer.items]


def _fate(item: _Item) -> Answer:
    status, reason = item.status, item.error.type if item.error else ""
    if (
        status < 300 or status == 409 or (status == 404 and not reason)
    ):  # 404 without an error: what was to be deleted was not there
        return _DONE
    if status == 404 or reason == "index_not_found_exception":
        return Answer(Fate.ABSENT, reason)
    if reason in _OF_THE_INDEX and status < 500:  # 503 with a block: the cluster is starting, or has no master
        return Answer(Fate.BLOCKED, reason)
    if status in _OF_THE_DOCUMENT:
        return Answer(Fate.REFUSED, reason)
    return Answer(Fate.BUSY, reason)
