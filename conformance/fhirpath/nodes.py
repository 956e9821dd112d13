"""The syntax tree of FHIRPath (http://hl7.org/fhirpath/N1) and the one error this package raises."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final


class FhirPathError(ValueError):
    """An expression that cannot be read, makes no sense for its type, or fails on its data: then the text repeats nothing of these.

    `position` is the offset in the expression where that shows (0-based, in characters); -1 where there is none.
    """

    def __init__(self, message: str, position: int = -1) -> None:
        super().__init__(message if position < 0 else f"{message} (at character {position + 1})")
        self.position = position


@dataclass(frozen=True, slots=True)
class Node:
    """Any node. `at`: offset in the expression; `height`: 1 + the height of the highest child."""

    at: int
    height: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A System value: bool, int, Decimal, str, Temporal or Quantity."""

    value: object


@dataclass(frozen=True, slots=True)
class Empty(Node):
    """`{}`."""


@dataclass(frozen=True, slots=True)
class Scope(Node):
    """`$this`, `$index` or `$total`."""

    name: str


@dataclass(frozen=True, slots=True)
class Variable(Node):
    """`%name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Member(Node):
    """`target.name`; without target the name is looked up in `$this`."""

    target: Node | None
    name: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`target.name(arguments)`; without target the input is `$this`."""

    target: Node | None
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Indexer(Node):
    """`target[index]`."""

    target: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`+operand`, `-operand`."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """Every operator with two operands but `is`, `as` and `|`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Union(Node):
    """`a | b | c`, flat."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class TypeTest(Node):
    """`operand is type`, `operand as type`; `type` as written, with its namespace (`System.Boolean`)."""

    operator: str
    operand: Node
    type: str


def count_nodes(tree: Node) -> int:
    """How many nodes a tree has."""
    return 1 + sum(map(count_nodes, children_of(tree)))


def children_of(tree: Node) -> tuple[Node, ...]:
    """The nodes directly below a node."""
    match tree:
        case Member(target=target):
            return () if target is None else (target,)
        case Call(target=target, arguments=arguments):
            return arguments if target is None else (target, *arguments)
        case Indexer(target=target, index=index):
            return (target, index)
        case Binary(left=left, right=right):
            return (left, right)
        case Union(operands=operands):
            return operands
        case Unary(operand=operand) | TypeTest(operand=operand):
            return (operand,)
    return ()


def substitute(tree: Node, values: Mapping[str, Any]) -> Node:
    """The tree with each `%name` that `values` knows as a literal (bool, int, Decimal, str, Temporal or Quantity), which is as quick as one
    that was written."""
    if isinstance(tree, Variable):
        return Literal(tree.at, tree.height, values[tree.name]) if tree.name in values else tree
    rebuild = _FORMS.get(type(tree))
    return tree if rebuild is None else rebuild(tree, lambda child: None if child is None else substitute(child, values))


def variables(tree: Node) -> Iterator[Variable]:
    """The variables in a tree, from left to right."""
    if isinstance(tree, Variable):
        yield tree
    for child in children_of(tree):
        yield from variables(child)


_Change = Callable[[Any], Any]
_FORMS: Final[dict[type[Node], Callable[[Any, _Change], Node]]] = {
    Member: lambda tree, change: replace(tree, target=change(tree.target)),
    Call: lambda tree, change: replace(tree, target=change(tree.target), arguments=tuple(change(a) for a in tree.arguments)),
    Indexer: lambda tree, change: replace(tree, target=change(tree.target), index=change(tree.index)),
    Unary: lambda tree, change: replace(tree, operand=change(tree.operand)),
    Binary: lambda tree, change: replace(tree, left=change(tree.left), right=change(tree.right)),
    Union: lambda tree, change: replace(tree, operands=tuple(change(o) for o in tree.operands)),
    TypeTest: lambda tree, change: replace(tree, operand=change(tree.operand)),
}
