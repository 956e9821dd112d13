"""A query's clauses as what SQLite can do with them: rows to read (streams), a test by one seek (probe), a test of packed rows (check).

Texts of SQL have `{0}` for the alias of the rows they speak of; a probe speaks of the driving row as `p`, which has `d` and `rid`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from search.indexes.sqlite.intervals import NUMBERS, TIMES, Comparison, Encode, before, holds, sql
from search.indexes.sqlite.rows import CUT, UNIT, Row, ordered, unit_key, unordered, wide_system
from search.indexes.sqlite.schema import FOLDED, FOLDED_WIDE, NARROW, NORMAL, WIDE, Book, Codebook, Field, system_number
from search.query import (
    AllOf,
    AnyOf,
    Chain,
    Clause,
    Compartment,
    Condition,
    Grants,
    Has,
    Modifier,
    Negation,
    Prefix,
    Query,
    Term,
    grants_of,
)
from search.values import NO_DATE, fold, hash64

Check = Callable[[list[Row]], bool]
Facts = Callable[[int], bool]
"""Whether there are any rows of a pid."""


class Stream(NamedTuple):
    """Rows of idx (or item) that are documents of a predicate. `point`: of one value `v`, hence in the order of (d, rid)."""

    pid: int
    test: str = ""
    args: tuple[Any, ...] = ()
    v: Any = None
    point: bool = False
    table: str = "idx"


@dataclass(frozen=True, slots=True, eq=False)
class Predicate:
    """One thing that every document found must satisfy.

    `streams` together give exactly the documents for which it holds, some perhaps twice (none: it cannot drive). `probe` with `args`
    is the same as a condition on row `p` (`on_row`: mostly settled by what `p` itself has); `check` the same on a document's packed
    rows. `any` are alternatives instead: all predicates of one of them must hold. There is always one of the three. `rank` is the
    order in which it pays to count streams: 0 names one document, 9 nearly all. `counts` are streams that are read only to count.
    """

    rank: int
    streams: tuple[Stream, ...] = ()
    probe: str = ""
    args: tuple[Any, ...] = ()
    check: Check | None = None
    on_row: bool = False
    any: tuple[tuple["Predicate", ...], ...] = ()
    counts: tuple[Stream, ...] = ()


Link = Callable[[Chain | Has, Book], Predicate | None]
"""Compiles conditions on other documents (see `search.indexes.sqlite.links`)."""

MANY = 200
"""A clause of more different reads cannot drive a search: SQLite has limits on the size of a statement."""

NEVER = Predicate(-1)
"""Holds for no document."""


def _of(term: Term) -> tuple[Any, ...]:
    """The members of a term's value, whatever its kind."""
    return tuple(term.value)


def compile_query(query: Query, codes: Codebook, facts: Facts, link: Link) -> list[Predicate] | None:
    """The predicates of a query's conditions and of what it is limited to; None if nothing can match."""
    book = codes.books.get(query.type)
    if book is None:
        return None
    predicates = [compile_condition(condition, book, facts, link) for condition in query.clauses]
    if query.compartments or query.allowed is not None:
        predicates += compile_access(query.compartments, query.allowed, book, facts)
    if NEVER in predicates:
        return None
    return [p for p in predicates if p is not None]


def compile_condition(condition: Condition, book: Book, facts: Facts, link: Link) -> Predicate | None:
    """The predicate of a condition; None if it holds for every document, NEVER if for none."""
    if isinstance(condition, Clause):
        return compile_clause(condition, book, facts)
    if isinstance(condition, Negation):
        return _negated(compile_condition(condition.condition, book, facts, link))
    if isinstance(condition, AllOf):
        return _all_of([compile_condition(each, book, facts, link) for each in condition.conditions])
    if isinstance(condition, AnyOf):
        return _any_of([compile_condition(each, book, facts, link) for each in condition.conditions])
    return link(condition, book)


def _all_of(parts: Sequence[Predicate | None]) -> Predicate | None:
    left = tuple(part for part in parts if part is not None)
    if NEVER in left:
        return NEVER
    if len(left) < 2:
        return left[0] if left else None
    best = min(left, key=lambda part: part.rank)
    return Predicate(best.rank, any=(left,))


def _any_of(parts: Sequence[Predicate | None]) -> Predicate | None:
    if None in parts:
        return None
    left = [part for part in parts if part is not None and part is not NEVER]
    if len(left) < 2:
        return left[0] if left else NEVER
    streams = tuple(stream for part in left for stream in part.streams) if all(part.streams for part in left) else ()
    return Predicate(max(part.rank for part in left), streams, any=tuple((part,) for part in left))


def _negated(predicate: Predicate | None) -> Predicate | None:
    if predicate is None:
        return NEVER
    if predicate is NEVER:
        return None
    if not predicate.any:
        return _inverted(predicate)
    options = [_any_of([_negated(part) for part in option]) for option in predicate.any]
    return _all_of(options)


def compile_access(compartments: Sequence[Compartment], allowed: Grants | None, book: Book, facts: Facts) -> list[Predicate]:
    """What documents of a type must satisfy to lie in all compartments and under one of the grants; NEVER among it if none can."""
    found = [_in_compartment([compartment.patient], book) for compartment in compartments]
    if allowed is None:
        return found
    alike: dict[tuple[Clause, ...], list[str] | None] = {}  # clauses -> the patients for whom they are granted, None: for all
    for grant in grants_of(allowed, book.name):
        patients = alike.setdefault(grant.clauses, [])
        if grant.compartment is None:
            alike[grant.clauses] = None
        elif patients is not None:
            patients.append(grant.compartment.patient)
    options = []
    for clauses, patients in alike.items():
        parts = [compile_clause(clause, book, facts) for clause in clauses]
        if patients is not None:
            parts.append(_in_compartment(patients, book))
        if NEVER not in parts:
            options.append(tuple(part for part in parts if part is not None))
    if () in options:
        return found
    if len(options) < 2:
        return [*found, *(options[0] if options else [NEVER])]
    named = [patients for patients in alike.values() if patients is not None]
    if len(named) == len(alike):  # follows from the alternatives, but they cannot drive
        found.append(_in_compartment([patient for patients in named for patient in patients], book))
    return [*found, Predicate(9, any=tuple(options))]


def compile_clause(clause: Clause, book: Book, facts: Facts) -> Predicate | None:
    """The predicate of one clause; None if it holds for every document, NEVER if for none."""
    code = clause.parameter.stored or clause.parameter.code
    field = book.fields.get(code)
    own = code in ("_id", "_lastUpdated")
    if clause.modifier is Modifier.MISSING:
        return _missing(field, clause.missing) if not own else NEVER if clause.missing else None
    if not clause.terms or (field is None and not own):
        return None if clause.modifier is Modifier.NOT else NEVER
    if own:
        found = _by_id(clause.terms, book) if code == "_id" else _by_update(clause.terms, book)
    else:
        assert field is not None
        found = _date(clause, field, book, facts) if field.clinical else _COMPILERS[field.kind](clause, field, book)
    if len(found.streams) > MANY and _reads(found.streams) > MANY:
        found = replace(found, rank=9, streams=())
    return _inverted(found) if clause.modifier is Modifier.NOT else found


def _inverted(predicate: Predicate) -> Predicate:
    check = predicate.check
    if predicate.probe:
        return Predicate(9, (), f"(({predicate.probe}) IS NOT TRUE)", predicate.args, check and (lambda rows: not check(rows)))
    assert check is not None
    return Predicate(9, check=lambda rows: not check(rows))


def _missing(field: Field | None, missing: bool) -> Predicate | None:
    if field is None:
        return None if missing else NEVER
    test = "= 0" if missing else "<> 0"
    return Predicate(9, probe=f"((SELECT i.present & ? FROM item i WHERE i.rid = p.rid) {test})", args=(field.present,))


def _in_compartment(patients: Sequence[str], book: Book) -> Predicate:
    """In the compartment of one of the patients."""
    wanted = list(dict.fromkeys(hash64(f"Patient/{patient}") for patient in patients))
    streams = [Stream(book.patient, v=v, point=True) for v in wanted]
    return _points(1, streams, lambda rows: any(r[0] == book.patient and r[1] in wanted for r in rows))


def _by_id(terms: Sequence[Term], book: Book) -> Predicate:
    return among_ids(list(dict.fromkeys(str(_of(term)[1]) for term in terms)), book)


def among_ids(ids: Sequence[str], book: Book) -> Predicate:
    """Documents with one of these ids, of which there is at least one."""
    hashes = [hash64(f"{book.name}/{id}") for id in ids]
    if len(ids) == 1:
        one = Stream(0, "{0}.h = ? AND {0}.id = ? AND {0}.type = ?", (hashes[0], ids[0], book.number), table="item")
        return Predicate(0, (one,), "(SELECT i.id = ? FROM item i WHERE i.rid = p.rid)", (ids[0],))
    among = "IN (SELECT value FROM json_each(?))"
    wanted, found = json(ids), json(hashes)
    several = Stream(0, f"{{0}}.h {among} AND {{0}}.id {among} AND {{0}}.type = ?", (found, wanted, book.number), table="item")
    return Predicate(0, (several,), f"(SELECT i.id {among} FROM item i WHERE i.rid = p.rid)", (wanted,))


def json(values: Sequence[Any]) -> str:
    """Values as one argument, however many there are."""
    return msgspec.json.encode(values).decode()


def _by_update(terms: Sequence[Term], book: Book) -> Predicate:
    streams, texts, args = list[Stream](), list[str](), list[Any]()
    for term in terms:
        bounds = (_of(term)[0], _of(term)[1], 0)
        text, values = sql(TIMES[term.prefix], bounds, "{0}.v", "({0}.v + 1)", narrow=1)
        streams.append(Stream(book.updated, text, values))
        text, values = sql(TIMES[term.prefix], bounds, "i.lu", "(i.lu + 1)")
        texts.append(text)
        args += values
    return Predicate(5, tuple(streams), f"(SELECT {either(texts)} FROM item i WHERE i.rid = p.rid)", tuple(args))


def _points(rank: int, streams: Sequence[Stream], check: Check) -> Predicate:
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


def _reads(streams: Sequence[Stream]) -> int:
    points = [stream for stream in streams if stream.point]
    return len(streams) - len(points) + len(merged(points))


def merged(streams: Iterable[Stream]) -> list[tuple[int, str, tuple[Any, ...], list[Any]]]:
    """Points that differ in `v` only, together: (pid, test, args, values)."""
    groups: dict[tuple[int, str, tuple[Any, ...]], list[Any]] = {}
    for stream in streams:
        groups.setdefault((stream.pid, stream.test, stream.args), []).append(stream.v)
    return [(pid, test, args, list(dict.fromkeys(values))) for (pid, test, args), values in groups.items()]


def _token(clause: Clause, field: Field, book: Book) -> Predicate:
    own = (field.pid, field.pid + FOLDED)
    wanted: set[tuple[str | None, int | None]] = set()
    streams = list[Stream]()
    for term in clause.terms:
        system, code = _of(term)[0], _of(term)[1]
        w = system_number(str(system)) if term.system_given else None
        wanted.add((str(code) if term.code_given else None, w))
        test, args = ("{0}.w = ?", (w,)) if w is not None else ("", ())
        v = hash64(str(code)) if term.code_given else None
        streams += [Stream(pid, test, args, v, v is not None) for pid in field.pids]

    def check(rows: list[Row]) -> bool:
        return any(p in own and not wanted.isdisjoint(((v, w), (v, None), (None, w))) for p, v, w in rows)

    if all(stream.point for stream in streams):
        return _points(0 if field.code == "identifier" else 3, streams, check)
    return Predicate(7, tuple(streams), check=check)


def _reference(clause: Clause, field: Field, book: Book) -> Predicate:
    if sum(len(term.types) for term in clause.terms) > _MANY_TARGETS:
        return _bare_ids(clause.terms, field)
    targets = {f"{type}/{_of(t)[0]}" for t in clause.terms for type in t.types}
    targets |= {str(_of(t)[0]) for t in clause.terms if not t.types}
    streams = []
    for target in sorted(targets):
        v = hash64(target)
        if field.patient and target.startswith("Patient/"):
            streams.append(Stream(book.patient, "{0}.w & ?", (field.patient,), v, True))
        streams.append(Stream(field.pid, v=v, point=True))
    pids = (field.pid + NORMAL, field.pid + FOLDED)
    return _points(1, streams, lambda rows: any(p in pids and v in targets for p, v, _ in rows))


_MANY_TARGETS = 2_000


def _bare_ids(terms: Sequence[Term], field: Field) -> Predicate:
    """Very many ids of any type: each document's references are looked at."""
    whole = {str(_of(term)[0]) for term in terms if not term.types}
    bare: dict[str, set[str]] = {}
    for term in terms:
        bare.setdefault(str(_of(term)[0]), set()).update(term.types)
    pids = (field.pid + NORMAL, field.pid + FOLDED)

    def check(rows: list[Row]) -> bool:
        targets = [v for pid, v, _ in rows if pid in pids]
        parts = [target.partition("/") for target in targets]
        return not whole.isdisjoint(targets) or any(type in bare.get(id, ()) for type, _, id in parts)

    return Predicate(9, check=check)


def _uri(clause: Clause, field: Field, book: Book) -> Predicate:
    wanted = {str(_of(term)[0]) for term in clause.terms}
    streams = [Stream(field.pid, v=hash64(uri), point=True) for uri in sorted(wanted)]
    return _points(1, streams, lambda rows: any(p == field.pid and v in wanted for p, v, _ in rows))


def _string(clause: Clause, field: Field, book: Book) -> Predicate:
    own = (field.pid, field.pid + FOLDED)
    terms = [(str(_of(term)[0]), str(_of(term)[1])) for term in clause.terms]
    if clause.modifier is Modifier.EXACT:
        exacts = {exact for _, exact in terms}
        streams = []
        for folded, exact in terms:
            w = 0 if exact == folded and len(folded) < CUT else exact
            streams += [Stream(pid, "{0}.w = ?", (w,), folded[:CUT], True) for pid in field.pids]
        return _points(1, streams, lambda rows: any(p in own and (w or v) in exacts for p, v, w in rows))
    if clause.modifier is Modifier.CONTAINS:
        whole = f"CASE WHEN length({{0}}.v) < {CUT} THEN {{0}}.v ELSE fhir_fold({{0}}.w) END"
        spans = tuple(Stream(pid, f"instr({whole}, ?) > 0", (folded,)) for folded, _ in terms for pid in field.pids)
        return Predicate(
            8, spans, check=lambda rows: any(p in own and any(f in _whole(v, w) for f, _ in terms) for p, v, w in rows)
        )
    starts = tuple(folded for folded, _ in terms)
    spans = tuple(_prefix(pid, start) for start in starts for pid in field.pids)
    return Predicate(2, spans, check=lambda rows: any(p in own and _whole(v, w).startswith(starts) for p, v, w in rows))


def _whole(v: str, w: Any) -> str:
    return v if len(v) < CUT else fold(w)


def _prefix(pid: int, start: str) -> Stream:
    if len(start) >= CUT:
        return Stream(pid, "substr(fhir_fold({0}.w), 1, ?) = ?", (len(start), start), start[:CUT], True)
    end = before(start)
    if end is None:
        return Stream(pid, "{0}.v >= ?", (start,))
    return Stream(pid, "{0}.v >= ? AND {0}.v < ?", (start, end))


def _bounds(term: Term) -> tuple[Any, Any, Any]:
    """(l, h, v) of a term's value, as the tables at `search.query.Prefix` name them."""
    value = _of(term)
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


def _plain_date(clause: Clause, field: Field, book: Book) -> Predicate:
    return Predicate(4, tuple(s for t in clause.terms for s in _date_spans(t, field)), check=_date_check(clause, field))


def _date_spans(term: Term, field: Field) -> tuple[Stream, Stream]:
    bounds, rule = _bounds(term), TIMES[term.prefix]
    narrow = sql(rule, bounds, "{0}.v", "{0}.w", narrow=NARROW)
    return Stream(field.pid, *narrow), Stream(field.pid + WIDE, *sql(rule, bounds, "{0}.v", "{0}.w"))


def _date(clause: Clause, field: Field, book: Book, facts: Facts) -> Predicate:
    """The date in the key: rows of `walk` have it, any row can be tested by it."""
    many = facts(field.pid + NORMAL) or facts(field.pid + WIDE)
    wide = facts(field.pid + FOLDED_WIDE)
    streams: list[Stream] = []
    parts, args = list[str](), list[Any]()
    for term in clause.terms:
        bounds, rule = _bounds(term), TIMES[term.prefix]
        text, values = sql(rule, bounds, "{0}.d", "{0}.w", narrow=NARROW)
        streams.append(Stream(book.walk, f"{{0}}.d > {NO_DATE} AND {text}", values, 0, True))
        if wide and rule.by_width:
            streams.append(Stream(field.pid + FOLDED_WIDE, *sql(rule, bounds, "{0}.v", "{0}.w")))
        high = f"(SELECT x.w FROM idx x WHERE x.pid = {book.walk} AND x.v = 0 AND x.d = p.d AND x.rid = p.rid)"
        text, values = sql(rule, bounds, "p.d", high, narrow=None if wide else NARROW)
        parts.append(f"p.d > {NO_DATE} AND {text}")
        args += values
        if many:
            for span in _date_spans(term, field):
                streams.append(span)
                parts.append(f"p.rid IN (SELECT m.rid FROM idx m WHERE m.pid = {span.pid} AND {span.test.format('m')})")
                args += span.args
    on_row = len(parts) == 1
    probe = parts[0] if on_row else either([f"({part})" for part in parts])
    return Predicate(4, tuple(streams), probe, tuple(args), _date_check(clause, field), on_row)


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
    checks: list[Check] = []
    for term in clause.terms:
        unit = unit_key(str(_of(term)[1])) if term.unit_given else b""
        system = system_number(str(_of(term)[0])) if term.system_given else None
        streams += _quantity_spans(term, field, unit, system)
        checks.append(_interval_check(NUMBERS, (term,), _quantity_ends(field, unit, system)))
    return Predicate(
        2 if all(t.unit_given for t in clause.terms) else 7, tuple(streams), check=lambda rows: any(c(rows) for c in checks)
    )


def _quantity_spans(term: Term, field: Field, unit: bytes, system: int | None) -> tuple[Stream, Stream]:
    bounds, rule = _bounds(term), NUMBERS[term.prefix]
    low = Encode("{0}.v" if unit else "substr({0}.v, 9)", lambda x: unit + ordered(x))
    high = Encode("{0}.w", ordered, lambda x: ordered(x) + _LAST)
    limits, args = ("{0}.v >= ? AND {0}.v <= ? AND ", (unit + _FIRST, unit + _LAST)) if unit else ("", ())
    text, values = sql(rule, bounds, low, low)
    same, of = (" AND {0}.w = ?", (system,)) if system is not None else ("", ())
    narrow = Stream(field.pid, f"{limits}{text}{same}", (*args, *values, *of))
    text, values = sql(rule, bounds, low, high)
    same, packed = (" AND substr({0}.w, 9) = ?", (wide_system(system),)) if system is not None else ("", ())
    return narrow, Stream(field.pid + WIDE, f"{limits}{text}{same}", (*args, *values, *packed))


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

_COMPILERS: dict[str, Callable[[Clause, Field, Book], Predicate]] = {
    "token": _token,
    "reference": _reference,
    "uri": _uri,
    "string": _string,
    "date": _plain_date,
    "number": _number,
    "quantity": _quantity,
}
