"""The order of a search's answer: what documents are sorted by, and which rows already stand in that order.

Without `_sort` the newest come first: by the date in the key, then by row, both descending. With it, documents with the same values
come in the order of (date in the key, row), in the direction of the first sort key; those without a value come last.

A position is what a cursor carries: the values of the sort keys (None: no value), then date and row.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key, partial
from typing import Any

from search.indexes.sqlite.custom.reading import own_rows
from search.indexes.sqlite.reader import Edge, Reader
from search.indexes.sqlite.rows import CUT, Row, unordered, unpack_rows
from search.indexes.sqlite.schema import FOLDED, NORMAL, WIDE, Book
from search.query import SortKey
from search.text.scoring import SCORE
from search.values import NO_DATE

Position = tuple[Any, ...]

_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Order:
    """How to sort. `by_date`: the only key is the date in the key. `walked`: pids whose rows, by v, stand in the order of the only
    key (none: all matches must be gathered and sorted); `edge` tells of a row whether it is the one that its document is sorted by."""

    keys: tuple[SortKey, ...] = ()
    by_date: bool = False
    walked: tuple[int, ...] = ()
    edge: Edge | None = None

    @property
    def descending(self) -> bool:
        """Whether the first key is; without keys the newest come first."""
        return self.keys[0].descending if self.keys else True


def make_order(keys: Sequence[SortKey], book: Book, reader: Reader) -> Order:
    """The order that `keys` ask for."""
    if not keys:
        return Order((), by_date=True)
    if len(keys) > 1 or keys[0].via:
        return Order(tuple(keys))
    key = keys[0]
    code = key.parameter.stored or key.parameter.code
    if code == "_lastUpdated":
        return Order((key,), walked=(book.updated,))
    field = book.fields.get(code)
    if field is None or field.custom:
        return Order((key,))
    wide = reader.any_of(field.pid + WIDE)
    if field.clinical:
        return Order((key,), by_date=not (wide or reader.any_of(field.pid + NORMAL)))
    if field.kind == "string" or (field.kind == "number" and not wide):
        return Order((key,), walked=field.pids, edge=_edge((field.pid, field.pid + FOLDED), key.descending))
    if field.kind == "date":
        pids = (field.pid, field.pid + WIDE) if wide else (field.pid,)
        return Order((key,), walked=pids, edge=_edge(pids, key.descending))
    return Order((key,))


def _edge(pids: Sequence[int], descending: bool) -> Edge:
    pick = max if descending else min
    return lambda rows, v: bool(v == pick(row[1] for row in rows if row[0] in pids))


Follow = Callable[[SortKey, Book, list[Row]], Any]
"""What a document of a type, given by its packed rows, is sorted by for a chained key."""


def positions(
    reader: Reader, order: Order, book: Book, found: Iterable[tuple[int, int]], follow: Follow, scores: Mapping[int, float]
) -> list[Position]:
    """The positions of documents given as (d, rid), in no order. `scores`: by rid, where a key asks for them."""
    found = list(found)
    if not order.keys:
        return list(found)
    if order.by_date:
        return [(None if d == NO_DATE else d, d, rid) for d, rid in found]
    scored = [place for place, key in enumerate(order.keys) if key.parameter.code == SCORE]
    own = [book.fields[p.stored] for key in order.keys if (p := key.via[0].parameter if key.via else key.parameter).custom]
    out: list[Position] = []
    for start in range(0, len(found), _CHUNK):
        reader.on_time()
        part = found[start : start + _CHUNK]
        marks = ", ".join("?" * len(part))
        rows = reader.rows(
            f"SELECT i.d, i.rid, i.id, i.lu, k.rows FROM item i CROSS JOIN packed k ON k.rid = i.rid WHERE i.rid IN ({marks})",
            [rid for _, rid in part],
        )
        added = own_rows(reader, own, [rid for _, rid in part])
        for d, rid, id, updated, blob in rows:
            packed = unpack_rows(blob)[1] + added.get(rid, [])
            values = (follow(key, book, packed) if key.via else value_of(key, book, packed, id, updated) for key in order.keys)
            position = [*values, d, rid]
            for place in scored:
                position[place] = scores.get(rid)
            out.append(tuple(position))
    return out


def value_of(key: SortKey, book: Book, rows: list[Row], id: str, updated: int) -> Any:
    """What a document is sorted by for one key, None if it has nothing there."""
    code = key.parameter.stored or key.parameter.code
    if code == "_id":
        return id
    if code == "_lastUpdated":
        return updated
    field = book.fields.get(code)
    if field is None:
        return None
    first, last = field.pid, field.pid + FOLDED
    codeless = field.kind == "token"  # of a system without a code there is nothing to sort by, an empty text is a text
    values = [_sortable(field.kind, pid - first, v, w) for pid, v, w in rows if first <= pid <= last and not (codeless and v == "")]
    if not values:
        return None
    return max(values) if key.descending else min(values)


def _sortable(kind: str, role: int, v: Any, w: Any) -> Any:
    if kind in ("number", "quantity"):
        return w[1] if role == WIDE else v if kind == "number" else unordered(v[8:])
    return v if kind == "date" else v[:CUT]


def in_order(order: Order, found: list[Position]) -> list[Position]:
    """Positions sorted: by the keys, then by date and row."""
    found.sort(key=lambda position: position[-2:], reverse=order.descending)
    for place in range(len(order.keys) - 1, -1, -1):
        descending = order.keys[place].descending
        found.sort(key=_sort_key(place, descending), reverse=descending)
    return found


def _sort_key(place: int, descending: bool) -> Callable[[Position], tuple[Any, ...]]:
    """Values in their order and None after them, whichever way round."""
    here = 1 if descending else 0
    return lambda position: (1 - here,) if position[place] is None else (here, position[place])


def after(order: Order, found: list[Position], cursor: Position) -> list[Position]:
    """Those of sorted positions that come after the cursor's."""
    compare = cmp_to_key(partial(_compare, order))
    mark, low, high = compare(cursor), 0, len(found)
    while low < high:
        middle = (low + high) // 2
        if mark < compare(found[middle]):
            high = middle
        else:
            low = middle + 1
    return found[low:]


def _compare(order: Order, a: Position, b: Position) -> int:
    for place, key in enumerate(order.keys):
        x, y = a[place], b[place]
        if x == y:
            continue
        if x is None or y is None:
            return 1 if x is None else -1
        return -1 if (x < y) is not key.descending else 1
    x, y = a[-2:], b[-2:]
    if x == y:
        return 0
    return -1 if (x < y) is not order.descending else 1
