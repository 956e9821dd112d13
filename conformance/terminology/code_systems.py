"""The codes of a CodeSystem and what is above and below each (https://hl7.org/fhir/R4/codesystem.html#hierarchy)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CodeTree:
    """`codes`: all of them. `children` and `parents`: the codes right below and right above one, where there are any.

    `complete`: whether the CodeSystem has all codes of its system, and so tells of a code that it does not have that there is none."""

    codes: frozenset[str]
    children: Mapping[str, frozenset[str]]
    parents: Mapping[str, frozenset[str]]
    complete: bool

    def below(self, code: str) -> set[str]:
        """The code and all that descend from it."""
        return _reached(code, self.children)

    def above(self, code: str) -> set[str]:
        """The code and all that it descends from."""
        return _reached(code, self.parents)


def code_tree(document: Mapping[str, Any]) -> CodeTree:
    """The tree of a CodeSystem resource: nested concepts, and the properties `parent` and `child` where it uses these."""
    codes: set[str] = set()
    pairs: set[tuple[str, str]] = set()
    left: list[tuple[str | None, Any]] = [(None, concept) for concept in document.get("concept", ())]
    while left:
        parent, concept = left.pop()
        code = concept["code"]
        codes.add(code)
        if parent is not None:
            pairs.add((parent, code))
        for named in concept.get("property", ()):
            other = named.get("valueCode")
            if other is not None and named.get("code") in ("parent", "child"):
                pairs.add((other, code) if named["code"] == "parent" else (code, other))
        left += [(code, inner) for inner in concept.get("concept", ())]
    pairs = {pair for pair in pairs if codes.issuperset(pair)}
    return CodeTree(frozenset(codes), _grouped(pairs), _grouped((b, a) for a, b in pairs), document.get("content") == "complete")


def official_tree(codes: frozenset[str], parents: Mapping[str, Iterable[str]]) -> CodeTree:
    """The tree of a complete CodeSystem of the official definitions: its codes, and the codes right above each that has any."""
    pairs = {(above, code) for code, found in parents.items() for above in found}
    return CodeTree(codes, _grouped(pairs), _grouped((b, a) for a, b in pairs), complete=True)


def _grouped(pairs: Iterable[tuple[str, str]]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for first, second in pairs:
        found.setdefault(first, set()).add(second)
    return {code: frozenset(others) for code, others in found.items()}


def _reached(start: str, steps: Mapping[str, frozenset[str]]) -> set[str]:
    found, left = {start}, [start]
    while left:
        new = steps.get(left.pop(), frozenset()) - found
        found |= new
        left += new
    return found
