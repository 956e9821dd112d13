"""What the index tests share: a database with an index in it, writing to it, and generated documents and queries."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
from hypothesis import strategies as st

from resources.documents import encode
from resources.store import Version
from resources.stores.participant import Applied
from search.compartments import linking, owners
from search.extract import Extractor
from search.index import Result, SearchIndex
from search.indexes.memory import MemoryIndex
from search.indexes.sqlite.index import SqliteIndex
from search.indexes.sqlite.reader import Limits
from search.indexes.sqlite.schema import Codebook
from search.parameter import SearchParameter
from search.parameters import registry
from search.query import (
    AllOf,
    AnyOf,
    Chain,
    Clause,
    Compartment,
    Condition,
    Grant,
    Grants,
    Has,
    Modifier,
    Negation,
    Prefix,
    Query,
    SortKey,
    Term,
    Via,
)
from search.types.kinds import KINDS
from search.values import (
    BEGIN,
    END,
    NO_DATE,
    UNBOUNDED,
    DateValue,
    Entry,
    NumberValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    UriValue,
    Value,
    fold,
)

PARAMETERS = registry()
BOOKS = Codebook(PARAMETERS).books
EXTRACTOR = Extractor(PARAMETERS, "http://here/fhir", texts=True)
TINY = Limits(gather=2, scan=4, few=1, listed=2)
"""Limits at which a few documents are many, so that every way of searching is taken."""


class Database:
    """A SQLite file as a store would have it, and the index in it. `update` is what a commit does."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.connection = apsw.Connection(str(path))
        self.connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
        self.index = SqliteIndex(path, PARAMETERS, EXTRACTOR, **options)
        self.index.follow(self)
        self._versions: list[Version] = []
        self.connection.execute("BEGIN IMMEDIATE")
        self.index.install(self.connection)
        self.connection.execute("COMMIT")

    def update(self, applied: Sequence[Applied]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        self.index.write(self.connection, applied)
        self.connection.execute("COMMIT")
        for change in applied:
            if change.live and change.entry.text is not None:
                self._versions.append(self._version(change))

    def _version(self, change: Applied) -> Version:
        """A document with the same words."""
        narrative, rest = change.entry.text
        body = encode({"text": {"div": narrative}, "words": rest})
        return Version(change.type, change.id, 1, change.instant, "PUT", body, len(self._versions) + 1)

    async def position(self) -> int:
        return len(self._versions)

    async def scan(self, types: Sequence[str], *, until: int, after: int = 0) -> AsyncIterator[list[Version]]:
        found = [version for version in self._versions[after:until] if version.type in types]
        if found:
            yield found

    async def alongside(self, work: Callable[[apsw.Connection], Any]) -> Any:
        with self.connection:
            return work(self.connection)

    def close(self) -> None:
        self.connection.close()

    def clear(self) -> None:
        """Forget all documents."""
        self.connection.execute("BEGIN IMMEDIATE")
        self.index.rebuild(self.connection, [])
        self.connection.execute("COMMIT")

    def content(self) -> list[list[Any]]:
        """Everything that the index keeps, in a fixed order."""
        return [self.connection.execute(f"SELECT * FROM {t} ORDER BY 1, 2, 3, 4").fetchall() for t in ("item", "idx")] + [
            self.connection.execute("SELECT rid, rows FROM packed ORDER BY 1").fetchall()
        ]


class Memory:
    """The same for the index in memory."""

    def __init__(self, **options: Any) -> None:
        self.index = MemoryIndex(PARAMETERS, EXTRACTOR, **options)

    def update(self, applied: Sequence[Applied]) -> None:
        self.index.write(None, applied)

    def close(self) -> None:
        """Nothing to close."""

    def clear(self) -> None:
        """Forget all documents."""
        self.index.rebuild(None, [])


def parameter(type: str, code: str) -> SearchParameter:
    found = PARAMETERS.find(type, code)
    assert found is not None, f"{type} has no parameter {code}"
    return found


def whole(type: str, values: dict[str, list[Value]]) -> dict[str, list[Value]]:
    """The values with those of a parameter among those of the one that it is within: a family name is a name."""
    for field in BOOKS[type].fields.values():
        for part, _ in field.within:
            if part in values:
                values[field.code] = [*values.get(field.code, []), *values[part]]
    return values


def entry(type: str, id: str, values: dict[str, list[Value]]) -> Entry:
    """An Entry of values as the Extractor would make it."""
    values = whole(type, {code: found for code, found in values.items() if found})
    values = {code: list(dict.fromkeys(found)) for code, found in values.items()}
    clinical = PARAMETERS.order_date(type)
    dates = [v.low for v in values.get(clinical or "", ()) if isinstance(v, DateValue)]
    date = 0 if clinical is None else min(dates) if dates else NO_DATE
    return Entry(values, date, owners("Patient", type, id, values, linking("Patient", type, PARAMETERS)))


def put(row: int, type: str, id: str, values: dict[str, list[Value]], *, instant: int = 0, new: bool = True) -> Applied:
    return Applied(row, type, id, instant, entry(type, id, values), new, new)


def gone(row: int, type: str, id: str) -> Applied:
    return Applied(row, type, id, 0, None, False, False, live=False)


async def all_pages(index: SearchIndex, query: Query) -> list[Result]:
    """Every page, by the cursors."""
    pages = [await index.search(query)]
    while pages[-1].cursor is not None:
        assert len(pages) < 1000, "the pages do not end"
        pages.append(await index.search(replace(query, cursor=pages[-1].cursor)))
    return pages


# Few different values, so that documents and queries meet.

CODES: dict[str, tuple[str, ...]] = {
    "Observation": ("status", "code", "subject", "patient", "performer", "date", "value-quantity", "value-string", "identifier"),
    "Patient": ("name", "family", "gender", "birthdate", "identifier", "general-practitioner", "death-date"),
    "Encounter": ("date", "status", "class", "subject", "patient", "participant", "length"),
    "RiskAssessment": ("probability", "date", "patient"),
    "ValueSet": ("url", "date", "reference", "name"),
    "MedicationRequest": ("authoredon", "date", "patient", "status"),
}
DAY = 86_400_000_000

_texts = st.one_of(
    st.text("aáBb c", max_size=4),
    st.builds(lambda n, t: "x" * n + t, st.sampled_from([198, 199, 200, 201, 205]), st.text("aBé", max_size=3)),
)
_lows = st.sampled_from([BEGIN, -DAY, 0, DAY, 2 * DAY, 100 * DAY, 600 * DAY])
_widths = st.sampled_from([1, 1000, DAY, 30 * DAY, 399 * DAY, 401 * DAY, 900 * DAY])
_dates = st.one_of(
    st.builds(lambda low, width: DateValue(low, low + width), _lows, _widths), st.builds(lambda low: DateValue(low, END), _lows)
)
_floats = st.sampled_from([-UNBOUNDED, -2.5, -1.0, 0.0, 0.5, 1.0, 2.0, 1e9, UNBOUNDED])
_points = st.sampled_from([-2.5, -1.0, 0.0, 0.5, 1.0, 2.0, 1e9])


def _held(low: float, high: float) -> tuple[float, float, float]:
    low, high = sorted((low, high))
    return low, high, low if low != -UNBOUNDED else high


_held_numbers = st.one_of(st.builds(lambda x: (x, x, x), _points), st.builds(_held, _floats, _floats))
_asked_numbers = st.builds(lambda x, half: (x - half, x + half, x), _points, st.sampled_from([0.05, 0.5, 2.0]))
_systems, _units = st.sampled_from(["", "s", "t"]), st.sampled_from(["", "mg", "g"])
_targets = st.sampled_from(["Patient/1", "Patient/2", "Patient/3", "Group/1", "Practitioner/1", "http://there/Patient/1"])

HELD: dict[str, st.SearchStrategy[Value]] = {
    "token": st.builds(TokenValue, _systems, st.sampled_from(["a", "b", "c"])),
    "string": st.builds(lambda text: StringValue(fold(text), text), _texts),
    "date": _dates,
    "number": st.builds(lambda n: NumberValue(*n), _held_numbers),
    "quantity": st.builds(lambda s, c, u, n: QuantityValue(s, c, u, *n), _systems, _units, _units, _held_numbers),
    "reference": st.builds(ReferenceValue, _targets),
    "uri": st.builds(UriValue, st.sampled_from(["u:1", "u:2", "u:2|1"])),
}

_prefixes = st.sampled_from(list(Prefix))


def _token_term(system: str, code: str, system_given: bool, code_given: bool) -> Term:
    given = system_given or bool(system)
    return Term(TokenValue(system, code), system_given=given, code_given=code_given or not system)


def _quantity_term(prefix: Prefix, system: str, code: str, numbers: tuple[float, float, float]) -> Term:
    return Term(
        QuantityValue(system if code else "", code, "", *numbers), prefix, system_given=bool(system and code), unit_given=bool(code)
    )


def _reference_term(target: str, bare: bool, types: list[str]) -> Term:
    type, _, id = target.partition("/")
    return Term(ReferenceValue(id), types=tuple(types)) if bare and not type.startswith("http") else Term(ReferenceValue(target))


ASKED: dict[str, st.SearchStrategy[Term]] = {
    "token": st.builds(
        _token_term, _systems, st.sampled_from(["a", "b", "c"]), st.booleans(), st.sampled_from([True, True, False])
    ),
    "string": st.builds(lambda text: Term(StringValue(fold(text), text)), _texts.filter(lambda text: bool(fold(text)))),
    "date": st.builds(lambda low, width, prefix: Term(DateValue(low, low + width), prefix), _lows, _widths, _prefixes),
    "number": st.builds(lambda n, prefix: Term(NumberValue(*n), prefix), _asked_numbers, _prefixes),
    "quantity": st.builds(_quantity_term, _prefixes, _systems, _units, _asked_numbers),
    "reference": st.builds(_reference_term, _targets, st.booleans(), st.lists(st.sampled_from(["Patient", "Group"]), min_size=1)),
    "uri": st.builds(lambda uri: Term(UriValue(uri)), st.sampled_from(["u:1", "u:2", "u:2|1"])),
}


@st.composite
def documents(draw: st.DrawFn, type: str) -> dict[str, list[Value]]:
    """The values of a document: each of the type's codes perhaps."""
    values = {}
    for code in CODES[type]:
        found = draw(st.lists(HELD[parameter(type, code).kind], max_size=2))
        if found:
            values[code] = found
    if type in ("Observation", "Encounter") and "subject" in values and draw(st.booleans()):
        values["patient"] = values["subject"]
    return values


@st.composite
def _clauses(draw: st.DrawFn, type: str) -> Clause:
    p = parameter(type, draw(st.sampled_from((*CODES[type], "_id", "_lastUpdated"))))
    special = (Modifier.EQUALS, Modifier.ENDS) if p.kind == "string" else ()
    modifier = draw(st.sampled_from([Modifier.NONE, Modifier.NONE, Modifier.NONE, *sorted(KINDS[p.kind].MODIFIERS), *special]))
    if modifier is Modifier.MISSING:
        return Clause(p, modifier, (), draw(st.booleans()))
    terms = draw(
        st.lists(_ids if p.code == "_id" else _instants if p.code == "_lastUpdated" else ASKED[p.kind], min_size=1, max_size=3)
    )
    return Clause(p, modifier, tuple(terms))


LINKS = {
    "Observation": (("subject", "Patient"), ("patient", "Patient"), ("performer", "Patient")),
    "Encounter": (("subject", "Patient"), ("patient", "Patient")),
    "Patient": (("general-practitioner", "Practitioner"),),
}
"""Reference parameters by type, with a type that they lead to."""


@st.composite
def conditions(draw: st.DrawFn, type: str, depth: int = 2) -> Condition:
    """Any condition on documents of the type."""
    kind = draw(st.integers(0, 6)) if depth else 0
    if kind == 1 and type in LINKS:
        code, target = draw(st.sampled_from(LINKS[type]))
        inner = (
            draw(conditions(target, depth - 1))
            if target in CODES
            else Clause(parameter(target, "_id"), Modifier.NONE, (draw(_ids),))
        )
        return Chain((parameter(type, code),), target, (inner,))
    if kind == 2 and type == "Patient":
        source = draw(st.sampled_from(("Observation", "Encounter")))
        code, _ = draw(st.sampled_from(LINKS[source]))
        return Has(source, (parameter(source, code),), (draw(conditions(source, depth - 1)),))
    if kind in (3, 4):
        several = tuple(draw(st.lists(conditions(type, depth - 1), max_size=3)))
        return AnyOf(several) if kind == 3 else AllOf(several)
    return Negation(draw(conditions(type, depth - 1))) if kind == 5 else draw(_clauses(type))


@st.composite
def linked_queries(draw: st.DrawFn, type: str, *, sorted_by_others: bool = True) -> Query:
    """A search of the type with any conditions, perhaps sorted by what its documents refer to."""
    query = draw(queries(type))
    sort = query.sort[:1]
    if sorted_by_others and type != "Patient" and draw(st.booleans()):  # by what the patient has
        reference, code = draw(st.sampled_from(("subject", "patient"))), draw(st.sampled_from((*CODES["Patient"], "_id")))
        sort += (SortKey(parameter("Patient", code), draw(st.booleans()), (Via(parameter(type, reference), "Patient"),)),)
    return replace(query, clauses=tuple(draw(st.lists(conditions(type), min_size=1, max_size=2))), sort=sort)


@st.composite
def linked(draw: st.DrawFn) -> list[Applied]:
    """Documents of several types; ids count up within a type, so that references meet."""
    made: list[Applied] = []
    for type in ("Patient", "Observation", "Encounter"):
        for n, values in enumerate(draw(st.lists(documents(type), max_size=5)), 1):
            made.append(put(len(made) + 1, type, str(n), values, instant=n))
    return made


_ids = st.builds(lambda n: Term(TokenValue("", f"{n}")), st.integers(1, 12))
_instants = st.builds(
    lambda low, width, p: Term(DateValue(low, low + width), p), st.integers(0, 12), st.sampled_from([1, 3]), _prefixes
)


@st.composite
def queries(draw: st.DrawFn, type: str) -> Query:
    """A search of the type, of any shape that the contract knows."""
    sortable = st.sampled_from((*CODES[type], "_id", "_lastUpdated"))
    keys = draw(st.lists(st.builds(lambda code, down: SortKey(parameter(type, code), down), sortable, st.booleans()), max_size=2))
    return Query(
        type,
        tuple(draw(st.lists(_clauses(type), max_size=3))),
        draw(compartments),
        tuple(keys),
        draw(st.integers(1, 4)),
        draw(st.sampled_from(["none", "cheap", "estimate", "accurate"])),
        allowed=draw(grants(type)),
    )


_patients = st.builds(Compartment, st.sampled_from(["1", "2"]))
compartments = st.sampled_from([(), (), (Compartment("1"),)]) | st.lists(_patients, max_size=2).map(tuple)


@st.composite
def grants(draw: st.DrawFn, type: str) -> Grants | None:
    """What an access decision may allow; mostly everything."""
    if draw(st.integers(0, 2)):
        return None
    clauses = st.lists(_clauses(type), max_size=2).map(tuple)
    here = st.builds(Grant, st.just(type), st.none() | _patients, clauses)
    others = st.builds(Grant, st.sampled_from(["*", "Basic"]), st.none() | _patients)
    return tuple(draw(st.lists(here | here | others, max_size=4)))


def applied(type: str, found: Iterable[dict[str, list[Value]]]) -> list[Applied]:
    """Documents numbered from 1, as one commit after the other wrote them."""
    return [put(n, type, str(n), values, instant=n // 2) for n, values in enumerate(found, 1)]
