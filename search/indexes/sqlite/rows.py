"""A document's Entry as index rows, and its rows as the blob that `packed` keeps.

A packed row is (pid, v, w) with the text that was hashed, so that sorting and `_include` have it; `expand` gives the idx rows of a
packed row. Which kinds keep what:

    token      v code, w system number        reference  v target              uri  v uri
    string     v folded text (first CUT characters), w the text as written, or 0 where it is the same
    date       v low, w high                  number     v value (WIDE: v low, w [high, value])
    position   v latitude, w longitude
    composite  FOLDED: v the parts' members, packed (see `parts_of`)
    label      v folded text, w "" (FOLDED: w the code beside it)            note       FOLDED: v folded text
    quantity   v hash of the unit + value as 16 bytes, w system number or UNIT (WIDE: v hash + low, w [high, value, system number])
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import msgspec

from search.indexes.sqlite.schema import FIRST_FACET, FOLDED, FOLDED_WIDE, NARROW, WIDE, Book, Field, system_number
from search.values import (
    NO_DATE,
    CompositeValue,
    DateValue,
    Entry,
    NumberValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    UriValue,
    hash64,
)

Row = tuple[int, Any, Any]
"""(pid, v, w)"""

CUT = 200
"""Characters of a string that stand in the key; longer ones are looked up by these and then compared whole."""

UNIT = 1 << 50
"""`w` of a quantity row under the unit for people, which no system number can be."""

pack: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
unpack: Callable[[bytes], list[Any]] = msgspec.msgpack.Decoder(list[Any]).decode

_big = struct.Struct(">Q").pack
_double, _bits = struct.Struct(">d").pack, struct.Struct(">Q").unpack
_hash = struct.Struct(">q").pack


def ordered(value: float) -> bytes:
    """A float as 8 bytes that compare as the floats do (-0.0 is 0.0)."""
    bits = _bits(_double(value + 0.0))[0]
    return _big(bits ^ 0xFFFFFFFFFFFFFFFF if bits >> 63 else bits | 0x8000000000000000)


def unordered(data: bytes) -> float:
    """The float of 8 bytes made by `ordered`."""
    bits = _bits(data)[0]
    value: float = struct.unpack(">d", _big(bits & 0x7FFFFFFFFFFFFFFF if bits >> 63 else bits ^ 0xFFFFFFFFFFFFFFFF))[0]
    return value


@lru_cache(maxsize=1_024)
def unit_key(unit: str) -> bytes:
    """The first half of a quantity row's `v`."""
    return _hash(hash64(unit))


def rows_of(book: Book, entry: Entry) -> tuple[int, int, list[Row]]:
    """(date in the key, present bits, packed rows) of a document; the row of `updated` is not among them.

    No row comes twice: a parameter's values differ, and so do the rows made of them, or their maker sees to it."""
    rows: list[Row] = []
    present = 0
    date: DateValue | None = None
    fields = book.fields
    main = f"Patient/{entry.patients[0]}" if entry.patients else None
    bits = 0
    for code, values in entry.values.items():
        field = fields.get(code)
        if field is None:
            continue
        present |= field.present
        if not values:
            continue
        if field.clinical:
            date = cast(DateValue, values[0])
            rows.append((field.pid + FOLDED, date.low, date.high))
            if len(values) > 1:
                rows += _date(field, values[1:])
        elif main is not None and field.patient and any(v.target == main for v in values):  # type: ignore[union-attr]
            bits |= field.patient
            rows.append((field.pid + FOLDED, main, 0))
            if len(values) > 1:
                rows += [(field.pid, v.target, 0) for v in values if v.target != main]  # type: ignore[union-attr]
        elif field.within:
            rows += _apart(field, values, entry)
        else:
            rows += _MAKERS[field.kind](field, values)
    d, high = (date.low, date.high) if date else (NO_DATE, NO_DATE) if book.date else (0, 0)
    rows.append((book.walk, 0, high))
    for patient in entry.patients:
        rows.append((book.patient, hash64(f"Patient/{patient}"), bits))
        bits = 0
    return d, present, rows


def _apart(field: Field, values: Sequence[Any], entry: Entry) -> list[Row]:
    """Rows of a parameter that has others within it: what one of these has too is folded (or, of labels, left out)."""
    theirs: set[Any] = set()
    for code, _ in field.within:
        theirs.update(entry.values.get(code, ()))
    if field.kind == "label":
        return _label(field, [value for value in values if value not in theirs])
    rows = _MAKERS[field.kind](field, values)
    if not theirs:
        return rows
    folded = field.pid + FOLDED
    return [(folded, row[1], row[2]) if value in theirs else row for value, row in zip(values, rows, strict=True)]


def _token(field: Field, values: Iterable[Any]) -> list[Row]:
    pid = field.pid
    return [(pid, code, system_number(system)) for system, code in values]


def _reference(field: Field, values: Iterable[Any]) -> list[Row]:
    return [(field.pid, v.target, 0) for v in values]


def _uri(field: Field, values: Iterable[Any]) -> list[Row]:
    return [(field.pid, v.uri, 0) for v in values]


def _string(field: Field, values: Iterable[Any]) -> list[Row]:
    pid = field.pid
    return [
        (pid, folded, 0 if exact == folded else exact) if len(folded) < CUT else (pid, folded[:CUT], exact)
        for folded, exact in values
    ]


def _date(field: Field, values: Iterable[Any]) -> list[Row]:
    return [(field.pid + WIDE if v.high - v.low > NARROW else field.pid, v.low, v.high) for v in values]


def _number(field: Field, values: Iterable[Any]) -> list[Row]:
    return [
        (field.pid, float(v.value), 0) if v.low == v.high else (field.pid + WIDE, float(v.low), (float(v.high), float(v.value)))
        for v in values
    ]


def _quantity(field: Field, values: Iterable[Any]) -> list[Row]:
    rows: list[Row] = []
    for v in values:
        forms = [(v.code, system_number(v.system))] if v.code else []
        if v.unit and v.unit != v.code:
            forms.append((v.unit, UNIT))
        for unit, w in forms or [("", 0)]:
            if v.low == v.high:
                rows.append((field.pid, unit_key(unit) + ordered(v.value), w))
            else:
                rows.append((field.pid + WIDE, unit_key(unit) + ordered(v.low), (float(v.high), float(v.value), w)))
    return list(dict.fromkeys(rows))  # two units for people may have one code


def _position(field: Field, values: Iterable[Any]) -> list[Row]:
    return [(field.pid, v.latitude, v.longitude) for v in values]


def _label(field: Field, values: Iterable[Any]) -> list[Row]:
    rows = [(field.pid + FOLDED, v.folded, v.code) if v.code else (field.pid, v.folded, "") for v in values]
    return list(dict.fromkeys(rows)) if len(rows) > 1 else rows


def _note(field: Field, values: Iterable[Any]) -> list[Row]:
    return [(field.pid + FOLDED, folded, "") for folded in dict.fromkeys(v.folded for v in values)]


_CLASSES = (TokenValue, StringValue, DateValue, NumberValue, QuantityValue, ReferenceValue, UriValue)
_NUMBERS = {kind: number for number, kind in enumerate(_CLASSES)}


def _composite(field: Field, values: Iterable[Any]) -> list[Row]:
    return [(field.pid + FOLDED, pack([(_NUMBERS[type(part)], *part) for part in v.parts]), 0) for v in values]


def parts_of(v: bytes) -> CompositeValue:
    """The value of a composite's row."""
    return CompositeValue(tuple(_CLASSES[number](*members) for number, *members in unpack(v)))


_MAKERS: dict[str, Callable[[Field, Sequence[Any]], list[Row]]] = {
    "token": _token,
    "reference": _reference,
    "uri": _uri,
    "string": _string,
    "date": _date,
    "number": _number,
    "quantity": _quantity,
    "special": _position,
    "composite": _composite,
    "label": _label,
    "note": _note,
}


def maker(kind: str) -> Callable[[Field, Sequence[Any]], list[Row]]:
    """What makes the packed rows of a parameter's values, by its kind."""
    return _MAKERS[kind]


_HASHED = frozenset(("token", "reference", "uri", "label"))

CODED = 1
"""Role of the labels (not of rows) that are found by the codes beside them; NORMAL ones have rows of their own."""


def labels_of(kinds: Mapping[int, str], rows: Iterable[Row]) -> list[tuple[int, str, int]]:
    """The (pid, text, v) of table `label` that packed rows make needed."""
    out: list[tuple[int, str, int]] = []
    for pid, v, w in rows:
        if pid >= FIRST_FACET and kinds[pid & ~3] == "label":
            coded = pid & 3 == FOLDED
            out.append(((pid & ~3) + CODED, v[:CUT], hash64(w)) if coded else (pid, v[:CUT], hash64(v)))
    return out


def expand(kinds: Mapping[int, str], rows: Iterable[Row], d: int, rid: int) -> list[tuple[Any, ...]]:
    """The idx rows (pid, v, d, rid, w) of packed rows."""
    out: list[tuple[Any, ...]] = []
    for pid, v, w in rows:
        role = pid & 3 if pid > 0 else 0
        kind = kinds[pid - role] if pid > 0 else ""
        if role == FOLDED:
            if kind == "date" and w - v > NARROW:
                out.append((pid - FOLDED + FOLDED_WIDE, v, d, rid, w))
        elif kind in _HASHED:
            out.append((pid, hash64(v), d, rid, w))
        elif role == WIDE and kind == "number":
            out.append((pid, v, d, rid, w[0]))
        elif role == WIDE and kind == "quantity":
            out.append((pid, v, d, rid, ordered(w[0]) + _hash(w[2])))
        else:
            out.append((pid, v, d, rid, w))
    return out


def wide_system(number: int) -> bytes:
    """The second half of `w` of a WIDE quantity row."""
    return _hash(number)


def pack_rows(d: int, rows: Iterable[Row]) -> bytes:
    """The blob of a document's packed rows."""
    flat: list[Any] = [d]
    for row in rows:
        flat += row
    return pack(flat)


def unpack_rows(blob: bytes) -> tuple[int, list[Row]]:
    """(d, packed rows) of a blob, the rows as they were packed."""
    flat = unpack(blob)
    third = flat[3::3]
    if list in map(type, third):
        third = [tuple(w) if type(w) is list else w for w in third]
    return flat[0], list(zip(flat[1::3], flat[2::3], third, strict=True))
