"""Choosing where a search begins: counting, bounded, how many rows each predicate would give, and testing the rest on these.

SQLite's own planner knows averages only and picks the wrong end for skewed data (docs/adr/0003), so nothing is left to it: every
statement reads the rows of one stream, in its order, and tests each row by scalar subqueries that are one seek each. What the row
itself settles (the date in the key) narrows the range that is read.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from search.indexes.sqlite.predicates import Check, Predicate, Stream, either, json, merged
from search.indexes.sqlite.reader import Reader
from search.indexes.sqlite.schema import Book


class Source(NamedTuple):
    """Rows to start from: `SELECT … FROM {start}`, whose alias is p. `ordered`: they come in the order of (d, rid)."""

    start: str
    args: tuple[Any, ...]
    ordered: bool


class Plan(NamedTuple):
    """`sources` to read, `tests` (with `args`) on each row p, and at most how many rows the sources have (None: many). `cost`: roughly
    what the tests on a row take, in microseconds. `driver`: the predicate that the sources are of (None: all documents are walked)."""

    sources: tuple[Source, ...]
    tests: str
    args: tuple[Any, ...]
    rows: int | None
    cost: float = 0.0
    driver: Predicate | None = None


class _Narrowed(NamedTuple):
    """A predicate that can drive, and its rows as far as `near`, the predicates that the rows themselves settle, leave them."""

    predicate: Predicate
    streams: tuple[Stream, ...]
    near: tuple[Predicate, ...]

    def apart(self) -> tuple[Source, ...]:
        """A source for each stream."""
        return tuple(source(stream, *self._also()) for stream in self.streams)

    def together(self) -> list[Source]:
        """As few sources as there can be."""
        return sources(self.streams, *self._also())

    def _also(self) -> tuple[str, tuple[Any, ...]]:
        """What else rows must be. The bounds of all come first: of several bounds on one side SQLite seeks by the first."""
        lows = [low for low, _ in (p.span for p in (*self.near, self.predicate)) if low is not None]
        highs = [high for _, high in (p.span for p in (*self.near, self.predicate)) if high is not None]
        texts = [*(["p.d >= ?"] if lows else []), *(["p.d <= ?"] if highs else []), *(p.probe for p in self.near)]
        bounds = [*([max(lows)] if lows else []), *([min(highs)] if highs else [])]
        return "".join(f" AND {text}" for text in texts), (*bounds, *(value for p in self.near for value in p.args))


def source(stream: Stream, also: str = "", values: tuple[Any, ...] = ()) -> Source:
    """One stream by itself, as far as its rows p are `also` such."""
    test = f"{also} AND {stream.test.format('p')}" if stream.test else also
    args = (*values, *stream.args)
    if stream.table != "idx":
        return Source(f"{stream.table} p WHERE {stream.test.format('p')}{also}", (*stream.args, *values), False)
    if stream.point:
        return Source(f"idx p WHERE p.pid = ? AND p.v = ?{test}", (stream.pid, stream.v, *args), True)
    return Source(f"idx p WHERE p.pid = ?{test}", (stream.pid, *args), False)


def sources(streams: Sequence[Stream], also: str = "", more: tuple[Any, ...] = ()) -> list[Source]:
    """Streams with points that differ in their value only put together, so that many alternatives are few statements."""
    if len(streams) == 1:
        return [source(streams[0], also, more)]
    found = [source(stream, also, more) for stream in streams if not stream.point]
    for pid, test, args, values in merged(stream for stream in streams if stream.point):
        if len(values) == 1:
            found.append(source(Stream(pid, test, args, values[0], True), also, more))
            continue
        own = f"{also} AND {test.format('p')}" if test else also
        marks = ", ".join("?" * len(values))
        found.append(Source(f"idx p WHERE p.pid = ? AND p.v IN ({marks}){own}", (pid, *values, *more, *args), False))
    return found


def walk_of(book: Book) -> Source:
    """All documents of a type in the order of their dates."""
    return source(Stream(book.walk, v=0, point=True))


def count_up_to(reader: Reader, found: Source, limit: int) -> int:
    """How many rows a source has, counted up to a limit: the newest first, since ranges of dates begin long before their first match."""
    order = " ORDER BY p.d DESC, p.rid DESC" if found.ordered else ""
    return reader.number(f"SELECT count(*) FROM (SELECT 1 FROM {found.start}{order} LIMIT ?)", (*found.args, limit))


def make_plan(reader: Reader, book: Book, predicates: Sequence[Predicate], *, counted: bool) -> Plan:
    """Choose the driver. `counted`: its rows must be counted even where it is the only one and comes in order."""
    near = tuple(p for p in predicates if p.on_row)
    drivers = [_Narrowed(p, p.streams, _but(near, p)) for p in sorted(predicates, key=lambda p: p.rank) if p.streams]
    if not drivers:
        return _plan(reader, (walk_of(book),), predicates, None)
    if len(drivers) == 1 and not counted:
        only = drivers[0].apart()
        if len(only) == 1 and only[0].ordered:
            return _driven(reader, drivers[0], only, predicates, None)
    limits = reader.limits
    best, live, fewest = drivers[0], drivers[0].together(), limits.gather + 1
    for place, driver in enumerate(drivers):
        if driver.predicate.rank >= _ANYWHERE:
            drivers[place] = _spread(reader, driver)
        rows, alive = (_count if driver.predicate.rank < _ANYWHERE else _gather)(reader, drivers[place].together(), fewest)
        if rows < fewest:
            best, live, fewest = drivers[place], alive, rows
            if rows <= limits.few:
                break
    if fewest <= limits.gather:
        return _driven(reader, best, tuple(live), predicates, fewest)
    return _large(reader, book, [_spread(reader, driver) for driver in drivers], predicates)


_ANYWHERE = 7
"""The rank from which on rows may stand anywhere in the order of values (`:contains`, numbers of any unit): counting them takes
reading all."""


def _but(predicates: Iterable[Predicate], left_out: Predicate | None) -> tuple[Predicate, ...]:
    return tuple(p for p in predicates if p is not left_out)


def _driven(
    reader: Reader, driver: _Narrowed, start: tuple[Source, ...], predicates: Sequence[Predicate], rows: int | None
) -> Plan:
    """The plan that reads these sources of a driver."""
    others = [p for p in predicates if p is not driver.predicate and p not in driver.near]
    return _plan(reader, start, others, rows)._replace(driver=driver.predicate)


def _spread(reader: Reader, driver: _Narrowed) -> _Narrowed:
    """With points (which come in order) or narrower ranges, where its rows have few different values; else as it is."""
    found: list[Stream] = []
    most = reader.limits.few if driver.predicate.rank >= _ANYWHERE else reader.limits.few // 4  # each is read by itself
    for stream in driver.streams:
        listing, room = stream.listing, most - len(found)
        if listing is None:
            found.append(stream)
            continue
        values = reader.rows(f"{listing.sql} LIMIT ?", (*listing.args, max(room, 0) + 1))
        if len(values) > room or any(many for _, many in values):
            return driver
        found += [listing.stream(v) for v, _ in values]
    return driver._replace(streams=tuple(found) or (Stream(driver.streams[0].pid, point=True),))  # none: rows of no value


def _count(reader: Reader, found: Iterable[Source], limit: int) -> tuple[int, list[Source]]:
    """Rows of sources, up to a limit, and those that have any."""
    total, alive = 0, []
    for each in found:
        rows = count_up_to(reader, each, limit - total)
        if rows:
            alive.append(each)
        total += rows
        if total >= limit:
            break
    return total, alive


def _gather(reader: Reader, found: Sequence[Source], limit: int) -> tuple[int, list[Source]]:
    """As `_count`, where counting takes as long as reading: what was read, if that is all, is the only source."""
    rows: dict[tuple[int, int], None] = {}
    for each in found:
        order = " ORDER BY p.d DESC, p.rid DESC" if each.ordered else ""
        sql = f"SELECT DISTINCT p.d, p.rid FROM {each.start}{order} LIMIT ?"  # a document may have more rows than the limit
        rows.update(dict.fromkeys(reader.rows(sql, (*each.args, limit))))
        if len(rows) >= limit:
            return len(rows), list(found)
    given = "(SELECT value ->> 0 AS d, value ->> 1 AS rid FROM json_each(?)) p WHERE 1"
    return len(rows), [Source(given, (json(list(rows)),), False)] if rows else []


def _large(reader: Reader, book: Book, drivers: Sequence[_Narrowed], predicates: Sequence[Predicate]) -> Plan:
    """Every driver has many rows: take one that comes in order, or a range that can still be sorted, or walk the type."""
    for driver in drivers:
        if all(stream.point for stream in driver.streams) and len(driver.streams) <= reader.limits.few:
            alone = driver.apart()
            live = alone if len(alone) == 1 else tuple(s for s in alone if count_up_to(reader, s, 1))
            return _driven(reader, driver, live, predicates, None)
    for driver in drivers:
        found = driver.together()
        if _count(reader, found, reader.limits.scan + 1)[0] <= reader.limits.scan:
            return _driven(reader, driver, tuple(found), predicates, reader.limits.scan)
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
    texts, args, checks, cost = list[str](), list[Any](), list[Check](), 0.0
    for predicate in sorted(others, key=_dearest_last):
        found = _test(reader, predicate, rows)
        if isinstance(found, _Test):
            texts.append(found.text)
            args += found.args
            cost += found.cost
        else:
            checks.append(found)
            cost += predicate.cost
    if checks:
        texts.append(_CHECK)
        args.append(reader.keep(_all_of(checks)))
        cost += _UNPACKING
    return Plan(start, "".join(f" AND {text}" for text in texts), tuple(args), rows, cost)


_CHECK = "fhir_check(?, (SELECT k.rows FROM packed k WHERE k.rid = p.rid))"


def _all_of(checks: Sequence[Check]) -> Check:
    """The packed rows of a document are unpacked once for all checks."""
    return checks[0] if len(checks) == 1 else lambda rows: all(check(rows) for check in checks)


class _Test(NamedTuple):
    """A test on a row p and roughly what it takes, in microseconds."""

    text: str
    args: tuple[Any, ...]
    cost: float


_UNPACKING, _SEEK, _LOOK = 8.0, 1.0, 0.3
"""What tests take, in microseconds: on packed rows, by a seek, in the row or in a list in memory."""


def _dearest_last(predicate: Predicate) -> int:
    """What the row itself settles comes before seeks, these before looking into packed rows and choosing among alternatives."""
    return 0 if predicate.on_row else 1 if predicate.probe else 2 if not predicate.any else 3


def tests_of(reader: Reader, predicates: Sequence[Predicate], rows: int | None = None) -> tuple[str, tuple[Any, ...]]:
    """All predicates as tests on a row p of a long walk, or of as many rows as there are in a statement."""
    plan = _plan(reader, (), predicates, rows)
    return plan.tests, plan.args


def _test(reader: Reader, predicate: Predicate, rows: int | None) -> _Test | Check:
    """How a predicate is tested on a row: by SQL, or by its check."""
    if predicate.few and rows is not None and rows <= reader.limits.few:
        return _Test(predicate.few, predicate.args, _SEEK)
    if predicate.probe:
        return _Test(predicate.probe, predicate.args, predicate.cost or (_LOOK if predicate.on_row else _SEEK))
    if predicate.any:
        check = _check_of(predicate)
        if check is not None and not _all_probed(predicate):
            return check
        plans = [_plan(reader, (), option, rows) for option in predicate.any]
        either_of = either([f"({plan.tests.removeprefix(' AND ')})" for plan in plans])
        return _Test(either_of, tuple(value for plan in plans for value in plan.args), sum(plan.cost for plan in plans))
    if predicate.streams:
        listed = reader.limits.listed
        most = min(4 * rows + 1, listed) if rows is not None else listed
        if predicate.rank < 7 and _count(reader, sources(predicate.streams), most)[0] < most:
            return _list(predicate)
    assert predicate.check is not None
    return predicate.check


def _check_of(predicate: Predicate) -> Check | None:
    """A predicate as a check of packed rows; None where it has none."""
    if not predicate.any:
        return predicate.check
    options = [[_check_of(part) for part in option] for option in predicate.any]
    if any(check is None for option in options for check in option):
        return None
    checks = [_all_of([check for check in option if check is not None]) for option in options]
    return lambda rows: any(check(rows) for check in checks)


def _all_probed(predicate: Predicate) -> bool:
    return bool(predicate.probe) or (bool(predicate.any) and all(_all_probed(part) for option in predicate.any for part in option))


def _list(predicate: Predicate) -> _Test:
    found = [(f"SELECT p.rid FROM {each.start}", each.args) for each in sources(predicate.streams)]
    return _Test(f"p.rid IN ({' UNION ALL '.join(text for text, _ in found)})", tuple(a for _, args in found for a in args), _LOOK)


def union(plan: Plan) -> tuple[str, list[Any]]:
    """All matches of a plan as (d, rid), each once, in no order."""
    args: list[Any] = []
    for each in plan.sources:
        args += each.args
        args += plan.args
    if len(plan.sources) == 1:
        return f"SELECT DISTINCT p.d, p.rid FROM {plan.sources[0].start}{plan.tests}", args
    return " UNION ".join(f"SELECT p.d, p.rid FROM {each.start}{plan.tests}" for each in plan.sources), args
