"""What a source of a migration gives: resources in an order that is always the same, so that one that was interrupted is gone on with."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

import msgspec


class Stopped(Exception):
    """The migration cannot go on; the text says why, and what to do. What was written stays written."""


class Place(msgspec.Struct, frozen=True):
    """How far a source has been read: `part` (a file) up to and with its item `number`; `offset` is the part's own."""

    part: int = 0
    number: int = 0
    offset: int = 0


class Problem(NamedTuple):
    """One thing that is wrong: an issue code of FHIR, a sentence, and the FHIRPath where, if anywhere."""

    code: str
    text: str
    expression: str | None = None
    severity: str = "error"


def no_column(_expression: str | None) -> str:
    """Of a source that has no columns."""
    return ""


class Item(NamedTuple):
    """A resource as it came. `number` counts the items of its part from 1 on, `where` names file and line for people, `column` tells of a
    FHIRPath from which column it was made (", column dob"; "" if that is not known)."""

    type: str
    id: str
    body: bytes
    number: int
    where: str
    column: Callable[[str | None], str] = no_column


class Wrong(NamedTuple):
    """What came to nothing, with the reasons. `type` is "" where that is not known."""

    type: str
    where: str
    problems: tuple[Problem, ...]


class Chunk(NamedTuple):
    """Some items, in order, what was wrong between them, and the place behind all."""

    items: list[Item]
    wrong: list[Wrong]
    place: Place


Progress = Callable[[str, int, int | None], None]
"""What is being done, how much of it, of how much."""


class Source(Protocol):
    """What is migrated from."""

    @property
    def strict(self) -> bool:
        """Whether two items of one id that differ are a mistake. Otherwise the later one counts."""

    def prepare(self, progress: Progress) -> None:
        """Make ready to be read, however long that takes; what a former attempt has done is not done again. Raises Stopped."""

    def counts(self) -> Mapping[str, int]:
        """How many resources the source says that it has, of the types of which it says so."""

    def problems(self) -> list[Wrong]:
        """What is wrong with the source as a whole: what it could not give, counts that do not fit."""

    def chunks(self, after: Place) -> Iterator[Chunk]:
        """What comes behind that place, always cut in the same way. Raises Stopped."""

    def deleted(self) -> Iterator[tuple[str, str]]:
        """Types and ids of what the source says was deleted."""

    def finish(self) -> None:
        """All is written: nothing is needed of the source any more."""
