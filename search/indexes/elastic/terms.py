"""The terms of a clause as Elasticsearch queries, by kind: each the same comparison as `match` of the kind's module in `search/types`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from math import inf, nextafter
from typing import Any

from conformance.load import definitions
from search.index import TooCostly
from search.indexes.elastic.fields import (
    OVERLAP,
    SEPARATOR,
    address,
    compared,
    cover,
    joined,
    keys,
    keyword,
    moment,
    place,
    together,
    unit_key,
)
from search.query import Modifier, Prefix, Term
from search.values import DateValue, NumberValue, PositionValue, QuantityValue, StringValue, TokenValue

Json = dict[str, Any]

NOTHING: Json = {"match_none": {}}
EVERYTHING: Json = {"match_all": {}}

_MOST_TERMS = 60_000
"""Values of one `terms` query; Elasticsearch's own limit is 65,536."""

CONTAINED = 500
"""Characters that `:contains` may look for: the automaton of a longer pattern can be more than Elasticsearch is willing to make."""

WILD = str.maketrans({"*": r"\*", "?": r"\?", "\\": r"\\"})
"""What a text needs to stand for itself in a wildcard query."""


def any_of(parts: Sequence[Json]) -> Json:
    """One of the queries must hold."""
    if len(parts) == 1:
        return parts[0]
    return {"bool": {"should": list(parts)}} if parts else NOTHING


def one_of(field: str, values: Iterable[str]) -> list[Json]:
    """The field has one of the values: as few queries as can carry them."""
    distinct = list(dict.fromkeys(values))
    if len(distinct) == 1:
        return [{"term": {field: distinct[0]}}]
    return [{"terms": {field: part}} for part in _parts(distinct)]


def _parts(values: list[str]) -> Iterable[list[str]]:
    return (values[at : at + _MOST_TERMS] for at in range(0, len(values), _MOST_TERMS))


def _token(path: str, modifier: Modifier, terms: Sequence[Term]) -> list[Json]:
    codes, pairs, systems = list[str](), list[str](), list[str]()
    for term in terms:
        system, code = str(term.value[0]), str(tuple(term.value)[1])
        if not term.system_given and not term.code_given:
            return [{"exists": {"field": f"{path}.c"}}]
        if not term.system_given:
            codes.append(keyword(code))
        elif term.code_given:
            pairs.append(joined(system, code))
        else:
            systems.append(keyword(system))
    return [*one_of(f"{path}.c", codes), *one_of(f"{path}.t", pairs), *one_of(f"{path}.s", systems)]


def _string(path: str, modifier: Modifier, terms: Sequence[Term]) -> list[Json]:
    if modifier is Modifier.EXACT:
        return one_of(f"{path}.x", (keyword(str(tuple(term.value)[1])) for term in terms))
    texts = dict.fromkeys(str(term.value[0]) for term in terms)
    if any(len(text) > OVERLAP for text in texts):
        raise TooCostly(f"The search index finds texts of up to {OVERLAP} characters; ask for a shorter one, or :exact.")
    if modifier is Modifier.EQUALS:
        return one_of(f"{path}.f", texts)
    if modifier is Modifier.ENDS:  # of a text longer than LONGEST the first LONGEST characters count
        return [{"wildcard": {f"{path}.f": {"value": f"*{text.translate(WILD)}"}}} for text in texts]
    if modifier is not Modifier.CONTAINS:
        return [{"prefix": {f"{path}.f": text}} for text in texts]
    _check_length(texts, CONTAINED)
    patterns = [f"*{text.translate(WILD)}*" for text in texts]
    return [{"wildcard": {f"{path}.{field}": {"value": pattern}}} for pattern in patterns for field in ("f", "m")]


def _range(field: str, low: Any, high: Any, relation: str) -> Json:
    bounds = {"relation": relation}
    if low is not None:
        bounds["gte"] = low
    if high is not None:
        bounds["lte"] = high
    return {"range": {field: bounds}}


def _date(path: str, modifier: Modifier, terms: Sequence[Term]) -> list[Json]:
    return [query for term in terms for query in _one_date(partial(_range, f"{path}.r"), term)]


def _one_date(between: Callable[[int | None, int | None, str], Json], term: Term) -> list[Json]:
    """A document's [low, high) stands as the closed [low, high - 1]."""
    asked = term.value
    assert isinstance(asked, DateValue)
    low, high = asked
    inside = between(low, high - 1, "within")
    before, after = between(None, low - 1, "intersects"), between(high, None, "intersects")
    return {
        Prefix.EQ: [inside],
        Prefix.NE: [before, after],
        Prefix.GT: [after],
        Prefix.LT: [before],
        Prefix.GE: [after, inside],
        Prefix.LE: [before, inside],
        Prefix.SA: [between(high, None, "within")],
        Prefix.EB: [between(None, low - 1, "within")],
        Prefix.AP: [between(low, high - 1, "intersects")],
    }[term.prefix]


def instants(field: str, terms: Sequence[Term]) -> list[Json]:
    """Terms of `_lastUpdated`: of a document that was updated at i, [i, i + 1) is compared."""
    return [{"range": {field: bounds}} for term in terms for bounds in _one_instant(term)]


def _one_instant(term: Term) -> list[Json]:
    asked = term.value
    assert isinstance(asked, DateValue)
    low, high = asked
    return {
        Prefix.EQ: [{"gte": low, "lt": high}],
        Prefix.NE: [{"lt": low}, {"gte": high}],
        Prefix.GT: [{"gte": high}],
        Prefix.LT: [{"lt": low}],
        Prefix.GE: [{"gte": low}],
        Prefix.LE: [{"lt": high}],
        Prefix.SA: [{"gte": high}],
        Prefix.EB: [{"lt": low}],
        Prefix.AP: [{"gte": low, "lt": high}],
    }[term.prefix]


Make = Callable[[float, float, str], Json]
"""(low, high, relation) -> the query; both ends belong to the interval, infinite ones are open."""


def _compared(term: Term, asked: NumberValue | QuantityValue, make: Make) -> list[Json]:
    """The table at `search.query.Prefix` for a document's closed [low, high]."""
    value, low, below_high, high = asked.value, asked.low, nextafter(asked.high, -inf), asked.high
    match term.prefix:
        case Prefix.EQ:
            return [make(low, below_high, "within")]
        case Prefix.NE:
            return [make(-inf, nextafter(low, -inf), "intersects"), make(high, inf, "intersects")]
        case Prefix.GT:
            return [make(nextafter(value, inf), inf, "intersects")]
        case Prefix.LT:
            return [make(-inf, nextafter(value, -inf), "intersects")]
        case Prefix.GE:
            return [make(value, inf, "intersects")]
        case Prefix.LE:
            return [make(-inf, value, "intersects")]
        case Prefix.SA:
            return [make(nextafter(value, inf), inf, "within")]
        case Prefix.EB:
            return [make(-inf, nextafter(value, -inf), "within")]
        case Prefix.AP:
            return [make(low, below_high, "intersects")]


def _plain(field: str) -> Make:
    def make(low: float, high: float, relation: str) -> Json:
        if low > high or low == inf or high == -inf:
            return NOTHING
        return _range(field, None if low == -inf else low + 0.0, None if high == inf else high + 0.0, relation)

    return make


def _by_unit(field: str, unit: int) -> Make:
    def make(low: float, high: float, relation: str) -> Json:
        return _range(field, address(unit, low), address(unit, high), relation) if low <= high else NOTHING

    return make


def _number(path: str, modifier: Modifier, terms: Sequence[Term]) -> list[Json]:
    made = []
    for term in terms:
        assert isinstance(term.value, NumberValue)
        made += _compared(term, term.value, _plain(f"{path}.r"))
    return made


def _quantity(path: str, modifier: Modifier, terms: Sequence[Term]) -> list[Json]:
    made = []
    for term in terms:
        asked = term.value
        assert isinstance(asked, QuantityValue)
        unit = unit_key(asked.system if term.system_given else None, asked.code)
        made += _compared(term, asked, _by_unit(f"{path}.u", unit) if term.unit_given else _plain(f"{path}.r"))
    return made


def _reference(path: str, modifier: Modifier, terms: Sequence[Term]) -> list[Json]:
    targets, ids = list[str](), list[str]()
    every = len(definitions().resource_types)
    for term in terms:
        target = str(term.value[0])
        if not term.types:
            targets.append(keyword(target))
        elif len(set(term.types)) == every:
            ids.append(keyword(target))
        else:
            targets += [keyword(f"{type}/{target}") for type in term.types]
    return [*one_of(f"{path}.t", targets), *one_of(f"{path}.i", ids)]


def _uri(path: str, modifier: Modifier, terms: Sequence[Term]) -> list[Json]:
    if modifier is not Modifier.BELOW:
        return one_of(f"{path}.t", (keyword(str(term.value[0])) for term in terms))
    starts = dict.fromkeys(str(term.value[0]).rstrip("/") for term in terms)
    whole = dict.fromkeys((*starts, *(str(term.value[0]) for term in terms)))
    return [*one_of(f"{path}.t", map(keyword, whole)), *({"prefix": {f"{path}.t": f"{start}/"}} for start in starts)]


def _label(path: str, modifier: Modifier, terms: Sequence[Term]) -> list[Json]:
    texts = dict.fromkeys(str(next(iter(term.value))) for term in terms)
    _check_length(texts)
    return [{"prefix": {f"{path}.f": text}} for text in texts]


def _near(path: str, modifier: Modifier, terms: Sequence[Term]) -> list[Json]:
    made: list[Json] = []
    for term in terms:
        asked = term.value
        assert isinstance(asked, PositionValue)
        point = {"lat": asked.latitude, "lon": asked.longitude}
        made.append({"geo_distance": {"distance": f"{max(asked.radius, 0.01)}m", f"{path}.g": point}})
    return made


def _composite(path: str, modifier: Modifier, terms: Sequence[Term]) -> list[Json]:
    return [query for term in terms for query in _one_composite(path, term)]


def _one_composite(path: str, term: Term) -> list[Json]:
    number, other = compared([part.value for part in term.parts])
    found = [_asked_keys(part) for part in term.parts if keys(part.value) is not None]
    found += [_asked_cells(part) for part in term.parts if part.value is number]
    starts = [together(parts) for parts in product(*found)]
    if other is None:
        return one_of(f"{path}.k", (f"{start:016x}" for start in starts))
    if isinstance(other, StringValue):
        _check_length([other.folded])
        return [{"prefix": {f"{path}.k": f"{start:016x}{other.folded}"}} for start in starts]
    part = next(part for part in term.parts if part.value is other)
    return [query for start in starts for query in _ranged(f"{path}.u", start, part)]


def _asked_keys(part: Term) -> list[str]:
    """The keys of `fields.keys` that a term asks for: any of them."""
    value = part.value
    if isinstance(value, TokenValue):
        if not part.system_given:
            return [f"c{value.code}"]
        return [f"t{value.system}{SEPARATOR}{value.code}"] if part.code_given else [f"s{value.system}"]
    if part.types:
        return [f"r{type}/{next(iter(value))}" for type in part.types]
    return keys(value) or []


def _asked_cells(part: Term) -> list[str]:
    """The keys of `fields.cells` that a term for a whole number asks for: any of them."""
    found = list[str]()

    def collect(low: float, high: float, relation: str) -> Json:
        found.extend(cover(low, high))
        return NOTHING

    assert isinstance(part.value, NumberValue)
    _compared(part, part.value, collect)
    return list(dict.fromkeys(found))


def _ranged(field: str, start: int, part: Term) -> list[Json]:
    asked = part.value
    if isinstance(asked, DateValue):
        ends = (place(start, 0), place(start, (1 << 64) - 1))

        def between(low: int | None, high: int | None, relation: str) -> Json:
            low_end = ends[0] if low is None else place(start, moment(low))
            return _range(field, low_end, ends[1] if high is None else place(start, moment(high)), relation)

        return _one_date(between, part)
    assert isinstance(asked, NumberValue | QuantityValue)
    if isinstance(asked, QuantityValue) and part.unit_given:
        start ^= unit_key(asked.system if part.system_given else None, asked.code)
    return _compared(part, asked, _by_unit(field, start))


def _check_length(texts: Iterable[str], most: int = OVERLAP) -> None:
    if any(len(text) > most for text in texts):
        raise TooCostly(f"The search index looks for texts of up to {most} characters so; ask for a shorter one, or :exact.")


TERMS: Mapping[str, Callable[[str, Modifier, Sequence[Term]], list[Json]]] = {
    "token": _token,
    "string": _string,
    "date": _date,
    "number": _number,
    "quantity": _quantity,
    "reference": _reference,
    "uri": _uri,
    "composite": _composite,
    "label": _label,
    "special": _near,
}
"""Kind -> (path of the parameter's fields, modifier, terms) -> the queries one of which must hold."""
