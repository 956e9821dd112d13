"""What a function is to the compiler."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from conformance.fhirpath.nodes import Node
from conformance.fhirpath.values import Collection, Environment

SAME = "same"
"""Result type: that of the input."""


@dataclass(frozen=True, slots=True)
class Function:
    """`run(input, arguments, environment)`, with every argument evaluated in the scope around the call.

    `least`, `most`: number of arguments. `result`: type of the items it gives ("System.Boolean", SAME), None if that is not known.
    `input`: the System type it needs ("" any). `ordered`: it needs an input that has an order. `deep`: it looks at nodes with all that is
    below them. `work`: how many times longer than others it takes for text.
    """

    run: Callable[[Collection, list[Collection], Environment], Collection]
    least: int = 0
    most: int = 0
    result: str | None = None
    input: str = ""
    ordered: bool = False
    deep: bool = False
    work: int = 1


@dataclass(frozen=True, slots=True)
class Code:
    """A compiled expression. `types`: what its items can be ("HumanName", "System.Boolean"), None if not known; `ordered`: their order
    means something."""

    run: Callable[[Environment], Collection]
    types: frozenset[str] | None = None
    ordered: bool = True


class Compiles(Protocol):
    """The compiler, as functions with arguments of their own scope need it."""

    strict: bool

    def code(self, tree: Node, this: Code) -> Code:
        """Compile a tree for a scope whose `$this` is like `this`."""
