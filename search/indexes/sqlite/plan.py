"""Choosing where a search begins: counting, bounded, how many rows each predicate would give, and testing the rest on these.

SQLite's own planner knows averages only and picks the wrong end for skewed data (docs/adr/0003), so nothing is left to it: every
statement reads the rows of one stream, in its order, and tests each row by scalar subqueries that are one seek each.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from search.indexes.sqlite.predicates import Predicate, Stream, either, merged
from search.indexes.sqlite.reader import Reader
from search.indexes.sqlite.schema import Book


class Source(NamedTuple):
    """Rows to start from: `SELECT … FROM {start}`, whose alias is p. `ordered`: they come in the order of (d, rid)."""

    start: str
    args: tuple[Any, ...]
    ordered: bool


class Plan(NamedTuple):
    """`sources` to read, `tests` (with `args`) on each row p, and at most how many rows the sources have (None: many)."""

    sources: tuple[Source, ...]
    tests: str
    args: tuple[Any, ...]
    rows: int | None


def source(stream: Stream) -> Source:
    """One stream by itself."""
    test = f" AND {stream.test.format('p')}" if stream.test else ""
    if stream.table != "idx":
        return Source(f"{stream.table} p WHERE {stream.test.format('p')}", stream.args, False)
    if stream.point:
        return Source(f"idx p WHERE p.pid = ? AND p.v = ?{test}", (stream.pid, stream.v, *stream.args), True)
    return Source(f"idx p WHERE p.pid = ?{test}", (stream.pid, *stream.args), False)


def sources(streams: Sequence[Stream]) -> list[Source]:
    """Streams with points that differ in their value only put together, so that many alternatives are few statements."""
    if len(streams) == 1:
        return [source(streams[0])]
    found = [source(stream) for stream in streams if not stream.point]
    for pid, test, args, values in merged(stream for stream in streams if stream.point):
        if len(values) == 1:
            found.append(source(Stream(pid, test, args, values[0], True)))
            continue
        more = f" AND {test.format('p')}" if test else ""
        marks = ", ".join("?" * len(values))
        found.append(Source(f"idx p WHERE p.pid = ? AND p.v IN ({marks}){more}", (pid, *values, *args), False))
    return found


def walk_of(book: Book) -> Source:
    """All documents of a type in the order of their dates."""
    return source(Stream(book.walk, v=0, point=True))


def count_up_to(reader: Reader, found: Source, limit: int) -> int:
    """How many rows a source has, counted up to a limit."""
    return reader.number(f"SELECT count(*) FROM (SELECT 1 FROM {found.start} LIMIT ?)", (*found.args, limit))


def make_plan(reader: Reader, book: Book, predicates: Sequence[Predicate], *, counted: bool) -> Plan:
    """Choose the driver. `counted`: its rows must be counted even where it is the only one and comes in order."""
    drivers = sorted((p for p in predicates if p.streams), key=lambda p: p.rank)
    if not drivers:
        return _plan(reader, (walk_of(book),), predicates, None)
    if len(drivers) == 1 and not counted:
        only = [source(stream) for stream in drivers[0].streams]
        if len(only) == 1 and only[0].ordered:
            return _plan(reader, (only[0],), [p for p in predicates if p is not drivers[0]], None)
    limits = reader.limits
    best, live, fewest = drivers[0], sources(drivers[0].streams), limits.gather + 1
    for driver in drivers:
        rows, alive = _count(reader, driver, fewest)
        if rows < fewest:
            best, live, fewest = driver, alive, rows
            if rows <= limits.few:
                break
    others = [p for p in predicates if p is not best]
    if fewest <= limits.gather:
        return _plan(reader, tuple(live), others, fewest)
    return _large(reader, book, drivers, predicates)


def _count(reader: Reader, predicate: Predicate, limit: int) -> tuple[int, list[Source]]:
    """Rows of a predicate, up to a limit, and those of its sources that have any."""
    total, alive = 0, []
    for each in sources(predicate.streams):
        rows = count_up_to(reader, each, limit - total)
        if rows:
            alive.append(each)
        total += rows
        if total >= limit:
            break
    return total, alive


def _large(reader: Reader, book: Book, drivers: Sequence[Predicate], predicates: Sequence[Predicate]) -> Plan:
    """Every driver has many rows: take one that comes in order, or a range that can still be sorted, or walk the type."""
    for driver in drivers:
        if all(stream.point for stream in driver.streams) and len(driver.streams) <= reader.limits.few:
            alone = tuple(source(stream) for stream in driver.streams)
            live = alone if len(alone) == 1 else tuple(s for s in alone if count_up_to(reader, s, 1))
            return _plan(reader, live, [p for p in predicates if p is not driver], None)
    for driver in drivers:
        if _count(reader, driver, reader.limits.scan + 1)[0] <= reader.limits.scan:
            return _plan(reader, tuple(sources(driver.streams)), [p for p in predicates if p is not driver], reader.limits.scan)
    return _plan(reader, (walk_of(book),), predicates, None)


def count_plan(reader: Reader, predicates: Sequence[Predicate], walked: Plan) -> Plan:
    """The plan for counting: where a walk would test every document of the type by a range, rather read the range."""
    counted = next((p for p in predicates if p.counts), None)
    if walked.rows is None and counted is not None:
        return _plan(reader, tuple(sources(counted.counts)), [p for p in predicates if p is not counted], None)
    drivers = [p for p in predicates if p.streams]
    if walked.rows is not None or not drivers or not any(not p.probe for p in drivers):
        return walked
    best = min(drivers, key=lambda p: (bool(p.probe), p.rank))
    return _plan(reader, tuple(sources(best.streams)), [p for p in predicates if p is not best], None)


def _plan(reader: Reader, start: tuple[Source, ...], others: Sequence[Predicate], rows: int | None) -> Plan:
    texts, args = list[str](), list[Any]()
    for predicate in sorted(others, key=_dearest_last):
        text, values = _test(reader, predicate, rows)
        texts.append(text)
        args += values
    return Plan(start, "".join(f" AND {text}" for text in texts), tuple(args), rows)


def _dearest_last(predicate: Predicate) -> int:
    """What the row itself settles comes before seeks, these before looking into packed rows and choosing among alternatives."""
    return 0 if predicate.on_row else 1 if predicate.probe else 2 if not predicate.any else 3


def tests_of(reader: Reader, predicates: Sequence[Predicate]) -> tuple[str, tuple[Any, ...]]:
    """All predicates as tests on a row p of a long walk."""
    plan = _plan(reader, (), predicates, None)
    return plan.tests, plan.args


def _test(reader: Reader, predicate: Predicate, rows: int | None) -> tuple[str, tuple[Any, ...]]:
    if predicate.few and rows is not None and rows <= reader.limits.few:
        return predicate.few, predicate.args
    if predicate.probe:
        return predicate.probe, predicate.args
    if predicate.any:
        plans = [_plan(reader, (), option, rows) for option in predicate.any]
        either_of = either([f"({plan.tests.removeprefix(' AND ')})" for plan in plans])
        return either_of, tuple(value for plan in plans for value in plan.args)
    if predicate.streams:
        listed = reader.limits.listed
        most = min(4 * rows + 1, listed) if rows is not None else listed
        if predicate.rank < 7 and _count(reader, predicate, most)[0] < most:
            return _list(predicate)
    assert predicate.check is not None
    return "fhir_check(?, (SELECT k.rows FROM packed k WHERE k.rid = p.rid))", (reader.keep(predicate.check),)


def _list(predicate: Predicate) -> tuple[str, tuple[Any, ...]]:
    found = [(f"SELECT p.rid FROM {each.start}", each.args) for each in sources(predicate.streams)]
    return f"p.rid IN ({' UNION ALL '.join(text for text, _ in found)})", tuple(a for _, args in found for a in args)


def union(plan: Plan) -> tuple[str, list[Any]]:
    """All matches of a plan as (d, rid), each once, in no order."""
    args: list[Any] = []
    for each in plan.sources:
        args += each.args
        args += plan.args
    if len(plan.sources) == 1:
        return f"SELECT DISTINCT p.d, p.rid FROM {plan.sources[0].start}{plan.tests}", args
    return " UNION ".join(f"SELECT p.d, p.rid FROM {each.start}{plan.tests}" for each in plan.sources), args
