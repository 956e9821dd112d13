"""One page of a search: reading a plan's rows, in order, from where the last page ended; and the total."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from resources.store import Key
from search.index import Result
from search.indexes.sqlite.beside.following import Follower
from search.indexes.sqlite.compile import compile_clause, compile_query
from search.indexes.sqlite.links import Linker
from search.indexes.sqlite.order import Position, after, in_order, make_order, positions
from search.indexes.sqlite.plan import Plan, Source, count_plan, make_plan, tests_of, union, walk_of
from search.indexes.sqlite.predicates import NEVER, Predicate, json
from search.indexes.sqlite.reader import Reader
from search.indexes.sqlite.schema import Codebook
from search.indexes.sqlite.words.compiling import scores_of
from search.query import Clause, Modifier, Query
from search.text.scoring import SCORE, scored
from search.values import NO_DATE, hash64

ESTIMATE = 10_000
"""Up to so many matches are counted where the total need not be exact."""

_EFFORT = {"cheap": 500, "estimate": 20_000}
"""Microseconds that counting may take where it may be left out, and for an estimate that was asked for."""

_ROW = 0.1
"""Roughly the microseconds that reading a row takes."""

_LEAST = 100
"""So many rows are looked at for an estimate, whatever testing them takes."""


def search(reader: Reader, codes: Codebook, query: Query) -> Result:
    """The page that the query asks for. Inside a transaction of the reader."""
    predicates = compile_query(query, codes, reader.any_of, Linker(reader, codes, query.allowed))
    if predicates is None:
        return Result([], None, None if query.total == "none" and query.count > 0 else 0)
    search = _Search(reader, codes, query, predicates)
    return search.page() if query.count > 0 else search.only_total()


def search_in_turn(reader: Reader, codes: Codebook, queries: Sequence[Query], count: int, cursor: Position | None) -> Result:
    """One page of what the queries find, one after the other. Inside a transaction of the reader."""
    first, *place = cursor or (0,)
    keys: list[Key] = []
    for number in _promising(reader, codes, queries, first):
        reader.on_time()
        if len(keys) == count:
            if queries[number].allowed is None or _finds(reader, codes, queries[number]):
                return Result(keys, (number,), None)
            continue  # a link to a page on which nothing can be seen would tell that something is there
        at = tuple(place) if number == first and place else None
        page = search(reader, codes, replace(queries[number], count=count - len(keys), cursor=at, total="none"))
        keys += page.keys
        if page.cursor is not None:
            return Result(keys, (number, *page.cursor), None)
    return Result(keys, None, None)


def _finds(reader: Reader, codes: Codebook, query: Query) -> bool:
    return bool(search(reader, codes, replace(query, count=1, cursor=None, total="none")).keys)


def _promising(reader: Reader, codes: Codebook, queries: Sequence[Query], first: int) -> list[int]:
    """The numbers, from `first` on, of queries whose compartments have any document of the type: one statement finds out for all."""
    wanted, rest = list[tuple[int, int, int]](), list[int]()
    for number, query in enumerate(queries[first:], first):
        book = codes.books.get(query.type)
        if book is not None and query.compartments:
            wanted.append((number, book.patient, hash64(f"Patient/{query.compartments[0].patient}")))
        else:
            rest.append(number)
    sql = (
        "SELECT t.value ->> 0 FROM json_each(?) t"
        " WHERE EXISTS (SELECT 1 FROM idx x WHERE x.pid = t.value ->> 1 AND x.v = t.value ->> 2)"
    )
    found = reader.rows(sql, (json(wanted),)) if wanted else []
    return sorted([*rest, *(number for (number,) in found)])


class _Search:
    """One search on one state of the database."""

    def __init__(self, reader: Reader, codes: Codebook, query: Query, predicates: list[Predicate]) -> None:
        book = codes.books[query.type]
        self.reader, self.codes, self.book, self.query, self.predicates = reader, codes, book, query, predicates
        self.order = make_order(query.sort, book, reader)
        self.cursor: Position | None = query.cursor

    def plan(self, *, counted: bool) -> Plan:
        return make_plan(self.reader, self.book, self.predicates, counted=counted)

    def only_total(self) -> Result:
        plan = self.plan(counted=True)
        total, exact = self.total(plan)
        return Result([], None, total, exact)

    def page(self) -> Result:
        order, size = self.order, self.query.count
        plan = self.plan(counted=not order.by_date)
        in_order_already = order.by_date and all(s.ordered for s in plan.sources)
        if (
            plan.rows is not None
            and plan.rows <= self.reader.limits.gather
            and (self.query.total != "none" or not in_order_already)
        ):
            return self._gathered(plan)
        if order.by_date:
            found = self._by_date(plan, size + 1)
        elif order.walked:
            found = self._by_value(size + 1)
        else:
            return self._gathered(plan)
        return self._result(found, plan)

    def _gathered(self, plan: Plan) -> Result:
        """All matches read at once, then sorted and counted here."""
        rows = self.reader.rows(*union(plan)) if plan.sources else []
        total = len(rows)
        follow = Follower(self.reader, self.codes, self.query, total)
        scores = scores_of(self.reader, self.query, [rid for _, rid in rows]) if scored(self.query) else {}
        found = in_order(self.order, positions(self.reader, self.order, self.book, rows, follow, scores))
        if self.cursor is not None:
            found = after(self.order, found, self.cursor)
        return self._result(found[: self.query.count + 1], plan, total)

    def _result(self, found: list[Position], plan: Plan, total: int | None = None) -> Result:
        """The page of sorted positions, of which there is one more than the page holds if there is a next one."""
        size = self.query.count
        more, page = len(found) > size, found[:size]
        exact = True
        if self.query.total == "none":
            total = None
        elif total is None and not more and self.cursor is None:
            total = len(found)
        elif total is None:
            total, exact = self.total(plan)
            total = max(total, len(found)) if total is not None else None
        keys = keys_of(self.reader, self.query.type, [position[-1] for position in page])
        place = next((n for n, key in enumerate(self.query.sort) if key.parameter.code == SCORE), None)
        scores = tuple(position[place] for position in page) if place is not None else ()
        return Result(keys, page[-1] if more else None, total, exact, scores=scores)

    def total(self, plan: Plan) -> tuple[int | None, bool]:
        """How many match, and whether exactly; None where counting is not worth it. Of an estimate at least so many."""
        if self.query.total not in _EFFORT:
            return self.count(plan), True
        total, exact = self.estimate(plan, _EFFORT[self.query.total])
        return (total, exact) if exact or self.query.total == "estimate" else (None, True)

    def count(self, plan: Plan) -> int:
        """How many documents match, exactly."""
        plan = count_plan(self.reader, self.predicates, plan)
        if not plan.sources:
            return 0
        sql, args = union(plan)
        return self.reader.number(f"SELECT count(*) FROM ({sql})", args)

    def estimate(self, plan: Plan, effort: int) -> tuple[int, bool]:
        """(total, True) as far as counting takes no more microseconds, else (how many were found so far, False)."""
        if plan.rows is not None and plan.rows <= self.reader.limits.gather:
            return self.count(plan), True
        if not plan.sources:
            return 0, True
        sql, args, most = _counted_part(plan, effort)
        rows, found = self.reader.rows(sql, args)[0]
        return (found, True) if rows < most else (min(found, ESTIMATE), False)

    def _by_date(self, plan: Plan, limit: int) -> list[Position]:
        """The next positions in the order of the date in the key; documents without a date at the end."""
        cursor, order = self.cursor, self.order
        if order.descending:  # NO_DATE is below all dates
            return self._shaped(self._read(plan, limit, "", cursor))
        found: list[Position] = []
        if cursor is None or cursor[0] is not None:
            found = self._shaped(self._read(plan, limit, f" AND p.d > {NO_DATE}", cursor))
        if len(found) < limit:
            rest = cursor if cursor is not None and cursor[0] is None else None
            found += self._shaped(self._read(plan, limit - len(found), f" AND p.d = {NO_DATE}", rest))
        return found

    def _shaped(self, rows: list[tuple[int, int]]) -> list[Position]:
        if not self.order.keys:
            return list(rows)
        return [(None if d == NO_DATE else d, d, rid) for d, rid in rows]

    def _read(self, plan: Plan, limit: int, also: str, cursor: Position | None) -> list[tuple[int, int]]:
        """Up to `limit` matches (d, rid) after a cursor, in order, from each source and then merged."""
        found: set[tuple[int, int]] = set()
        for each in plan.sources:
            found.update(self.reader.rows(*_ordered(each, plan, self.order.descending, limit, also, cursor)))
        return sorted(found, reverse=self.order.descending)[:limit]

    def _by_value(self, limit: int) -> list[Position]:
        """The next positions by the rows of the sort key itself, then documents without a value in the order of dates."""
        cursor, found = self.cursor, list[Position]()
        tests, args = tests_of(self.reader, self.predicates)
        if cursor is None or cursor[0] is not None:
            for pid in self.order.walked:
                found += self._walk_values(pid, tests, args, limit)
            found = list(dict.fromkeys(in_order(self.order, found)))[:limit]
        if len(found) < limit and self.order.edge is not None:
            key = self.order.keys[0]
            lacking = compile_clause(Clause(key.parameter, Modifier.MISSING, (), True), self.book, self.reader.any_of)
            if lacking is not None and lacking is not NEVER:
                more, values = tests_of(self.reader, [lacking])
                plan = Plan((walk_of(self.book),), tests + more, (*args, *values), None)
                rest = cursor if cursor is not None and cursor[0] is None else None
                found += [(None, d, rid) for d, rid in self._read(plan, limit - len(found), "", rest)]
        return found

    def _walk_values(self, pid: int, tests: str, args: tuple[Any, ...], limit: int) -> list[Position]:
        values: list[Any] = [pid]
        way, sign = ("DESC", "<") if self.order.descending else ("ASC", ">")
        start = ""
        if self.cursor is not None:
            start = f" AND (p.v, p.d, p.rid) {sign} (?, ?, ?)"
            values += self.cursor
        values += args
        edge = ""
        if self.order.edge is not None:
            edge = " AND fhir_edge(?, (SELECT k.rows FROM packed k WHERE k.rid = p.rid), p.v)"
            values.append(self.reader.keep(self.order.edge))
        sql = (
            f"SELECT DISTINCT p.v, p.d, p.rid FROM idx p WHERE p.pid = ?{start}{tests}{edge}"
            f" ORDER BY p.v {way}, p.d {way}, p.rid {way} LIMIT ?"
        )
        return self.reader.rows(sql, [*values, limit])


def _ordered(each: Source, plan: Plan, descending: bool, limit: int, also: str, cursor: Position | None) -> tuple[str, list[Any]]:
    """The statement that reads one source in the order of (d, rid), after a cursor, up to a limit."""
    way, sign = ("DESC", "<") if descending else ("ASC", ">")
    start, args = each.start, list(each.args)
    if cursor is not None:
        after, place = f"(p.d, p.rid) {sign} (?, ?)", cursor[-2:]
        if each.ordered:  # before the other bounds: of several SQLite seeks by the first
            start, args = start.replace(" WHERE ", f" WHERE {after} AND ", 1), [*place, *args]
        else:
            start, args = f"{start} AND {after}", [*args, *place]
    args += [*plan.args, limit]
    return f"SELECT DISTINCT p.d, p.rid FROM {start}{also}{plan.tests} ORDER BY p.d {way}, p.rid {way} LIMIT ?", args


def _counted_part(plan: Plan, effort: int) -> tuple[str, list[Any], int]:
    """The statement that counts the first rows of a plan and the matches among them, its values, and how many rows it looks at."""
    most = max(_LEAST, min(ESTIMATE + 1, round(effort / (_ROW + plan.cost))))
    most = min(most, ESTIMATE + 1)
    texts, args = list[str](), list(plan.args)
    for each in plan.sources:
        order = " ORDER BY p.d DESC, p.rid DESC" if each.ordered else ""
        texts.append(f"SELECT * FROM (SELECT DISTINCT p.d, p.rid FROM {each.start}{order} LIMIT ?)")
        args += [*each.args, most]
    one = len(plan.sources) == 1
    matches = f"count({'*' if one else 'DISTINCT p.rid'}) FILTER (WHERE 1{plan.tests})" if plan.tests or not one else "count(*)"
    return f"SELECT count(*), {matches} FROM ({' UNION ALL '.join(texts)} LIMIT ?) p", [*args, most], most


def keys_of(reader: Reader, type: str, rids: list[int]) -> list[Key]:
    """The keys of documents of one type, in the order of their rows given."""
    if not rids:
        return []
    if len(rids) == 1:
        return [Key(type, reader.rows("SELECT id FROM item WHERE rid = ?", rids)[0][0], rids[0])]
    found = dict(reader.rows(f"SELECT rid, id FROM item WHERE rid IN ({', '.join('?' * len(rids))})", rids))
    return [Key(type, found[rid], rid) for rid in rids]
