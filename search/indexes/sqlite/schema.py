"""The SQLite index's tables, and the small numbers that stand in them (measured in docs/adr/0003).

    item    one row a live document: its address, when it was last updated, its `Entry.date`, which parameters it has
    idx     everything that can be looked for, one narrow row each: (pid, v, d, rid, w), clustered in that order
    label   the texts that occur beside codes, and the `v` of rows under which documents with them are found
    packed  all of a document's idx rows in one blob: what to delete, to compare with, to sort by, to check without a look-up

`pid` says what a row is about: four numbers for each search parameter, three for each resource type. `v` is what is looked up (a 64-bit
hash, a folded text, a number), `w` what is compared after that, `d` the document's `Entry.date`, `rid` its row number. Since `d` and
`rid` follow `v`, whatever is found by equality comes out in the order of dates, and any other equality can be probed by one seek.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b

import apsw

from search.parameter import SearchParameter
from search.parameters import Parameters
from search.query import FACETS, Modifier
from search.types.kinds import MODIFYING
from search.values import hash64

LAYOUT = 7
"""Goes up whenever rows change their form: the tables are then made anew and filled from the documents."""

NORMAL, WIDE, FOLDED, FOLDED_WIDE = range(4)
"""Roles of a parameter's rows: pid = 4 * number + role. A WIDE row covers more than NARROW (dates) or more than a point (numbers).
FOLDED rows stand in `packed` only: a row of the document's type or patient, or of a parameter within this one, says the same, or
finds the document for it to be tested (composites, labels).
FOLDED_WIDE is the WIDE row of a folded date."""

NARROW = 400 * 86_400_000_000
"""The longest interval of a NORMAL date row, in microseconds: a whole year is narrow."""

_PATIENT_BITS = 60
_PRESENT_BITS = 62

TABLES = """
CREATE TABLE item (
    rid INTEGER PRIMARY KEY, type INTEGER NOT NULL, id TEXT NOT NULL, h INTEGER NOT NULL,
    lu INTEGER NOT NULL, d INTEGER NOT NULL, present INTEGER NOT NULL
);
CREATE INDEX item_h ON item (h);
CREATE TABLE idx (
    pid INTEGER NOT NULL, v NOT NULL, d INTEGER NOT NULL, rid INTEGER NOT NULL, w NOT NULL, PRIMARY KEY (pid, v, d, rid, w)
) WITHOUT ROWID;
CREATE TABLE packed (rid INTEGER PRIMARY KEY, rows BLOB NOT NULL);
CREATE TABLE label (pid INTEGER NOT NULL, text TEXT NOT NULL, v INTEGER NOT NULL, PRIMARY KEY (pid, text, v)) WITHOUT ROWID;
CREATE TABLE idx_state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""

_DROP = "".join(f"DROP TABLE IF EXISTS {name};" for name in ("item", "idx", "label", "packed", "idx_state"))


@lru_cache(maxsize=16_384)
def system_number(system: str) -> int:
    """A code system as 48 bits of its hash (0: none): six bytes in a row, and no table of names that a rollback could unsettle.

    Two systems share a number with probability 2^-48, and then only a code that both have is found for either.
    """
    return hash64(system) >> 16 if system else 0


@dataclass(frozen=True, slots=True)
class Field:
    """A search parameter as rows know it, or what one of its modifiers looks at (`code` is then `code:modifier`, see
    `search.query.FACETS`).

    `present`: its bit in `item.present`. `patient`: its bit in `w` of the patient rows,
    if it is a reference that may name a Patient (else 0). `clinical`: whether it is the date in the key. `within`: (code, pid) of the
    parameters whose values are always among this one's (family is within name): a value that both have stands under theirs only.
    `kind` is the parameter's, or "label" for texts that are found by the codes beside them, and "note" for texts (of identifiers) that
    nothing finds. `beside` are the pids of these codes.
    `custom`: its rows are written later (`search.indexes.sqlite.custom`), with one of `v` 0 at `there`, and none in `packed`.
    """

    code: str
    kind: str
    pid: int
    present: int
    patient: int
    clinical: bool
    within: tuple[tuple[str, int], ...] = ()
    beside: tuple[int, ...] = ()
    custom: bool = False

    @property
    def there(self) -> int:
        """The pid of the rows that say of a document that it has the element, for custom parameters."""
        return self.pid + FOLDED

    @property
    def pids(self) -> tuple[int, ...]:
        """Where the index has the values of this parameter."""
        return (self.pid, *(pid for _, pid in self.within))


@dataclass(frozen=True, slots=True)
class Book:
    """A resource type as rows know it: its number, the pids of its own rows, and its fields by code.

    Rows of `walk`: v = 0, w = the high end of that date; one a document. Of `patient`: v = hash of "Patient/id", w = bits of the
    references that name this Patient; one for each compartment. Of `updated`: v = lastUpdated.
    """

    name: str
    number: int
    fields: Mapping[str, Field]
    date: Field | None

    @property
    def walk(self) -> int:
        return -3 * self.number

    @property
    def patient(self) -> int:
        return -3 * self.number - 1

    @property
    def updated(self) -> int:
        return -3 * self.number - 2


class Codebook:
    """The books of all types. The same in every process that has the same definitions."""

    def __init__(self, parameters: Parameters) -> None:
        self.books = {name: _book(name, number, parameters) for number, name in enumerate(parameters.types, 1)}
        self.names = {book.number: name for name, book in self.books.items()}
        self.kinds: dict[int, str] = {f.pid: f.kind for book in self.books.values() for f in book.fields.values()}
        self.fingerprint = _fingerprint(self.books)
        self._official = dict(self.books)

    def extend(self, fields: Iterable[tuple[str, Field]]) -> None:
        """Have exactly these (type, field) beside the official ones."""
        added: dict[str, dict[str, Field]] = {}
        for type, field in fields:
            added.setdefault(type, {})[field.code] = field
            self.kinds[field.pid] = field.kind
        self.books = {
            name: replace(book, fields={**book.fields, **added[name]}) if name in added else book
            for name, book in self._official.items()
        }

    def field(self, parameter: SearchParameter) -> Field:
        """The field under which a parameter's values are kept (for an alias that of the parameter it stands for)."""
        return self.books[parameter.type].fields[parameter.stored or parameter.code]


def _book(name: str, number: int, parameters: Parameters) -> Book:
    mine = {p.code: p for p in parameters.of(name).values() if p.searchable and p.stored in ("", p.code) and not _special(p)}
    date = parameters.order_date(name)
    if len(mine) > _PRESENT_BITS:
        raise ValueError(f"{name} has more than {_PRESENT_BITS} search parameters: item.present needs a second column")
    fields, patients = {}, 0
    within = _families(mine.values())
    for place, code in enumerate(sorted(mine, key=lambda c: mine[c].number)):
        p = mine[code]
        may_be_patient = p.kind == "reference" and (not p.targets or "Patient" in p.targets) and patients < _PATIENT_BITS
        bit = 1 << patients if may_be_patient else 0
        patients += may_be_patient
        present = 1 << place
        fields[code] = Field(code, p.kind, 4 * p.number, present, bit, code == date, within.get(code, ()))
        fields.update({field.code: field for field in _facets(p, fields[code])})
    containing = parameters.containing(name)
    if containing is not None:
        fields[containing.code] = Field(containing.code, containing.kind, 4 * containing.number, 0, 0, False)
    fields.update(
        {
            code: replace(f, within=_inner(f.within, fields) if f.kind == "label" else ())
            for code, f in fields.items()
            if ":" in code
        }
    )
    return Book(name, number, fields, fields[date] if date else None)


_FACETS = 1 << 20
"""More than there are parameters: what the modifiers of parameter n look at is numbered n + 1 * _FACETS and so on."""

FIRST_FACET = 4 * _FACETS
"""Pids from here on are of what modifiers look at."""


def _facets(parameter: SearchParameter, field: Field) -> Iterator[Field]:
    for place, (modifier, kind) in enumerate(FACETS.items(), 1):
        if parameter.kind == MODIFYING[modifier].KIND:
            held = "note" if modifier is Modifier.TEXT and "dentifier" in parameter.expression else kind
            pid = field.pid + 4 * _FACETS * place
            yield Field(f"{parameter.code}:{modifier}", held, pid, 0, 0, False, field.within if held == "label" else (), field.pids)


def _inner(within: Iterable[tuple[str, int]], fields: Mapping[str, Field]) -> tuple[tuple[str, int], ...]:
    """Of a label: the labels of the parameters within."""
    names = [f"{code}:{Modifier.TEXT}" for code, _ in within]
    return tuple((name, fields[name].pid) for name in names if name in fields)


_PARTS = re.compile(r"(family|given|city|state|country|postalCode|where\(system='(phone|email)'\))")
"""Paths below a name, address or telecom whose values are values of the whole as well."""


def _families(parameters: Iterable[SearchParameter]) -> dict[str, tuple[tuple[str, int], ...]]:
    """Code -> the (code, pid) of the parameters within it; none of these has any within itself."""
    plain = [(p, [part.strip() for part in p.expression.split("|")]) for p in parameters if p.kind in ("string", "token")]
    found: dict[str, list[SearchParameter]] = {}
    for whole, roots in plain:
        for part, paths in plain:
            if part.kind == whole.kind and part is not whole and paths != roots and all(_below(path, roots) for path in paths):
                found.setdefault(whole.code, []).append(part)
    return {
        code: tuple((p.code, 4 * p.number) for p in parts)
        for code, parts in found.items()
        if not any(p.code in found for p in parts)
    }


def _below(path: str, roots: Sequence[str]) -> bool:
    return any(path == root or (path.startswith(f"{root}.") and _PARTS.fullmatch(path[len(root) + 1 :])) for root in roots)


def _special(parameter: SearchParameter) -> bool:
    return parameter.code in ("_id", "_lastUpdated")


def _fingerprint(books: Mapping[str, Book]) -> str:
    text = repr([(b.name, b.number, list(b.fields.values())) for b in books.values()])
    return f"{LAYOUT}:{blake2b(text.encode(), digest_size=12).hexdigest()}"


def install(connection: apsw.Connection, fingerprint: str) -> None:
    """Make the tables, or make them anew where they were filled by another layout or other definitions. In the caller's transaction.

    Whether they then lack documents that the store has, `stale` tells.
    """
    if state(connection, "fingerprint") == fingerprint:
        return
    connection.execute(_DROP)
    connection.execute(TABLES)
    set_state(connection, "fingerprint", fingerprint)


def state(connection: apsw.Connection, name: str) -> object:
    """A value kept in `idx_state`, or None where there is none (or no table)."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'idx_state'").get:
        return None
    return connection.execute("SELECT value FROM idx_state WHERE name = ?", (name,)).get


def set_state(connection: apsw.Connection, name: str, value: object) -> None:
    """Keep a value in `idx_state`."""
    connection.execute("INSERT OR REPLACE INTO idx_state VALUES (?, ?)", (name, value))
