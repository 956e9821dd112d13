"""Chains and reverse chains: conditions on the documents that a document refers to, or that refer to it.

The documents at the other end are looked for first. Where they are few, the chain becomes the references to them, or the ids of
those referred to, which can drive a search like any other clause. Where they are many, nearly every document at hand has one: the
documents of this type are walked in their order and each is tested, until a page is full.
"""

import re
from itertools import count
from typing import Any

from search.indexes.sqlite.compile import among_ids, compile_clause, compile_query
from search.indexes.sqlite.custom.reading import led_to
from search.indexes.sqlite.plan import make_plan, tests_of, union
from search.indexes.sqlite.predicates import NEVER, Check, Predicate, Stream, either, json
from search.indexes.sqlite.reader import Reader
from search.indexes.sqlite.rows import unpack
from search.indexes.sqlite.schema import FOLDED, NORMAL, Book, Codebook, Field
from search.query import Chain, Clause, Grants, Has, Modifier, Query, Term
from search.values import ReferenceValue, hash64

_ALIAS = re.compile(r"\bp\b")

_LOOKED_UP = 5.0
"""What it takes to find a document at the other end of a reference and to test it, in microseconds."""


class Linker:
    """Compiles links on one state of the database: inside a transaction of the reader. What `allowed` leaves out is not there."""

    def __init__(self, reader: Reader, codes: Codebook, allowed: Grants | None) -> None:
        self._reader, self._codes, self._allowed = reader, codes, allowed
        self._aliases = count(1)

    def __call__(self, link: Chain | Has, book: Book) -> Predicate | None:
        """The predicate of a link on documents of a type; NEVER if it holds for none."""
        other = link.target if isinstance(link, Chain) else link.source
        inner = compile_query(Query(other, link.conditions, allowed=self._allowed), self._codes, self._reader.any_of, self)
        if inner is None:
            return NEVER
        ends = self._codes.books[other]
        return self._chain(link, book, ends, inner) if isinstance(link, Chain) else self._has(link, book, ends, inner)

    def _few(self, book: Book, inner: list[Predicate]) -> list[int] | None:
        """The rows of the documents for which all of `inner` hold, None if they are many."""
        plan = make_plan(self._reader, book, inner, counted=True)
        if not plan.sources:
            return []
        most = self._reader.limits.gather
        text, args = union(plan)
        rows = self._reader.rows(f"SELECT DISTINCT rid FROM ({text}) LIMIT ?", [*args, most + 1])
        return [rid for (rid,) in rows] if len(rows) <= most else None

    def _ids(self, rids: list[int]) -> list[str]:
        marks = ", ".join("?" * len(rids))
        return [id for (id,) in self._reader.rows(f"SELECT id FROM item WHERE rid IN ({marks})", rids)] if rids else []

    def _chain(self, link: Chain, book: Book, target: Book, inner: list[Predicate]) -> Predicate | None:
        few = self._few(target, inner)
        if few is None:
            return self._long_chain(link, book, target, inner)
        terms = tuple(Term(ReferenceValue(f"{target.name}/{id}")) for id in self._ids(few))
        parts = (
            [compile_clause(Clause(p, Modifier.NONE, terms), book, self._reader.any_of) for p in link.parameters] if terms else []
        )
        found = [part for part in parts if part is not None and part is not NEVER]
        if len(found) < 2:
            return found[0] if found else NEVER
        return Predicate(1, tuple(s for part in found for s in part.streams), any=tuple((part,) for part in found))

    def _fields(self, link: Chain | Has, book: Book) -> list[Field]:
        return [book.fields[p.stored or p.code] for p in link.parameters]

    def _long_chain(self, link: Chain, book: Book, target: Book, inner: list[Predicate]) -> Predicate:
        """Where there are more ends than can be spelled out: those that can still be listed are looked for among the references, and
        for the rest each document's own references are looked at."""
        fields = self._fields(link, book)
        pids = {field.pid + role for field in fields for role in (NORMAL, FOLDED)}
        plan = make_plan(self._reader, target, inner, counted=True)
        text, args = union(plan)
        streams = _referring(fields, book, target, f"SELECT +e.h FROM ({text}) q CROSS JOIN item e ON e.rid = q.rid", args)
        if fields[0].custom:
            return self._led_to(fields, target, inner, streams)
        most = self._reader.limits.listed
        if self._reader.number(f"SELECT count(*) FROM (SELECT 1 FROM ({text}) LIMIT ?)", [*args, most + 1]) > most:
            return Predicate(9, check=self._walked(target, inner, pids), counts=streams, cost=_LOOKED_UP)
        hashes = [h for (h,) in self._reader.rows(f"SELECT h FROM item WHERE rid IN (SELECT q.rid FROM ({text}) q)", args)]
        streams = _referring(fields, book, target, "SELECT value FROM json_each(?)", [json(hashes)])
        ends = frozenset(hashes)
        return Predicate(7, streams, check=lambda rows: any(pid in pids and hash64(v) in ends for pid, v, _ in rows))

    def _led_to(self, fields: list[Field], target: Book, inner: list[Predicate], streams: tuple[Stream, ...]) -> Predicate:
        """References that were added, which packed rows do not have."""
        test, args = tests_of(self._reader, inner, rows=1)
        found = [led_to(field, _ALIAS.sub("e", test), args, target) for field in fields]
        values = tuple(value for _, values in found for value in values)
        return Predicate(9, probe=either([text for text, _ in found]), args=values, counts=streams, cost=_LOOKED_UP)

    def _walked(self, target: Book, inner: list[Predicate], pids: set[int]) -> Check:
        """Looks up each document that is referred to."""
        test, args = tests_of(self._reader, inner, rows=1)
        statement = f"SELECT EXISTS (SELECT 1 FROM item p WHERE p.h = ? AND p.id = ? AND p.type = ?{test})"
        known: dict[str, bool] = {}

        def there(name: str) -> bool:
            if name not in known:
                type, _, id = name.partition("/")
                known[name] = type == target.name and bool(self._reader.number(statement, (hash64(name), id, target.number, *args)))
            return known[name]

        return lambda rows: any(pid in pids and there(v) for pid, v, _ in rows)

    def _has(self, link: Has, book: Book, source: Book, inner: list[Predicate]) -> Predicate | None:
        fields = self._fields(link, source)
        few = self._few(source, inner)
        if few is None:
            return self._walked_has(fields, book, source, inner)
        pids = {field.pid + role for field in fields for role in (NORMAL, FOLDED)}
        ids: dict[str, None] = {}
        start_of = f"{book.name}/"
        for start in range(0, len(few), 500):
            part = few[start : start + 500]
            marks = ", ".join("?" * len(part))
            table = "cpacked" if fields[0].custom else "packed"
            for (blob,) in self._reader.rows(f"SELECT rows FROM {table} WHERE rid IN ({marks})", part):
                flat = unpack(blob)  # the date, then pid, v and w of each row
                for place in range(1, len(flat), 3):
                    if flat[place] in pids and flat[place + 1].startswith(start_of):
                        ids[flat[place + 1][len(start_of) :]] = None
        if not ids:
            return NEVER
        return among_ids(list(ids), book)

    def _walked_has(self, fields: list[Field], book: Book, source: Book, inner: list[Predicate]) -> Predicate:
        test, args = tests_of(self._reader, inner)
        q = f"q{next(self._aliases)}"  # p is the row at hand, to which the tests' own p would be another
        inside = _ALIAS.sub(q, test)
        mine = "(SELECT +o.h FROM item o WHERE o.rid = p.rid)"
        texts, values = list[str](), list[Any]()
        for field in fields:
            texts.append(f"EXISTS (SELECT 1 FROM idx {q} WHERE {q}.pid = ? AND {q}.v = {mine}{inside})")
            values += [field.pid, *args]
            if field.patient and book.name == "Patient":
                texts.append(f"EXISTS (SELECT 1 FROM idx {q} WHERE {q}.pid = ? AND {q}.v = {mine} AND {q}.w & ?{inside})")
                values += [source.patient, field.patient, *args]
        return Predicate(9, probe=either(texts), args=tuple(values), cost=_LOOKED_UP)


def _referring(fields: list[Field], book: Book, target: Book, text: str, args: list[Any]) -> tuple[Stream, ...]:
    """The rows of references to any of the documents whose hashes a query gives."""
    among = f"{{0}}.v IN ({text})"
    streams = [Stream(field.pid, among, tuple(args)) for field in fields]
    bits = sum(field.patient for field in fields) if target.name == "Patient" else 0
    if bits:
        streams.append(Stream(book.patient, f"{among} AND {{0}}.w & ?", (*args, bits)))
    return tuple(streams)
