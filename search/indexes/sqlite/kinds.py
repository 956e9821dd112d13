"""Clauses of each kind of parameter as predicates."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from conformance.fhirpath import compile_paths
from search.indexes.sqlite.intervals import NUMBERS, TIMES, Comparison, Encode, before, bounds_of, holds, sql
from search.indexes.sqlite.predicates import (
    MANY,
    Check,
    Facts,
    Listing,
    Predicate,
    Stream,
    at_value,
    different,
    either,
    json,
    points,
)
from search.indexes.sqlite.rows import CUT, UNIT, Row, ordered, unit_key, unordered, wide_system
from search.indexes.sqlite.schema import FOLDED, FOLDED_WIDE, NARROW, NORMAL, WIDE, Book, Field, system_number
from search.indexes.sqlite.special.composites import composite
from search.indexes.sqlite.special.labels import label, note
from search.indexes.sqlite.special.places import position
from search.parameter import SearchParameter
from search.query import (
    Clause,
    Modifier,
    Prefix,
    Term,
)
from search.values import NO_DATE, fold, hash64


def members(term: Term) -> tuple[Any, ...]:
    """The members of a term's value, whatever its kind."""
    return tuple(term.value)


def _token(clause: Clause, field: Field, book: Book) -> Predicate:
    own, pids = (field.pid, field.pid + FOLDED), field.pids
    wanted: dict[tuple[str | None, int | None], None] = {}
    for term in clause.terms:
        system, code = members(term)
        wanted[(code if term.code_given else None, system_number(system) if term.system_given else None)] = None

    def check(rows: list[Row]) -> bool:
        return any(p in own and not wanted.keys().isdisjoint(((v, w), (v, None), (None, w))) for p, v, w in rows)

    if len(wanted) > MANY and all(code is not None for code, _ in wanted):  # a value set, say
        return Predicate(3, _listed(wanted, pids), check=check)
    streams = list[Stream]()
    for code, w in wanted:
        test, args = ("{0}.w = ?", (w,)) if w is not None else ("", ())
        v = hash64(code) if code is not None else None
        streams += [Stream(pid, test, args, v, v is not None) for pid in pids]
    if all(stream.point for stream in streams):
        return points(0 if field.code == "identifier" else 3, streams, check)
    return Predicate(7, tuple(streams), check=check)


def _listed(wanted: Iterable[tuple[str | None, int | None]], pids: Sequence[int]) -> tuple[Stream, ...]:
    """Rows of any of very many codes, as one list for each system."""
    systems: dict[int | None, list[int]] = {}
    for code, system in wanted:
        systems.setdefault(system, []).append(hash64(str(code)))
    streams = []
    for system, codes in systems.items():
        of, own = ("{0}.w = ?", (system,)) if system is not None else ("1", ())
        test, args = f"{{0}}.v IN (SELECT value FROM json_each(?)) AND {of}", (json(codes), *own)
        there = "SELECT t.value, 0 FROM json_each(?) t WHERE EXISTS (SELECT 1 FROM idx x WHERE x.pid = ? AND x.v = t.value)"
        for pid in pids:
            listing = Listing(there, (json(codes), pid), at_value(pid, of, own))
            streams.append(Stream(pid, test, args, listing=listing))
    return tuple(streams)


def _reference(clause: Clause, field: Field, book: Book) -> Predicate:
    if sum(len(term.types) for term in clause.terms) > _MANY_TARGETS:
        return _bare_ids(clause.terms, field)
    targets = {f"{type}/{members(t)[0]}" for t in clause.terms for type in t.types}
    targets |= {str(members(t)[0]) for t in clause.terms if not t.types}
    streams = []
    for target in sorted(targets):
        v = hash64(target)
        if field.patient and target.startswith("Patient/"):
            streams.append(Stream(book.patient, "{0}.w & ?", (field.patient,), v, True))
        streams.append(Stream(field.pid, v=v, point=True))
    pids = (field.pid + NORMAL, field.pid + FOLDED)
    return points(1, streams, lambda rows: any(p in pids and v in targets for p, v, _ in rows))


_MANY_TARGETS = 2_000


def _bare_ids(terms: Sequence[Term], field: Field) -> Predicate:
    """Very many ids of any type: each document's references are looked at."""
    whole = {str(members(term)[0]) for term in terms if not term.types}
    bare: dict[str, set[str]] = {}
    for term in terms:
        bare.setdefault(str(members(term)[0]), set()).update(term.types)
    pids = (field.pid + NORMAL, field.pid + FOLDED)

    def check(rows: list[Row]) -> bool:
        targets = [v for pid, v, _ in rows if pid in pids]
        parts = [target.partition("/") for target in targets]
        return not whole.isdisjoint(targets) or any(type in bare.get(id, ()) for type, _, id in parts)

    return Predicate(9, check=check)


def _uri(clause: Clause, field: Field, book: Book) -> Predicate:
    wanted = {str(members(term)[0]) for term in clause.terms}
    if clause.modifier is Modifier.BELOW:
        whole = frozenset(wanted) | {uri.rstrip("/") for uri in wanted}
        starts = tuple(f"{uri.rstrip('/')}/" for uri in wanted)
        return Predicate(9, check=lambda rows: any(p == field.pid and (v in whole or v.startswith(starts)) for p, v, _ in rows))
    streams = [Stream(field.pid, v=hash64(uri), point=True) for uri in sorted(wanted)]
    return points(1, streams, lambda rows: any(p == field.pid and v in wanted for p, v, _ in rows))


def _string(clause: Clause, field: Field, book: Book) -> Predicate:
    own = (field.pid, field.pid + FOLDED)
    terms = [(str(members(term)[0]), str(members(term)[1])) for term in clause.terms]
    if clause.modifier is Modifier.EXACT:
        exacts = {exact for _, exact in terms}
        streams = []
        for folded, exact in terms:
            w = 0 if exact == folded and len(folded) < CUT else exact
            streams += [Stream(pid, "{0}.w = ?", (w,), folded[:CUT], True) for pid in field.pids]
        return points(1, streams, lambda rows: any(p in own and (w or v) in exacts for p, v, w in rows))
    if clause.modifier is Modifier.EQUALS:
        return _equals([folded for folded, _ in terms], field)
    if clause.modifier is Modifier.ENDS:
        ends = tuple(folded for folded, _ in terms)
        spans = tuple(_within(pid, f"substr({_WHOLE}, ?) = ?", (-len(end), end)) for end in ends for pid in field.pids)
        return Predicate(8, spans, check=lambda rows: any(p in own and _whole(v, w).endswith(ends) for p, v, w in rows))
    if clause.modifier is Modifier.CONTAINS:
        spans = tuple(_within(pid, f"instr({_WHOLE}, ?) > 0", (folded,)) for folded, _ in terms for pid in field.pids)
        return Predicate(
            8, spans, check=lambda rows: any(p in own and any(f in _whole(v, w) for f, _ in terms) for p, v, w in rows)
        )
    starts = tuple(folded for folded, _ in terms)
    spans = tuple(_prefix(pid, start) for start in starts for pid in field.pids)
    return Predicate(2, spans, check=lambda rows: any(p in own and _whole(v, w).startswith(starts) for p, v, w in rows))


_WHOLE = f"CASE WHEN length({{0}}.v) < {CUT} THEN {{0}}.v ELSE fhir_fold({{0}}.w) END"


def _equals(texts: Sequence[str], field: Field) -> Predicate:
    own = (field.pid, field.pid + FOLDED)
    streams = []
    for text in texts:
        test, args = ("fhir_fold({0}.w) = ?", (text,)) if len(text) >= CUT else ("", ())
        streams += [Stream(pid, test, args, text[:CUT], True) for pid in field.pids]
    return points(1, streams, lambda rows: any(p in own and _whole(v, w) in texts for p, v, w in rows))


def _whole(v: str, w: Any) -> str:
    return v if len(v) < CUT else fold(w)


def _prefix(pid: int, start: str) -> Stream:
    if len(start) >= CUT:
        return Stream(pid, "substr(fhir_fold({0}.w), 1, ?) = ?", (len(start), start), start[:CUT], True)
    end = before(start)
    listing = Listing(*different(pid, start, _ABOVE if end is None else end), at_value(pid))
    if end is None:
        return Stream(pid, "{0}.v >= ?", (start,), listing=listing)
    return Stream(pid, "{0}.v >= ? AND {0}.v < ?", (start, end), listing=listing)


_ABOVE = b""
"""Greater than every text."""


def _within(pid: int, test: str, args: tuple[Any, ...]) -> Stream:
    """Rows of texts of which something holds, wherever in the text that shows."""
    maybe = f"length(s.v) >= {CUT} OR {test.replace(_WHOLE, 's.v')}"
    return Stream(pid, test, args, listing=Listing(*different(pid, "", _ABOVE, maybe, args), at_value(pid, test, args)))


def _bounds(term: Term) -> tuple[Any, Any, Any]:
    """(l, h, v) of a term's value, as the tables at `search.query.Prefix` name them."""
    value = members(term)
    return (value[-3], value[-2], value[-1]) if len(value) > 2 else (value[0], value[1], 0)


def _interval_check(rules: dict[Prefix, Comparison], terms: Sequence[Term], ends: Callable[[Row], tuple[Any, Any] | None]) -> Check:
    wanted = [(rules[term.prefix], _bounds(term)) for term in terms]

    def check(rows: list[Row]) -> bool:
        for row in rows:
            found = ends(row)
            if found is not None and any(holds(rule, bounds, *found) for rule, bounds in wanted):
                return True
        return False

    return check


def _date_check(clause: Clause, field: Field) -> Check:
    pids = (field.pid + NORMAL, field.pid + WIDE, field.pid + FOLDED)
    return _interval_check(TIMES, clause.terms, lambda row: (row[1], row[2]) if row[0] in pids else None)


SECOND = 1_000_000
"""The widest an instant can be, in microseconds."""


@lru_cache(maxsize=1_024)
def _widest(parameter: SearchParameter) -> int:
    """The widest interval of a parameter's NORMAL rows. Of instants alone (free slots, appointments) it is so short that what began
    long ago need not be looked at to find what is still to come."""
    paths = compile_paths(parameter.expression, parameter.type)
    return SECOND if paths and all(path.fhir_type == "instant" for path in paths) else NARROW


def _plain_date(clause: Clause, field: Field, book: Book) -> Predicate:
    narrow = _widest(clause.parameter)
    return Predicate(4, tuple(s for t in clause.terms for s in _date_spans(t, field, narrow)), check=_date_check(clause, field))


def _date_spans(term: Term, field: Field, widest: int) -> tuple[Stream, Stream]:
    bounds, rule = _bounds(term), TIMES[term.prefix]
    narrow = sql(rule, bounds, "{0}.v", "{0}.w", narrow=widest)
    return Stream(field.pid, *narrow), Stream(field.pid + WIDE, *sql(rule, bounds, "{0}.v", "{0}.w"))


def clinical_date(clause: Clause, field: Field, book: Book, facts: Facts) -> Predicate:
    """The date in the key: rows of `walk` have it, any row can be tested by it."""
    many = facts(field.pid + NORMAL) or facts(field.pid + WIDE)
    wide = facts(field.pid + FOLDED_WIDE)
    narrow = _widest(clause.parameter)
    streams: list[Stream] = []
    parts, args = list[str](), list[Any]()
    for term in clause.terms:
        bounds, rule = _bounds(term), TIMES[term.prefix]
        text, values = sql(rule, bounds, "{0}.d", "{0}.w", narrow=narrow)
        streams.append(Stream(book.walk, f"{{0}}.d > {NO_DATE} AND {text}", values, 0, True))
        if wide and rule.by_width:
            streams.append(Stream(field.pid + FOLDED_WIDE, *sql(rule, bounds, "{0}.v", "{0}.w")))
        high = f"(SELECT x.w FROM idx x WHERE x.pid = {book.walk} AND x.v = 0 AND x.d = p.d AND x.rid = p.rid)"
        text, values = sql(rule, bounds, "p.d", high, narrow=None if wide else narrow)
        parts.append(f"p.d > {NO_DATE} AND {text}")
        args += values
        if many:
            for span in _date_spans(term, field, narrow):
                streams.append(span)
                parts.append(f"p.rid IN (SELECT m.rid FROM idx m WHERE m.pid = {span.pid} AND {span.test.format('m')})")
                args += span.args
    check = _date_check(clause, field)
    if len(parts) > 1:
        return Predicate(4, tuple(streams), either([f"({part})" for part in parts]), tuple(args), check)
    [term] = clause.terms
    own = bounds_of(TIMES[term.prefix], _bounds(term), None if wide else narrow)
    return Predicate(4, tuple(streams), parts[0], tuple(args), check, True, span=own)


def _number(clause: Clause, field: Field, book: Book) -> Predicate:
    streams = []
    for term in clause.terms:
        bounds, rule = _bounds(term), NUMBERS[term.prefix]
        streams.append(Stream(field.pid, *sql(rule, bounds, "{0}.v", "{0}.v")))
        streams.append(Stream(field.pid + WIDE, *sql(rule, bounds, "{0}.v", "{0}.w")))

    def ends(row: Row) -> tuple[float, float] | None:
        return (row[1], row[1]) if row[0] == field.pid else (row[1], row[2][0]) if row[0] == field.pid + WIDE else None

    return Predicate(4, tuple(streams), check=_interval_check(NUMBERS, clause.terms, ends))


_LAST = b"\xff" * 8
_FIRST = b"\x00" * 8


def _quantity(clause: Clause, field: Field, book: Book) -> Predicate:
    streams: list[Stream] = []
    units: dict[tuple[bytes, int | None], list[Term]] = {}
    for term in clause.terms:
        unit = unit_key(str(members(term)[1])) if term.unit_given else b""
        system = system_number(str(members(term)[0])) if term.system_given else None
        units.setdefault((unit, system), []).append(term)
    for (unit, system), terms in units.items():
        equal = [term for term in terms if term.prefix is Prefix.EQ]
        if len(equal) > _MANY_NUMBERS:
            streams += _quantity_listed(equal, field, unit, system)
        else:
            streams += [span for term in equal for span in _quantity_spans(term, field, unit, system)]
        ranges = [term for term in terms if term.prefix is not Prefix.EQ]
        streams += [span for term in ranges for span in _quantity_spans(term, field, unit, system)]
    checks = [_interval_check(NUMBERS, terms, _quantity_ends(field, *unit)) for unit, terms in units.items()]
    return Predicate(
        2 if all(t.unit_given for t in clause.terms) else 7, tuple(streams), check=lambda rows: any(c(rows) for c in checks)
    )


def _quantity_spans(term: Term, field: Field, unit: bytes, system: int | None) -> tuple[Stream, Stream]:
    bounds, rule = _bounds(term), NUMBERS[term.prefix]
    low = Encode("{0}.v" if unit else "substr({0}.v, 9)", lambda x: unit + ordered(x))
    high = Encode("{0}.w", ordered, lambda x: ordered(x) + _LAST)
    # the limits of the unit come last: of several bounds on one side SQLite seeks by the first
    limits, args = (" AND {0}.v >= ? AND {0}.v <= ?", (unit + _FIRST, unit + _LAST)) if unit else ("", ())
    text, values = sql(rule, bounds, low, low)
    same, of = (" AND {0}.w = ?", (system,)) if system is not None else ("", ())
    narrow = Stream(field.pid, f"{text}{limits}{same}", (*values, *args, *of))
    text, values = sql(rule, bounds, low, high)
    same, packed = (" AND substr({0}.w, 9) = ?", (wide_system(system),)) if system is not None else ("", ())
    wide = Stream(field.pid + WIDE, f"{text}{limits}{same}", (*values, *args, *packed))
    if unit:
        return narrow, wide
    return (
        narrow._replace(listing=Listing(_UNITS, (field.pid,) * 2, lambda of: _quantity_spans(term, field, of, system)[0])),
        wide._replace(listing=Listing(_UNITS, (wide.pid,) * 2, lambda of: _quantity_spans(term, field, of, system)[1])),
    )


_MANY_NUMBERS = 3
"""More numbers than these are all sought by one statement: a range for each would be read by itself, and one of any unit is all rows."""


def _quantity_listed(terms: Sequence[Term], field: Field, unit: bytes, system: int | None) -> tuple[Stream, Stream]:
    """Rows that equal any of many numbers."""
    ends = [[ordered(end) for end in _bounds(term)[:2]] for term in terms]
    numbers = json([((unit + low).hex(), (unit + high).hex(), high.hex()) for low, high in ends])
    start, of = ("json_each(?) t", "") if unit else (f"({_EVERY_UNIT}) k CROSS JOIN json_each(?) t", "k.u || ")
    table = (
        f"(SELECT x.d, x.rid FROM {start} CROSS JOIN idx x WHERE x.pid = ? AND x.v >= CAST({of}unhex(t.value ->> 0) AS BLOB)"
        f" AND x.v < CAST({of}unhex(t.value ->> 1) AS BLOB)"
    )

    def stream(pid: int, more: str, *args: Any) -> Stream:
        return Stream(pid, "1", (*(() if unit else (pid, pid)), numbers, pid, *args), table=f"{table}{more})")

    wide, below = field.pid + WIDE, " AND x.w < unhex(t.value ->> 2)"
    if system is None:
        return stream(field.pid, ""), stream(wide, below)
    return stream(field.pid, " AND x.w = ?", system), stream(wide, f"{below} AND substr(x.w, 9) = ?", wide_system(system))


def _each_unit(while_: str) -> str:
    return (
        "WITH RECURSIVE s(u, n) AS (SELECT (SELECT substr(x.v, 1, 8) FROM idx x WHERE x.pid = ? ORDER BY x.v LIMIT 1), 1 UNION ALL"
        " SELECT (SELECT substr(x.v, 1, 8) FROM idx x WHERE x.pid = ? AND x.v > CAST(s.u || x'ffffffffffffffffff' AS BLOB)"
        f" ORDER BY x.v LIMIT 1), n + 1 FROM s WHERE s.u IS NOT NULL{while_})"
    )


_EVERY_UNIT = f"{_each_unit('')} SELECT u FROM s WHERE u IS NOT NULL"
_UNITS = f"{_each_unit(' AND n < 1000')} SELECT u, n = 1000 FROM s WHERE u IS NOT NULL"
"""The units in which there are quantities, each by a seek."""


def _quantity_ends(field: Field, unit: bytes, system: int | None) -> Callable[[Row], tuple[float, float] | None]:
    def ends(row: Row) -> tuple[float, float] | None:
        pid, v, w = row
        if pid not in (field.pid, field.pid + WIDE) or not v.startswith(unit):
            return None
        of = w if pid == field.pid else w[2]
        if system is not None and of != system:
            return None
        low = unordered(v[8:])
        return (low, low) if pid == field.pid else (low, w[0])

    return ends


assert UNIT >> 48, "no system number may be the mark of a unit for people"

COMPILERS: dict[str, Callable[[Clause, Field, Book], Predicate]] = {
    "token": _token,
    "reference": _reference,
    "uri": _uri,
    "string": _string,
    "date": _plain_date,
    "number": _number,
    "quantity": _quantity,
    "special": position,
    "composite": composite,
    "label": label,
    "note": note,
}
