"""What a caller may do with documents, as grants: decided once for a request (docs/adr/0016).

Whoever narrows or widens a decision (a patient's consents, an emergency) does so in `fhir_server/access/deciding.py`, where the steps of
a decision stand one after the other: each takes a Decision and gives another one. Handlers, views and `permitted` know
nothing of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final, Literal

from fhir_server.access.types import BINARY
from search.query import Grant, Grants

Letter = Literal["c", "r", "u", "d", "s"]
LETTERS: tuple[Letter, ...] = ("c", "r", "u", "d", "s")


class GrantsByType(Mapping[str, Grants]):
    """Type -> its grants, worked out by `find` when they are first asked for: a request needs those of a few of the `types` (which gives
    all that there may be). A type without grants is not there."""

    __slots__ = ("_find", "_known", "_types")

    def __init__(self, types: Callable[[], Iterable[str]], find: Callable[[str], Grants]) -> None:
        self._types, self._find = types, find
        self._known: dict[str, Grants] = {}

    def __getitem__(self, type: str) -> Grants:
        """The grants of a type. Raises KeyError where there are none."""
        if type not in self:
            raise KeyError(type)
        return self._known[type]

    def get(self, type: str, default: Any = ()) -> Any:
        """The grants of a type, or `default`."""
        grants = self._known.get(type)
        if grants is None:
            grants = self._find(type)
            if grants:
                self._known[type] = grants
        return grants or default

    def __contains__(self, type: object) -> bool:
        return isinstance(type, str) and bool(self.get(type))

    def __iter__(self) -> Iterator[str]:
        return (type for type in self._types() if type in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """Of each type the grants of which one must hold for a document; a type that is not named is out of reach. `standing_in`: within which
    the resource must be that stands in for a Binary (None: any)."""

    by_type: Mapping[str, Grants]
    standing_in: "Reach | None" = None

    def of(self, type: str) -> Grants:
        """The grants for documents of a type; empty: none of them."""
        return self.by_type.get(type, ())

    def among(self, types: Iterable[str] | None = None) -> Grants:
        """The grants for documents of these types (None: of all), as indexes take them."""
        if types is None:
            return tuple(grant for grants in self.by_type.values() for grant in grants)
        return tuple(grant for type in types for grant in self.by_type.get(type, ()))

    def whole(self, type: str) -> bool:
        """Whether every document of the type, wherever it lies and whatever it says, is within reach."""
        bound = type == BINARY and self.standing_in is not None
        return not bound and any(is_whole(grant) for grant in self.by_type.get(type, ()))

    def joined(self, other: "Reach") -> "Reach":
        """What one of the two reaches."""

        def either(type: str) -> Grants:
            return tuple(dict.fromkeys((*self.of(type), *other.of(type))))

        binaries = [reach.standing_in for reach in (self, other) if reach.of(BINARY)]
        standing_in = next(iter(binaries), None) if None not in binaries else None
        return Reach(GrantsByType(lambda: dict.fromkeys((*self.by_type, *other.by_type)), either), standing_in)


NOTHING = Reach({})


def is_whole(grant: Grant) -> bool:
    """Whether a grant holds for every document of its type."""
    return grant.compartment is None and not grant.clauses and not grant.without and not grant.free


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What each letter of a scope reaches (https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html: create, read, update,
    delete, search); None: everything. `administers`: whether the caller may change how the server works. `mark` tells decisions apart
    that were made of different tokens' contents, or for different purposes. `scope` begins the scopes that a refusal names ("patient",
    "user" or "system").
    """

    create: Reach | None = None
    read: Reach | None = None
    update: Reach | None = None
    delete: Reach | None = None
    search: Reach | None = None
    administers: bool = True
    mark: bytes = b""
    scope: str = "system"
    _known: dict[str, Reach | None] = field(default_factory=dict, init=False, repr=False)  # its own: `replace` hands none on

    @property
    def everything(self) -> bool:
        """Whether nothing is kept from the caller."""
        return self.administers and all(self.letter(each) is None for each in LETTERS)

    def letter(self, letter: str) -> Reach | None:
        """What a letter of `cruds` reaches."""
        reach: Reach | None = getattr(self, NAMES[letter])
        return reach

    def any(self, letters: str) -> Reach | None:
        """What one of these letters, at least, reaches."""
        if letters not in self._known:
            reaches = [self.letter(letter) for letter in letters]
            joined = reduce(Reach.joined, (reach for reach in reaches if reach is not None), NOTHING)
            self._known[letters] = None if None in reaches else joined
        return self._known[letters]

    def covers(self, letter: str, type: str) -> bool:
        """Whether the letter reaches any document of the type at all ("": of any type)."""
        reach = self.letter(letter)
        return reach is None or (bool(reach.of(type)) if type else any(True for _ in reach.by_type))


NAMES: Final = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}
"""What a letter of a scope lets somebody do."""

WHOLE = Decision()
"""Everything is allowed."""
