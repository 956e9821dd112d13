"""The latest documents of each group of equal codes, whatever index found them."""

from collections.abc import Hashable, Iterable
from typing import TypeVar

T = TypeVar("T")


def latest_of(found: Iterable[tuple[T, int, tuple[Hashable, ...]]], most: int) -> tuple[list[list[T]], list[T]]:
    """(groups, documents without a code) of documents as (document, date, codes), the latest first.

    Documents with any code in common are one group, and so are those that a third one connects. Of each group come the first `most`, and
    those that have the date of the last of these. Groups come in the order of their latest document.
    """
    parents: dict[Hashable, Hashable] = {}
    dated: list[tuple[T, int, Hashable]] = []
    apart: list[T] = []
    for one, date, codes in found:
        if not codes:
            apart.append(one)
            continue
        first = _root(parents, codes[0])
        for code in codes[1:]:
            parents[_root(parents, code)] = first
        dated.append((one, date, codes[0]))
    groups: dict[Hashable, list[tuple[T, int]]] = {}
    for one, date, code in dated:
        group = groups.setdefault(_root(parents, code), [])
        if len(group) < most or group[-1][1] == date:
            group.append((one, date))
    return [[one for one, _ in group] for group in groups.values()], apart


def _root(parents: dict[Hashable, Hashable], code: Hashable) -> Hashable:
    """The code that stands for all that are connected with this one."""
    path = []
    while (up := parents.setdefault(code, code)) != code:
        path.append(code)
        code = up
    for passed in path:
        parents[passed] = code
    return code
