"""What a caller may do with documents, as grants: decided once for a request (docs/adr/0016).

Whoever narrows or widens a decision (a patient's consents, an emergency) does so in `fhir_server/access/deciding.py`, where the steps of
a decision stand one after the other: each takes a Decision and gives another one. `Reach.apart_from` keeps the records of some patients
out of a letter's reach, `Reach.joined` adds what another one reaches, and `Decision.each` does the same to all letters. Handlers, views
and `permitted` need know nothing of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Literal

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
    """Of each type the grants of which one must hold for a document; a type that is not named is out of reach."""

    by_type: Mapping[str, Grants]

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
        return any(is_whole(grant) for grant in self.by_type.get(type, ()))

    def apart_from(self, patients: Iterable[str]) -> "Reach":
        """This reach without all that lies in the compartments of these patients (their ids)."""
        closed = frozenset(patients)
        if not closed:
            return self

        def apart(type: str) -> Grants:
            return tuple(replace(grant, without=grant.without | closed) for grant in self.of(type))

        return Reach(GrantsByType(lambda: self.by_type, apart))

    def joined(self, other: "Reach") -> "Reach":
        """What one of the two reaches."""

        def either(type: str) -> Grants:
            return tuple(dict.fromkeys((*self.of(type), *other.of(type))))

        return Reach(GrantsByType(lambda: dict.fromkeys((*self.by_type, *other.by_type)), either))


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
    _known: dict[str, Reach | None] = field(default_factory=dict, repr=False)

    @property
    def everything(self) -> bool:
        """Whether nothing is kept from the caller."""
        return self.administers and all(self.letter(each) is None for each in LETTERS)

    def letter(self, letter: str) -> Reach | None:
        """What a letter of `cruds` reaches."""
        reach: Reach | None = getattr(self, _NAMES[letter])
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

    def each(self, change: Callable[[Reach | None], Reach | None]) -> "Decision":
        """A decision with what every letter reaches changed."""
        create, read, update, delete, search = (change(self.letter(letter)) for letter in LETTERS)
        return replace(self, create=create, read=read, update=update, delete=delete, search=search, _known={})


_NAMES = {"c": "create", "r": "read", "u": "update", "d": "delete", "s": "search"}

WHOLE = Decision()
"""Everything is allowed."""
