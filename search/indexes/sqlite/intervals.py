"""The comparison prefixes (the table at `search.query.Prefix`) as data: written out as SQL, or evaluated.

A rule compares the two ends of a document's interval, `low` and `high`, with the three numbers of a term: l, h (its interval) and v.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from search.query import Prefix

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Part(NamedTuple):
    """`end` (low or high) compared with a term's number `by` (0: l, 1: h, 2: v)."""

    end: str
    operator: str
    by: int


class Comparison(NamedTuple):
    """Parts of which all must hold, or any. `hints` follow from them and give a range of `low` to an index; `by_width` are hints that
    hold only for intervals up to a width, which is taken off the number."""

    parts: tuple[Part, ...]
    all: bool = True
    hints: tuple[Part, ...] = ()
    by_width: tuple[Part, ...] = ()


_L, _H, _V = 0, 1, 2

TIMES: dict[Prefix, Comparison] = {
    Prefix.EQ: Comparison((Part("low", ">=", _L), Part("high", "<=", _H)), hints=(Part("low", "<", _H),)),
    Prefix.NE: Comparison((Part("low", "<", _L), Part("high", ">", _H)), all=False),
    Prefix.GT: Comparison((Part("high", ">", _H),), by_width=(Part("low", ">", _H),)),
    Prefix.GE: Comparison((Part("low", ">=", _L), Part("high", ">", _H)), all=False, by_width=(Part("low", ">", _L),)),
    Prefix.LT: Comparison((Part("low", "<", _L),)),
    Prefix.LE: Comparison((Part("low", "<", _L), Part("high", "<=", _H)), all=False, hints=(Part("low", "<", _H),)),
    Prefix.SA: Comparison((Part("low", ">=", _H),)),
    Prefix.EB: Comparison((Part("high", "<=", _L),), hints=(Part("low", "<", _L),)),
    Prefix.AP: Comparison((Part("low", "<", _H), Part("high", ">", _L)), by_width=(Part("low", ">", _L),)),
}
"""Half-open intervals of microseconds. (`ge` by width: what ends after h > l begins after l - width.)"""

NUMBERS: dict[Prefix, Comparison] = {
    Prefix.EQ: Comparison((Part("low", ">=", _L), Part("high", "<", _H)), hints=(Part("low", "<", _H),)),
    Prefix.NE: Comparison((Part("low", "<", _L), Part("high", ">=", _H)), all=False),
    Prefix.GT: Comparison((Part("high", ">", _V),)),
    Prefix.GE: Comparison((Part("high", ">=", _V),)),
    Prefix.LT: Comparison((Part("low", "<", _V),)),
    Prefix.LE: Comparison((Part("low", "<=", _V),)),
    Prefix.SA: Comparison((Part("low", ">", _V),)),
    Prefix.EB: Comparison((Part("high", "<", _V),)),
    Prefix.AP: Comparison((Part("low", "<", _H), Part("high", ">=", _L))),
}
"""Closed intervals of what a document holds."""


class Encode(NamedTuple):
    """An end of an interval in SQL and how numbers must be spelled to be compared with it: `strictly` for `>` and `<=`, where the
    rows have more bytes behind the number."""

    sql: str
    number: Callable[[Any], Any]
    strictly: Callable[[Any], Any] | None = None


def sql(
    rule: Comparison, bounds: tuple[Any, Any, Any], low: str | Encode, high: str | Encode, narrow: int | None = None
) -> tuple[str, tuple[Any, ...]]:
    """The rule as a condition, and its values in order. `narrow`: the widest interval there is among the rows (None: unknown)."""
    ends = {"low": _encode(low), "high": _encode(high)}
    texts, args = [], []
    hints = [(part, 0) for part in rule.hints] + ([(part, narrow) for part in rule.by_width] if narrow is not None else [])
    for part, off in hints:
        text, value = _part(part, ends[part.end], bounds[part.by] - off)
        texts.append(text)
        args.append(value)
    own = []
    for part in rule.parts:
        text, value = _part(part, ends[part.end], bounds[part.by])
        own.append(text)
        args.append(value)
    texts += own if rule.all else [f"({' OR '.join(own)})"]
    return " AND ".join(texts), tuple(args)


def bounds_of(rule: Comparison, bounds: tuple[int, int, int], narrow: int | None) -> tuple[int | None, int | None]:
    """Between which numbers, both included, `low` lies wherever the rule is satisfied (None: no bound). `narrow` as for `sql`."""
    parts = [(part, 0) for part in (*rule.hints, *(rule.parts if rule.all else ()))]
    parts += [(part, narrow) for part in rule.by_width] if narrow is not None else []
    known = [(part.operator, bounds[part.by] - off) for part, off in parts if part.end == "low"]
    return (
        max((number for operator, number in known if operator.startswith(">")), default=None),
        min((number for operator, number in known if operator.startswith("<")), default=None),
    )


def _encode(end: str | Encode) -> Encode:
    return end if isinstance(end, Encode) else Encode(end, lambda number: number)


def _part(part: Part, end: Encode, number: Any) -> tuple[str, Any]:
    spell = end.strictly if end.strictly and part.operator in (">", "<=") else end.number
    return f"{end.sql} {part.operator} ?", spell(number)


def holds(rule: Comparison, bounds: tuple[Any, Any, Any], low: Any, high: Any) -> bool:
    """Whether a document's interval satisfies the rule."""
    results = (_OPERATORS[p.operator](low if p.end == "low" else high, bounds[p.by]) for p in rule.parts)
    return all(results) if rule.all else any(results)


def before(text: str) -> str | None:
    """The least text that is greater than all that begin with `text`, in the order of code points; None if there is none."""
    while text:
        last = ord(text[-1])
        if last < 0x10FFFF:
            return text[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
        text = text[:-1]
    return None
