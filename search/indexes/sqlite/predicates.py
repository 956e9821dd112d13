"""What SQLite can do with a condition: rows to read (streams), a test by one seek (probe), a test of packed rows (check).

Texts of SQL have `{0}` for the alias of the rows they speak of; a probe speaks of the driving row as `p`, which has `d` and `rid`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

from search.indexes.sqlite.rows import Row

Check = Callable[[list[Row]], bool]

Span = tuple[int | None, int | None]
"""The least and the greatest date that there can be (None: any)."""


class Facts(Protocol):
    """Whether there are any rows of a pid, or of those any whose `v` begins with these bytes."""

    def __call__(self, pid: int, start: bytes = b"") -> bool: ...


class Listing(NamedTuple):
    """How a range may become narrower streams: `sql` with `args` gives the different values (or beginnings of values) of its rows,
    each once, and beside each whether there were too many to look at. `stream` makes the stream of one."""

    sql: str
    args: tuple[Any, ...]
    stream: Callable[[Any], "Stream"]


class Stream(NamedTuple):
    """Rows of idx (or of another table or a query in parentheses that has d and rid, whose arguments then come first) that are
    documents of a predicate. `point`: of one value `v`, hence in the order of (d, rid). `listing`: how a range may become several."""

    pid: int
    test: str = ""
    args: tuple[Any, ...] = ()
    v: Any = None
    point: bool = False
    table: str = "idx"
    listing: Listing | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Predicate:
    """One thing that every document found must satisfy.

    `streams` together give exactly the documents for which it holds, some perhaps twice (none: it cannot drive). `probe` with `args`
    is the same as a condition on row `p` (`on_row`: mostly settled by what `p` itself has); `check` the same on a document's packed
    rows. `any` are alternatives instead: all predicates of one of them must hold. There is always one of the three. `rank` is the
    order in which it pays to count streams: 0 names one document, 9 nearly all. `counts` are streams that are read only to count.
    `few` is `probe` in a form that is faster on few rows (the same `args`), where there is one. `cost` is what testing a row takes, in
    microseconds, where that is far from the usual (0: as usual). `span`, if it is `on_row`: the least and the greatest date in the key
    that its documents can have.
    """

    rank: int
    streams: tuple[Stream, ...] = ()
    probe: str = ""
    args: tuple[Any, ...] = ()
    check: Check | None = None
    on_row: bool = False
    any: tuple[tuple["Predicate", ...], ...] = ()
    counts: tuple[Stream, ...] = ()
    few: str = ""
    cost: float = 0.0
    span: Span = (None, None)


MANY = 200
"""A clause of more different reads cannot drive a search: SQLite has limits on the size of a statement."""

NEVER = Predicate(-1)
"""Holds for no document."""


def at_value(pid: int, test: str = "", args: tuple[Any, ...] = ()) -> Callable[[Any], Stream]:
    """What makes the point of a value, for a `Listing`."""
    return lambda v: Stream(pid, test, args, v, True)


_VALUES = 3_000
"""So many different values of a parameter are looked at to turn a range into points."""


def different(pid: int, low: Any, high: Any, maybe: str = "1", args: tuple[Any, ...] = ()) -> tuple[str, tuple[Any, ...]]:
    """The SQL of a `Listing`: the values from `low` up to `high` (a seek for each) of which `maybe` holds, which speaks of `s.v`."""
    first = "SELECT x.v FROM idx x WHERE x.pid = ? AND x.v >= ? ORDER BY x.v LIMIT 1"
    following = "SELECT x.v FROM idx x WHERE x.pid = ? AND x.v > s.v ORDER BY x.v LIMIT 1"
    return (
        f"WITH RECURSIVE s(v, n) AS (SELECT ({first}), 1 UNION ALL SELECT ({following}), n + 1 FROM s WHERE s.v < ? AND n < {_VALUES})"
        f" SELECT s.v, s.n = {_VALUES} FROM s WHERE s.v < ? AND (n = {_VALUES} OR {maybe})",
        (pid, low, pid, high, high, *args),
    )


def json(values: Sequence[Any]) -> str:
    """Values as one argument, however many there are."""
    return msgspec.json.encode(values).decode()


def points(rank: int, streams: Sequence[Stream], check: Check) -> Predicate:
    """A predicate whose streams can be probed."""
    parts, args = list[str](), list[Any]()
    for pid, test, own, values in merged(streams):
        marks = "= ?" if len(values) == 1 else f"IN ({', '.join('?' * len(values))})"
        more = f" AND {test.format('x')}" if test else ""
        parts.append(f"(SELECT 1 FROM idx x WHERE x.pid = ? AND x.v {marks} AND x.d = p.d AND x.rid = p.rid{more} LIMIT 1)")
        args += [pid, *values, *own]
    return Predicate(rank, tuple(streams), either(parts), tuple(args), check)


def either(texts: Sequence[str]) -> str:
    """Conditions of which one must hold, as a balanced tree: SQLite takes a thousand levels at most."""
    if len(texts) == 1:
        return texts[0]
    half = len(texts) // 2
    return f"({either(texts[:half])} OR {either(texts[half:])})"


def reads(streams: Sequence[Stream]) -> int:
    """How many ranges of the index are read for these."""
    points = [stream for stream in streams if stream.point]
    return len(streams) - len(points) + len(merged(points))


def merged(streams: Iterable[Stream]) -> list[tuple[int, str, tuple[Any, ...], list[Any]]]:
    """Points that differ in `v` only, together: (pid, test, args, values)."""
    groups: dict[tuple[int, str, tuple[Any, ...]], list[Any]] = {}
    for stream in streams:
        groups.setdefault((stream.pid, stream.test, stream.args), []).append(stream.v)
    return [(pid, test, args, list(dict.fromkeys(values))) for (pid, test, args), values in groups.items()]
