"""`_sort` for contained resources: no index keeps them in order, so all matches are compared, and those kept that a page shows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cmp_to_key, partial
from typing import Any

from resources.store import Version
from search.contained import INNER
from search.match import Document, sort_value
from search.query import SortKey

Order = tuple[Any, ...]
"""What a match is sorted by: its values by the keys (see `search.match.sort_value`), then its address."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A match: a resource; or of one, the contained resource `part` (type, id, bytes)."""

    version: Version
    part: tuple[str, str, bytes] | None = None
    order: Order = ()


class InOrder:
    """Of all matches that are added, the first `size` that come after a place (None: the first of all); how many there were."""

    def __init__(self, keys: Sequence[SortKey], size: int, after: Order | None) -> None:
        self._compare = partial(_compare, keys)
        self._size, self._after = size, after
        self._kept: list[Hit] = []
        self.counted = 0

    def add(self, hits: Iterable[Hit]) -> None:
        """Look at some more."""
        for hit in hits:
            self.counted += 1
            if self._after is None or self._compare(hit.order, self._after) > 0:
                self._kept.append(hit)
        order = cmp_to_key(self._compare)
        self._kept.sort(key=lambda hit: order(hit.order))
        del self._kept[self._size + 1 :]

    def page(self) -> tuple[list[Hit], Order | None]:
        """The page, and the place of its last match if others follow."""
        page = self._kept[: self._size]
        return page, page[-1].order if page and len(self._kept) > self._size else None


def order_of(keys: Sequence[SortKey], document: Document, address: str) -> Order:
    """What the match at an address is sorted by, where the keys look into `document`."""
    return (*(_value(key, document) for key in keys), address)


def best(keys: Sequence[SortKey], orders: Iterable[Order]) -> Order:
    """The one that comes first."""
    return min(orders, key=cmp_to_key(partial(_compare, keys)))


def _value(key: SortKey, document: Document) -> str | int | float | None:
    """A contained resource is sorted by its own id."""
    return document.key.id.removeprefix(INNER) if key.parameter.code == "_id" else sort_value(key, document)


def _compare(keys: Sequence[SortKey], a: Order, b: Order) -> int:
    """By the keys, what has no value last; then by address."""
    for key, x, y in zip(keys, a, b, strict=False):
        if x != y:
            if x is None or y is None:
                return 1 if x is None else -1
            return -1 if (x < y) is not key.descending else 1
    here, there = str(a[-1]), str(b[-1])
    return (here > there) - (here < there)
