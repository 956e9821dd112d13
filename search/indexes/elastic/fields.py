"""What stands in Elasticsearch of a parameter's values, by kind: the mapping of its fields, and the fields of a document.

Nothing is `nested`: where two things must hold of one and the same value (both ends of an interval, a number and its unit), they
are one value of one field. An interval is a range field, whose relations are tested value by value. A quantity with its
unit is a range of 128-bit numbers, which Elasticsearch has as `ip_range`: the upper half is a hash of the unit, the lower half the number.

| kind | fields |
|---|---|
| token | `c` code, `t` system and code, `s` system |
| string | `f` folded, `m` the rest of long ones, `x` as written |
| date | `r` interval of microseconds |
| number | `r` interval |
| quantity | `r` interval, `u` interval by unit |
| reference | `t` target, `i` the id of a relative one |
| uri | `t` |
| composite | `k` hash of the components' keys, then a component's text; `u` interval by hash of the keys |
| label (`:text`) | `f` folded |
| special (`near`) | `g` place |
| all | `o` the smallest and the largest value, to sort by |
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import product
from math import ceil, floor
from struct import Struct
from typing import Any

from search.parameter import SearchParameter
from search.values import (
    CompositeValue,
    DateValue,
    LabelValue,
    NumberValue,
    PositionValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    UriValue,
)

LONGEST = 8_000
"""Characters of a keyword: Lucene's terms end at 32,766 bytes. A longer one is kept as its hash."""

WINDOW = LONGEST
OVERLAP = LONGEST // 2
"""Long texts are cut into windows that overlap, so that anything of up to OVERLAP characters stands in one as a whole."""

SORTED = 200
"""Characters that count when texts are sorted."""

SEPARATOR = "\x1f"
"""Between the parts of a joined keyword: a character that FHIR allows in no string."""

_HASHED = "\x1e"
_KEYWORD = {"type": "keyword", "doc_values": False}
_TEXT_ORDER = {"type": "keyword", "index": False}
_DOUBLES = {"type": "double_range", "doc_values": False}
_DOUBLE_ORDER = {"type": "double", "index": False}

MAPPINGS: Mapping[str, Mapping[str, Any]] = {
    "token": {"c": _KEYWORD, "t": _KEYWORD, "s": _KEYWORD, "o": _TEXT_ORDER},
    "string": {"f": _KEYWORD, "m": _KEYWORD, "x": _KEYWORD, "o": _TEXT_ORDER},
    "date": {"r": {"type": "long_range", "doc_values": False}, "o": {"type": "long", "index": False}},
    "number": {"r": _DOUBLES, "o": _DOUBLE_ORDER},
    "quantity": {"r": _DOUBLES, "u": {"type": "ip_range", "doc_values": False}, "o": _DOUBLE_ORDER},
    "reference": {"t": {"type": "keyword"}, "i": _KEYWORD, "o": _TEXT_ORDER},
    "uri": {"t": _KEYWORD, "o": _TEXT_ORDER},
    "composite": {"k": _KEYWORD, "u": {"type": "ip_range", "doc_values": False}},
    "label": {"f": _KEYWORD},
    "special": {"g": {"type": "geo_point", "doc_values": False}},
}

Fields = dict[str, Any]


def path(parameter: SearchParameter) -> str:
    """Where a document's values of the parameter stand: below `c` for one that was added to this server."""
    return f"{'c' if parameter.custom else 'p'}.{parameter.stored or parameter.code}"


def keyword(text: str) -> str:
    """The text as a keyword: itself, or the hash of what is too long to be one."""
    if len(text) <= LONGEST:
        return text
    return _HASHED + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()


def joined(system: str, code: str) -> str:
    """A code with its system as one keyword."""
    return keyword(f"{system}{SEPARATOR}{code}")


def unit_key(system: str | None, unit: str) -> int:
    """64 bits that stand for a unit: a code of a system, or (None) a code or unit for people of whatever system."""
    text = f"u{SEPARATOR}{unit}" if system is None else f"s{SEPARATOR}{system}{SEPARATOR}{unit}"
    return _hash(text)


@lru_cache(maxsize=4_096)
def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


_DOUBLE = Struct(">d")
_LONG = Struct(">Q")
_SIGN = 1 << 63


def sortable(number: float) -> int:
    """64 bits that compare as the numbers do; the two zeros are one."""
    bits: int = _LONG.unpack(_DOUBLE.pack(number + 0.0))[0]
    return (bits ^ (_SIGN * 2 - 1)) if bits & _SIGN else bits | _SIGN


def address(unit: int, number: float) -> str:
    """A number with its unit as an IPv6 address."""
    return place(unit, sortable(number))


def place(upper: int, lower: int) -> str:
    """Twice 64 bits as an IPv6 address."""
    text = f"{upper << 64 | lower:032x}"
    return ":".join([text[at : at + 4] for at in range(0, 32, 4)])


def _ends(found: Iterable[Any]) -> list[Any]:
    """The smallest and the largest."""
    values = set(found)
    return list(values) if len(values) < 2 else [min(values), max(values)]


def _texts(found: Iterable[str]) -> list[str]:
    return _ends(text[:SORTED] for text in found)


def _token(values: Sequence[TokenValue]) -> Fields:
    codes = {value.code for value in values if value.code}
    return {
        "c": [keyword(code) for code in codes],
        "t": [joined(value.system, value.code) for value in values if value.code],
        "s": list({keyword(value.system) for value in values}),
        "o": _texts(codes),
    }


def _string(values: Sequence[StringValue]) -> Fields:
    folded = {value.folded for value in values}
    fields: Fields = {
        "f": [text[:LONGEST] for text in folded],
        "x": list({keyword(value.exact) for value in values}),
        "o": _texts(folded),
    }
    if any(len(text) > LONGEST for text in folded):
        fields["m"] = [
            text[at : at + WINDOW] for text in folded if len(text) > LONGEST for at in range(OVERLAP, len(text) - OVERLAP, OVERLAP)
        ]
    return fields


def _date(values: Sequence[DateValue]) -> Fields:
    return {"r": [{"gte": value.low, "lte": value.high - 1} for value in values], "o": _ends(value.low for value in values)}


def _interval(value: NumberValue | QuantityValue) -> Fields:
    return {"gte": value.low + 0.0, "lte": value.high + 0.0}


def _number(values: Sequence[NumberValue]) -> Fields:
    return {"r": [_interval(value) for value in values], "o": _ends(value.value + 0.0 for value in values)}


def _quantity(values: Sequence[QuantityValue]) -> Fields:
    by_unit = []
    for value in values:
        units = {unit_key(None, unit) for unit in (value.code, value.unit) if unit}
        if value.code:
            units.add(unit_key(value.system, value.code))
        by_unit += [{"gte": address(unit, value.low), "lte": address(unit, value.high)} for unit in sorted(units)]
    fields: Fields = {"r": [_interval(value) for value in values], "o": _ends(value.value + 0.0 for value in values)}
    if by_unit:
        fields["u"] = by_unit
    return fields


def _reference(values: Sequence[ReferenceValue]) -> Fields:
    targets = [value.target for value in values]
    relative = (target.partition("/") for target in targets)
    return {
        "t": [keyword(target) for target in targets],
        "i": list({keyword(id) for type, slash, id in relative if slash and ":" not in type}),
        "o": _texts(targets),
    }


def _uri(values: Sequence[UriValue]) -> Fields:
    return {"t": [keyword(value.uri) for value in values], "o": _texts(value.uri for value in values)}


def moment(microseconds: int) -> int:
    """64 bits that compare as the moments do."""
    return microseconds + _SIGN


def keys(value: Any) -> list[str] | None:
    """The keys by which a component may be asked for that is a token, a reference or a URI; None for one of another kind."""
    if isinstance(value, TokenValue):
        return [f"c{value.code}", f"t{value.system}{SEPARATOR}{value.code}", f"s{value.system}"]
    if isinstance(value, ReferenceValue):
        return [f"r{value.target}"]
    return [f"u{value.uri}"] if isinstance(value, UriValue) else None


def together(parts: Sequence[str]) -> int:
    """64 bits that stand for the keys of several components."""
    return _hash(f"k{SEPARATOR.join(parts)}")


_LEVELS, _BITS, _HALF = 9, 4, 1 << 31
"""Whole numbers have 32 bits in FHIR; a cell of a level holds 16 of the one below."""


def cells(number: float) -> list[str]:
    """The keys of the cells that a whole number lies in: of 1, 16, 256 … numbers, to all."""
    place = int(min(max(number, -_HALF), _HALF - 1)) + _HALF
    return [f"n{level}:{place >> _BITS * level}" for level in range(_LEVELS)]


def cover(low: float, high: float) -> list[str]:
    """The keys of cells that together hold the whole numbers from `low` to `high`, both of which may be infinite, and no others."""
    first, last = ceil(max(low, -_HALF)) + _HALF, floor(min(high, _HALF - 1)) + _HALF
    found, level, side = list[str](), 0, (1 << _BITS) - 1
    while first <= last:
        while first <= last and (first & side or level == _LEVELS - 1):
            found.append(f"n{level}:{first}")
            first += 1
        while first <= last and (last + 1) & side:
            found.append(f"n{level}:{last}")
            last -= 1
        first, last, level = first >> _BITS, ((last + 1) >> _BITS) - 1, level + 1
    return found


def compared(values: Sequence[Any]) -> tuple[NumberValue | None, Any]:
    """The components that are compared otherwise than by their keys: the first of two, which are whole numbers, and the last; None where
    there is none."""
    others = [value for value in values if keys(value) is None]
    if len(others) < 2:
        return None, others[0] if others else None
    first, last = others
    assert isinstance(first, NumberValue), "R4 has no composite of other ranges"
    return first, last


def _composite(values: Sequence[CompositeValue]) -> Fields:
    texts, ranges = list[str](), list[Fields]()
    for value in values:
        number, other = compared(value.parts)
        within = [cells(number.value)] if number is not None else []
        for parts in product(*(found for part in value.parts if (found := keys(part)) is not None), *within):
            start = together(parts)
            if other is None or isinstance(other, StringValue):
                texts.append(f"{start:016x}{other.folded[: LONGEST - 16] if other else ''}")
            else:
                ranges += _ranges(start, other)
    return {name: found for name, found in (("k", list(dict.fromkeys(texts))), ("u", ranges)) if found}


def _ranges(start: int, value: DateValue | NumberValue | QuantityValue) -> list[Fields]:
    if isinstance(value, DateValue):
        return [{"gte": place(start, moment(value.low)), "lte": place(start, moment(value.high - 1))}]
    uppers = [start]
    if isinstance(value, QuantityValue):
        uppers += [start ^ unit_key(None, unit) for unit in {value.code, value.unit} if unit]
        uppers += [start ^ unit_key(value.system, value.code)] if value.code else []
    return [{"gte": address(upper, value.low), "lte": address(upper, value.high)} for upper in uppers]


def _label(values: Sequence[LabelValue]) -> Fields:
    return {"f": list(dict.fromkeys(value.folded[:LONGEST] for value in values))}


def _places(values: Sequence[PositionValue]) -> Fields:
    return {"g": [{"lat": value.latitude, "lon": value.longitude} for value in values]}


FIELDS: Mapping[str, Callable[[Sequence[Any]], Fields]] = {
    "token": _token,
    "string": _string,
    "date": _date,
    "number": _number,
    "quantity": _quantity,
    "reference": _reference,
    "uri": _uri,
    "composite": _composite,
    "label": _label,
    "special": _places,
}
"""Kind -> what makes the fields of a document's values (at least one)."""

_KINDS: Mapping[type, str] = {
    TokenValue: "token",
    StringValue: "string",
    DateValue: "date",
    NumberValue: "number",
    QuantityValue: "quantity",
    ReferenceValue: "reference",
    UriValue: "uri",
}


def fields_of(values: Sequence[Any]) -> Fields:
    """The fields of values (at least one) whose kind nobody told."""
    return FIELDS[_KINDS[type(values[0])]](values)
