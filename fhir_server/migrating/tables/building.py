"""The resource that rules make of a row: what goes where, and what is left out because nothing stands there."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fhir_server.migrating.contract import Problem
from fhir_server.migrating.tables.paths import Step
from fhir_server.migrating.tables.values import BadValue, Row, Rule


class Tree:
    """What is below a place: trees by step, rules at the ends."""

    def __init__(self) -> None:
        self.below: dict[Step, Tree | End] = {}

    def put(self, steps: Sequence[Step], path: str, rule: Rule) -> bool:
        """Put a rule there; False where another one is there, or on the way."""
        at, *rest = steps
        if not rest:
            if at in self.below:
                return False
            self.below[at] = End(path, rule)
            return True
        inner = self.below.setdefault(at, Tree())
        return isinstance(inner, Tree) and inner.put(rest, path, rule)


class End(NamedTuple):
    """A rule, and the FHIRPath of its place."""

    path: str
    rule: Rule


class Made(NamedTuple):
    """`value` of a tree. `asked`: something below is of a column; `found`: and something stood there."""

    value: dict[str, Any]
    asked: bool
    found: bool


def build(tree: Tree, row: Row, problems: list[Problem]) -> Made:
    """The members that a tree makes. An element all of whose columns are empty is left out, with its constants."""
    value: dict[str, Any] = {}
    asked = found = False
    for step, below in tree.below.items():
        if isinstance(below, Tree):
            made = build(below, row, problems)
            asked, found = asked or made.asked, found or made.found
            if made.value and (made.found or not made.asked):
                _add(value, step, made.value)
            continue
        inner = _value(below, row, problems)
        if below.rule.columns:
            asked, found = True, found or inner is not None
        if inner is None:
            continue
        for each in inner if below.rule.listed else (inner,):
            _add(value, step, each)
    return Made(value, asked, found)


def _value(end: End, row: Row, problems: list[Problem]) -> Any:
    try:
        return end.rule.value(row)
    except BadValue as bad:
        columns = ", ".join(bad.columns)
        problems.append(Problem("value", f"{bad}, column{'s' if len(bad.columns) > 1 else ''} {columns}", end.path))
        return None


def _add(value: dict[str, Any], step: Step, inner: Any) -> None:
    if step.place is None:
        value[step.name] = inner
    else:
        value.setdefault(step.name, []).append(inner)
