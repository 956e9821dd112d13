"""SMART scopes, versions 1 and 2, read into values (https://hl7.org/fhir/smart-app-launch/STU2.2/scopes-and-launch-context.html).

`patient/Observation.rs?category=laboratory` is a level, a type or `*`, letters in the order `cruds`, and perhaps a search that a
document must satisfy. Version 1 says `.read` (now `rs`), `.write` (`cud`) and `.*` (`cruds`). Everything else (`openid`,
`launch/patient`) is a word.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast
from urllib.parse import parse_qsl

Level = Literal["patient", "user", "system"]

LETTERS = "cruds"
_VERSION_1 = {"read": "rs", "write": "cud", "*": "cruds"}
_SCOPE = re.compile(
    r"(patient|user|system)/([A-Z][A-Za-z]{1,63}|\*)\.(read|write|\*|(?=[cruds])c?r?u?d?s?)(?:\?([!#-\[\]-~]{1,512}))?", re.ASCII
)
"""A scope's characters are those of RFC 6749 (3.3): printable ASCII without blank, `"` and `\\`."""

MOST = 200
"""Most scopes in one request: an app that wants single types of a whole record asks for some thirty."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ResourceScope:
    """Access to documents of one type ("*": of any), in letters of LETTERS, `narrowed` to what a search of (name, value) pairs finds."""

    level: Level
    type: str
    letters: str
    narrowed: Pairs = ()
    text: str = ""
    """As it was asked for; what a token response repeats."""

    def covers(self, other: "ResourceScope") -> bool:
        """Whether whoever has this scope has all that the other one gives."""
        return (
            self.level == other.level
            and self.type in ("*", other.type)
            and set(other.letters) <= set(self.letters)
            and set(self.narrowed) <= set(other.narrowed)
        )


@dataclass(frozen=True, slots=True)
class Scopes:
    """What a scope parameter asks for: access to documents, and words such as `openid`, each once and in order. `unknown` are the parts
    that are neither (a misspelt type of access)."""

    resources: tuple[ResourceScope, ...] = ()
    words: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The scope parameter that says this."""
        return " ".join((*self.words, *(scope.text for scope in self.resources)))

    def cover(self, wanted: ResourceScope) -> bool:
        """Whether the scope, letter by letter, lies within what is here: `rs` is covered by `r` and `s` together."""
        return all(any(scope.covers(_with_letter(wanted, letter)) for scope in self.resources) for letter in wanted.letters)


_WORDS = "openid profile fhirUser launch launch/patient launch/encounter offline_access online_access"
WORDS = frozenset((*_WORDS.split(" "), "smart/orchestrate_launch", "smart/app-state"))
"""The words that mean something here."""


@lru_cache(maxsize=1024)
def parse_scopes(text: str) -> Scopes:
    """Read a scope parameter. Scopes that are repeated count once; `launch/patient?role=x` is the word `launch/patient`. Never raises."""
    resources, words, unknown = [], [], []
    for part in dict.fromkeys(text.split(" ")):
        if not part:
            continue
        scope = parse_scope(part)
        if scope is not None:
            resources.append(scope)
        elif part.partition("?")[0] in WORDS:
            words.append(part)
        else:
            unknown.append(part)
    return Scopes(tuple(resources), tuple(words), tuple(unknown))


def parse_scope(text: str) -> ResourceScope | None:
    """One scope for access to documents, or None if it is none: other words, letters out of order, no letters."""
    match = _SCOPE.fullmatch(text)
    if match is None:
        return None
    level, type, letters, query = match.groups()
    if query is not None and (type == "*" or letters in _VERSION_1):
        return None  # only version 2 narrows, and the parameters are those of a type
    pairs = tuple(parse_qsl(query or "", keep_blank_values=True))
    if query is not None and not (pairs and all(name and value for name, value in pairs)):
        return None  # an empty value would narrow to nothing, or to all, by the reader's leave
    return ResourceScope(cast(Level, level), type, _VERSION_1.get(letters, letters), pairs, text)


_PARTS = re.compile(r"(patient|user|system)/([^.?]*)(?:\.([^?]*))?(\?.*)?", re.DOTALL)


def fault(text: str) -> str:
    """Why a part of a scope parameter that `parse_scopes` finds unknown is no scope; nothing of it is repeated."""
    match = _PARTS.fullmatch(text)
    if match is None:
        return "no scope that is known here"
    _, type, letters, query = match.groups()
    if not letters:
        return "it does not say what may be done with the type, such as .rs"
    if letters not in _VERSION_1 and not set(letters) <= set(LETTERS):
        return "what may be done is some of the letters cruds, or read, write or * of version 1"
    if letters not in _VERSION_1 and "".join(letter for letter in LETTERS if letter in letters) != letters:
        return "the letters come once each and in the order cruds"
    if query and (type == "*" or letters in _VERSION_1):
        return "only a scope for one type, with letters of cruds, can be narrowed by a search"
    return "type or search is not written as such" if query else "the type is not written as one"


def _with_letter(scope: ResourceScope, letter: str) -> ResourceScope:
    return ResourceScope(scope.level, scope.type, letter, scope.narrowed)


def within(wanted: Iterable[ResourceScope], most: Scopes) -> bool:
    """Whether all of them lie within `most`."""
    return all(most.cover(scope) for scope in wanted)
