"""A query's conditions as predicates on the rows of the SQLite index."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from search.indexes.sqlite.custom.compiling import listed, presence
from search.indexes.sqlite.intervals import TIMES, sql
from search.indexes.sqlite.kinds import COMPILERS, clinical_date, members
from search.indexes.sqlite.predicates import MANY, NEVER, Facts, Predicate, Stream, either, json, points, reads
from search.indexes.sqlite.rows import unit_key
from search.indexes.sqlite.schema import WIDE, Book, Codebook, Field
from search.indexes.sqlite.words.compiling import compile_text
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
    Query,
    Term,
    Text,
    grants_of,
)
from search.values import hash64

Link = Callable[[Chain | Has, Book], Predicate | None]
"""Compiles conditions on other documents (see `search.indexes.sqlite.links`)."""


def compile_query(query: Query, codes: Codebook, facts: Facts, link: Link) -> list[Predicate] | None:
    """The predicates of a query's conditions and of what it is limited to; None if nothing can match."""
    book = codes.books.get(query.type)
    if book is None:
        return None
    predicates = [each for c in query.clauses for each in parts_of(compile_condition(c, book, facts, link))]
    if query.compartments or query.allowed is not None:
        predicates += compile_access(query.compartments, query.allowed, book, facts)
    if NEVER in predicates:
        return None
    return [p for p in predicates if p is not None]


def parts_of(predicate: Predicate | None) -> Sequence[Predicate | None]:
    """The predicates that must all hold, if this one stands for several of which each can drive."""
    if predicate is None or predicate.streams or len(predicate.any) != 1:
        return (predicate,)
    return [part for each in predicate.any[0] for part in parts_of(each)]


def compile_condition(condition: Condition, book: Book, facts: Facts, link: Link) -> Predicate | None:
    """The predicate of a condition; None if it holds for every document, NEVER if for none."""
    if isinstance(condition, Clause):
        return compile_clause(condition, book, facts)
    if isinstance(condition, Text):
        return compile_text(condition, book)
    if isinstance(condition, Negation):
        return _negated(compile_condition(condition.condition, book, facts, link))
    if isinstance(condition, AllOf):
        return _allmembers([compile_condition(each, book, facts, link) for each in condition.conditions])
    if isinstance(condition, AnyOf):
        return _anymembers([compile_condition(each, book, facts, link) for each in condition.conditions])
    return link(condition, book)


def _allmembers(parts: Sequence[Predicate | None]) -> Predicate | None:
    left = tuple(part for part in parts if part is not None)
    if NEVER in left:
        return NEVER
    if len(left) < 2:
        return left[0] if left else None
    best = min(left, key=lambda part: part.rank)
    return Predicate(best.rank, any=(left,))


def _anymembers(parts: Sequence[Predicate | None]) -> Predicate | None:
    if None in parts:
        return None
    left = [part for part in parts if part is not None and part is not NEVER]
    if len(left) < 2:
        return left[0] if left else NEVER
    streams = tuple(stream for part in left for stream in part.streams) if all(part.streams for part in left) else ()
    if len(streams) > MANY and reads(streams) > MANY:
        streams = ()
    return Predicate(max(part.rank for part in left), streams, any=tuple((part,) for part in left))


def _negated(predicate: Predicate | None) -> Predicate | None:
    if predicate is None:
        return NEVER
    if predicate is NEVER:
        return None
    if not predicate.any:
        return _inverted(predicate)
    options = [_anymembers([_negated(part) for part in option]) for option in predicate.any]
    return _allmembers(options)


_Alike = tuple[tuple[Clause, ...], frozenset[str], bool]
_SOUGHT = 20
"""So many patients are looked for by a seek each; of more it is less to read a document's rows."""


def compile_access(compartments: Sequence[Compartment], allowed: Grants | None, book: Book, facts: Facts) -> list[Predicate]:
    """What documents of a type must satisfy to lie in all compartments and under one of the grants; NEVER among it if none can."""
    found = [_in_compartment([compartment.patient], book) for compartment in compartments]
    if allowed is None:
        return found
    alike: dict[_Alike, list[str] | None] = {}  # what is granted -> the patients for whom it is, None: for all
    for grant in grants_of(allowed, book.name):
        patients = alike.setdefault((grant.clauses, grant.without, grant.free), [])
        if grant.compartment is None:
            alike[grant.clauses, grant.without, grant.free] = None
        elif patients is not None:
            patients.append(grant.compartment.patient)
    options = []
    for (clauses, without, free), patients in alike.items():
        parts = [*(compile_clause(clause, book, facts) for clause in clauses), *_apart(without, free, book)]
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
    code = clause.held
    field = book.fields.get(code)
    own = code in ("_id", "_lastUpdated")
    if clause.modifier is Modifier.MISSING:
        if field is not None and field.custom:
            return presence(field, clause.missing)
        return _missing(field, clause.missing) if not own else NEVER if clause.missing else None
    if not clause.terms or (field is None and not own):
        return None if clause.modifier is Modifier.NOT else NEVER
    if own:
        found = _by_id(clause.terms, book) if code == "_id" else _by_update(clause.terms, book)
    else:
        assert field is not None
        if field.kind == "quantity":
            clause = _of_units(clause, field, facts)
        found = clinical_date(clause, field, book, facts) if field.clinical else COMPILERS[field.kind](clause, field, book)
    if len(found.streams) > MANY and reads(found.streams) > MANY:
        found = replace(found, rank=9, streams=())
    if field is not None and field.custom:
        found = listed(found, field)
    return _inverted(found) if clause.modifier is Modifier.NOT else found


def _of_units(clause: Clause, field: Field, facts: Facts) -> Clause:
    """Without the units that no document has: a unit of UCUM stands for dozens that measure the same."""
    if len(clause.terms) == 1:
        return clause
    units = {str(members(term)[1]) for term in clause.terms if term.unit_given}
    there = {unit for unit in units if any(facts(pid, unit_key(unit)) for pid in (field.pid, field.pid + WIDE))}
    return replace(clause, terms=tuple(term for term in clause.terms if not term.unit_given or members(term)[1] in there))


def _inverted(predicate: Predicate) -> Predicate:
    check = predicate.check
    if predicate.probe:
        few = predicate.few and f"(({predicate.few}) IS NOT TRUE)"
        probe = f"(({predicate.probe}) IS NOT TRUE)"
        return Predicate(9, (), probe, predicate.args, check and (lambda rows: not check(rows)), few=few)
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
    return points(1, streams, lambda rows: any(r[0] == book.patient and r[1] in wanted for r in rows))


def _apart(without: frozenset[str], free: bool, book: Book) -> list[Predicate]:
    """In the compartment of none of the patients; `free`: of no patient at all."""
    if free:
        return [Predicate(9, check=lambda rows: all(r[0] != book.patient for r in rows))]
    if not without:
        return []
    if len(without) <= _SOUGHT:
        return [_inverted(_in_compartment(sorted(without), book))]
    closed = _hashed(without)
    return [Predicate(9, check=lambda rows: not any(r[0] == book.patient and r[1] in closed for r in rows))]


@lru_cache(maxsize=16)
def _hashed(patients: frozenset[str]) -> frozenset[int]:
    """Worked out once for the many searches that leave out the same patients."""
    return frozenset(hash64(f"Patient/{patient}") for patient in patients)


def _by_id(terms: Sequence[Term], book: Book) -> Predicate:
    return among_ids(list(dict.fromkeys(str(members(term)[1]) for term in terms)), book)


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


def _by_update(terms: Sequence[Term], book: Book) -> Predicate:
    streams, texts, args = list[Stream](), list[str](), list[Any]()
    for term in terms:
        bounds = (members(term)[0], members(term)[1], 0)
        text, values = sql(TIMES[term.prefix], bounds, "{0}.v", "({0}.v + 1)", narrow=1)
        streams.append(Stream(book.updated, text, values))
        text, values = sql(TIMES[term.prefix], bounds, "i.lu", "(i.lu + 1)")
        texts.append(text)
        args += values
    return Predicate(5, tuple(streams), f"(SELECT {either(texts)} FROM item i WHERE i.rid = p.rid)", tuple(args))
