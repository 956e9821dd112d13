"""The parameters that shape an answer (https://hl7.org/fhir/R4/search.html#return): `_sort`, `_count`, `_include` and the rest."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from conformance.summary import MODES
from search.clauses import Notes
from search.parameters import Parameters
from search.query import Contained, SortKey, Total
from search.reading.hints import close_to
from search.reading.includes import NAMES, Includes
from search.reading.sorting import read_links
from search.text.scoring import SCORE, score_key

MAX_SORT_KEYS = 8
_WITHOUT_ORDER = ("composite", "special")
_CONTAINED: Mapping[str, Contained] = {"false": "false", "true": "true", "both": "both"}
_SHOWN = ("container", "contained")
_TOTALS: Mapping[str, Total] = {"none": "none", "estimate": "estimate", "accurate": "accurate"}


@dataclass(slots=True)
class Shape:
    """How the answer is to look, as far as it has been read. `count` starts as the default page size. `includes` reads its part.
    `inside`: whether contained resources can be searched for here."""

    type: str
    parameters: Parameters
    notes: Notes
    includes: Includes
    count: int
    max_count: int
    total: Total | None = None
    sort: tuple[SortKey, ...] = ()
    summary: str | None = None
    elements: tuple[str, ...] = ()
    cursor: str | None = None
    explain: bool = False
    inside: bool = False
    contained: Contained = "false"
    parts: bool = False
    seen: set[str] = field(default_factory=set)


def read_shape(shape: Shape, name: str, value: str) -> bool:
    """Takes in `name=value` if it is one of these parameters, and notes what was applied; False if it is none of them."""
    code, _, suffix = name.partition(":")
    if code in NAMES:
        applied = shape.includes.read(name, value)
        if applied is not None:
            shape.notes.applied.append((name, applied))
        return True
    reader = _READERS.get(code)
    if reader is None:
        return False
    if suffix:
        shape.notes.refuse(name, f"{name}: {code} takes no modifier", "not-supported")
    elif code in shape.seen:
        shape.notes.refuse(name, f"{name} is given more than once")
    else:
        shape.seen.add(code)
        applied = reader(shape, name, value)
        if applied is not None:
            shape.notes.applied.append((name, applied))
    return True


def page_size(value: str, most: int) -> int | None:
    """What `_count` asks for, cut to `most`; None where it is not a whole number from 0 on."""
    return min(int(value), most) if value.isascii() and value.isdigit() and len(value) <= 18 else None


def _count(shape: Shape, name: str, value: str) -> str | None:
    count = page_size(value, shape.max_count)
    if count is None:
        shape.notes.refuse(name, f"_count is a whole number from 0 on, not {value[:100]!r}")
        return None
    shape.count = count
    if int(value) > count:
        shape.notes.hints.append(f"_count is cut to {count}, the most matches that a page may have (FHIR_MAX_COUNT)")
    return str(count)


def _total(shape: Shape, name: str, value: str) -> str | None:
    if value not in _TOTALS:
        shape.notes.refuse(name, f"_total is one of {', '.join(_TOTALS)}, not {value[:100]!r}")
        return None
    shape.total = _TOTALS[value]
    return value


def _summary(shape: Shape, name: str, value: str) -> str | None:
    if value not in MODES:
        shape.notes.refuse(name, f"_summary is one of {', '.join(MODES)}, not {value[:100]!r}")
        return None
    shape.summary = value
    return value


def _elements(shape: Shape, name: str, value: str) -> str | None:
    shape.elements = tuple(dict.fromkeys(part for part in (p.strip() for p in value.split(",")) if part))
    return value


def _sort(shape: Shape, name: str, value: str) -> str | None:
    texts = [text for text in value.split(",") if text]
    number = len({text.removeprefix("-") for text in texts})
    if number > MAX_SORT_KEYS:
        shape.notes.refuse(name, f"_sort has {number} keys; at most {MAX_SORT_KEYS} are allowed", "too-costly")
        return None
    keys: dict[str, SortKey] = {}
    applied: list[str] = []
    for text in dict.fromkeys(texts):
        code = text.removeprefix("-")
        if code == SCORE:
            applied.append(text)
            keys.setdefault(code, score_key(shape.type, worst_first=text.startswith("-")))
            continue
        via, type, last, wrong = read_links(shape.type, code, shape.parameters)
        parameter = shape.parameters.find(type, last)
        if wrong or parameter is None or not parameter.searchable or parameter.kind in _WITHOUT_ORDER:
            shape.notes.pass_over(name, wrong or _unsorted(shape, type, last))
            continue
        applied.append(text)
        keys.setdefault(code, SortKey(parameter, text.startswith("-"), via))
    shape.sort = tuple(keys.values())
    return ",".join(applied) if applied else None


def _unsorted(shape: Shape, type: str, code: str) -> str:
    """Why documents cannot be sorted by this."""
    sortable = [
        c for c, parameter in shape.parameters.of(type).items() if parameter.searchable and parameter.kind not in _WITHOUT_ORDER
    ]
    return f"{type} cannot be sorted by {code[:100]!r}{close_to(code, sortable)}"


def _contained(shape: Shape, name: str, value: str) -> str | None:
    if value not in _CONTAINED:
        shape.notes.refuse(name, f"_contained is one of {', '.join(_CONTAINED)}, not {value[:100]!r}")
        return None
    if value != "false" and not shape.inside:
        where = f"only a search of one type can, as in [base]/{shape.type}?_contained={value}"
        shape.notes.refuse(name, f"Contained resources cannot be looked for here; {where}", "not-supported")
        return None
    shape.contained = _CONTAINED[value]
    return value


def _contained_type(shape: Shape, name: str, value: str) -> str | None:
    if value not in _SHOWN:
        shape.notes.refuse(name, f"_containedType is one of {', '.join(_SHOWN)}, not {value[:100]!r}")
        return None
    shape.parts = value == "contained"
    return value


def _cursor(shape: Shape, name: str, value: str) -> str | None:
    shape.cursor = value
    return None


def _explain(shape: Shape, name: str, value: str) -> str | None:
    if value not in ("true", "false"):
        shape.notes.refuse(name, f"_explain is either true or false, not {value[:100]!r}")
        return None
    shape.explain = value == "true"
    return value


def _of_the_edge(shape: Shape, name: str, value: str) -> str | None:
    """Not about the search, but links to other pages have to carry it."""
    return value


_READERS: Mapping[str, Callable[[Shape, str, str], str | None]] = {
    "_count": _count,
    "_total": _total,
    "_summary": _summary,
    "_elements": _elements,
    "_sort": _sort,
    "_contained": _contained,
    "_containedType": _contained_type,
    "_cursor": _cursor,
    "_explain": _explain,
    "_format": _of_the_edge,
    "_pretty": _of_the_edge,
}
