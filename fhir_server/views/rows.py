"""Closures that make rows: one node in, its rows out, put together as a view's selects are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from conformance.fhirpath.budget import BUDGET, size, spend
from fhir_server.views.definition import ColumnDefinition
from fhir_server.views.expressions import Compiled, Get

MOST_ROWS: Final = 100_000
"""Rows that a view may make of one resource."""

Row = tuple[Any, ...]
Emit = Callable[[Any, Any, int], list[Row]]
"""(node, the resource that it is of, %rowIndex) -> rows."""

Cell = Callable[[Any, Any, int], Any]


class Variant(NamedTuple):
    """Items of one type and what is made of each. `again`: the same node may come several times, as whatever computes may give it."""

    get: Get
    body: Emit
    again: bool = False


class RowError(Exception):
    """A resource of which the view can make no rows: a sentence, and the place in the ViewDefinition."""

    def __init__(self, text: str, at: str) -> None:
        super().__init__(text)
        self.text, self.at = text, at


def null(_node: Any, _resource: Any, _index: int) -> None:
    """The cell of nothing."""


def nothing(_node: Any, _resource: Any, _index: int) -> list[Row]:
    """No rows."""
    return []


def one_value(found: Compiled, column: ColumnDefinition) -> Cell:
    """The one value of an expression that could give more, None of none."""
    gets = found.gets

    def cell(node: Any, resource: Any, index: int) -> Any:
        values = gets[0](node, resource, index) if len(gets) == 1 else [v for get in gets for v in get(node, resource, index)]
        if len(values) > 1:
            text = f"the column {column.name!r} has {len(values)} values; set collection to true, or choose one by first()"
            raise RowError(text, column.at)
        return values[0] if values else None

    return cell


def flat(cells: list[Cell]) -> Emit:
    """One row of cells."""
    return lambda node, resource, index: [tuple([cell(node, resource, index) for cell in cells])]


def united(parts: list[Emit]) -> Emit:
    """The rows of all parts, one after the other."""
    return lambda node, resource, index: [row for part in parts for row in part(node, resource, index)]


def product(parts: list[Emit]) -> Emit:
    """Each row of a part with each row of the others."""
    if len(parts) == 1:
        return parts[0]

    def rows(node: Any, resource: Any, index: int) -> list[Row]:
        made: list[Row] = [()]
        for part in parts:
            found = part(node, resource, index)
            if len(made) * len(found) > MOST_ROWS:
                raise RowError(f"it would give more than {MOST_ROWS} rows", "ViewDefinition.select")
            if made and found:
                spend(len(made) * len(found) * (16 + len(made[0]) + len(found[0])) // 16)
            made = [first + second for first in made for second in found]
        return made

    return rows


def _count(items: Sequence[Any], again: bool, steps: int) -> None:
    """Count the work on items: `steps` for each, and for nodes that may come again, on each node below them."""
    budget = BUDGET.get()
    if budget is not None:
        budget.spend(steps * (sum(map(size, items)) if again else len(items)))


def each_item(variants: list[Variant], missing: Row | None, steps: int) -> Emit:
    """The rows of each item that the variants find; without any item `missing`, if that is given. `steps`: the work on an item."""

    def rows(node: Any, resource: Any, index: int) -> list[Row]:
        made: list[Row] = []
        number = 0
        for get, body, again in variants:
            items = get(node, resource, index)
            if items:
                _count(items, again, steps)
            for item in items:
                made += body(item, resource, number)
                number += 1
                if len(made) > MOST_ROWS:
                    raise RowError(f"it would give more than {MOST_ROWS} rows", "ViewDefinition.select")
        return [missing] if not number and missing is not None else made

    return rows


Step = tuple[Get, str, bool]
"""A path of repeat, the type that it leads to, and whether the same node may come again."""


def walked(paths: Mapping[str, list[Step]], root: str, bodies: Mapping[str, Emit], at: str, steps: int) -> Emit:
    """The rows of all that repeat finds, at any depth, parents first. `paths`: by type; `steps`: the work on an item."""

    def below(node: Any, type_name: str, resource: Any, index: int) -> Iterator[tuple[Any, str]]:
        made: list[tuple[Any, str]] = []
        for get, name, again in paths[type_name]:
            items = get(node, resource, index)
            if items:
                _count(items, again, steps)
            made += [(child, name) for child in items]
        return iter(made)

    def rows(node: Any, resource: Any, index: int) -> list[Row]:
        made: list[Row] = []
        number, open_levels = 0, [below(node, root, resource, index)]
        while open_levels:
            found = next(open_levels[-1], None)
            if found is None:
                open_levels.pop()
                continue
            child, name = found
            made += bodies[name](child, resource, number)
            number += 1
            if number > MOST_ROWS or len(made) > MOST_ROWS:
                raise RowError(f"repeat finds more than {MOST_ROWS} items", at)
            open_levels.append(below(child, name, resource, index))
        return made

    return rows
