"""How much may be done for one expression. What is gone through, made or compiled is counted wherever somebody has set a bound.

The bound holds for everything that is evaluated or compiled below `bounded`, in this thread or task. Without one nothing is counted: the
expressions of the specification are known to end soon.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from conformance.fhirpath.nodes import FhirPathError

TEXT: Final = 6
"""2 to the power of this many characters are gone through in the time of one step."""


class TooCostly(FhirPathError):
    """An expression that does more than it may."""


class Budget:
    """`left` of `most` steps. A step is a microsecond at most: one item, one node of a document, 64 characters. `known`: what needs to be
    found once only while the bound holds."""

    __slots__ = ("known", "left", "most")

    def __init__(self, most: int) -> None:
        self.left = self.most = most
        self.known: dict[object, Any] | None = None

    def spend(self, steps: int) -> None:
        """Count steps. Raises TooCostly where there are more than may be."""
        self.left -= steps
        if self.left < 0:
            raise TooCostly(f"it takes more than {self.most} steps")


BUDGET: Final[ContextVar[Budget | None]] = ContextVar("BUDGET", default=None)
"""The bound that holds here."""


@contextmanager
def bounded(steps: int) -> Iterator[Budget]:
    """Within this, TooCostly is raised after so many steps."""
    budget = Budget(steps)
    token = BUDGET.set(budget)
    try:
        yield budget
    finally:
        BUDGET.reset(token)


def spend(steps: int) -> None:
    """Count steps, if there is a bound. Raises TooCostly."""
    budget = BUDGET.get()
    if budget is not None:
        budget.spend(steps)


def size(value: Any) -> int:
    """The steps of going through JSON: its nodes, and its text."""
    total, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        total += 1
        if isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, str):
            total += len(one) >> TEXT
    return total
