"""Columns and their types (https://sql-on-fhir.org/ig/StructureDefinition-ViewDefinition.html#column-types)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from conformance.fhirpath.model import is_primitive

Kind = Literal["text", "boolean", "integer", "integer64", "decimal", "instant", "binary", "complex"]
"""How values are kept: `complex` ones are JSON."""

_KINDS: Final[dict[str, Kind]] = {
    "boolean": "boolean", "integer": "integer", "positiveInt": "integer", "unsignedInt": "integer", "integer64": "integer64",
    "decimal": "decimal", "instant": "instant", "base64Binary": "binary",
}  # fmt: skip
_NUMBERS: Final = {"integer": 1, "integer64": 2, "decimal": 3}
_TEXTS: Final = frozenset(("text", "instant", "binary"))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a view's rows. `type`: a FHIR type code. `collection`: values are lists. `index`: it is `%rowIndex`, 0 where there is
    no row. `tags`: what the view says beside ("ansi/type")."""

    name: str
    type: str
    collection: bool = False
    description: str = ""
    index: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


def kind_of(type_name: str) -> Kind:
    """How values of a FHIR type are kept."""
    if type_name in _KINDS:
        return _KINDS[type_name]
    return "text" if is_primitive(type_name) else "complex"


def common_type(types: Iterable[str]) -> str | None:
    """One type for values of several primitive types, as wide as it must be; None if there is none."""
    names = sorted(set(types))
    if len(names) == 1:
        return names[0]
    kinds = {kind_of(name) for name in names}
    if kinds <= _NUMBERS.keys():
        return max(kinds, key=lambda kind: _NUMBERS[kind])
    return "string" if kinds <= _TEXTS else None


def fits(found: str, declared: str) -> bool:
    """May values of the type `found` stand in a column that is declared to be of another?"""
    have, want = kind_of(found), kind_of(declared)
    if have == want:
        return have != "complex" or found == declared or declared in ("Element", "BackboneElement", found.split(".")[0])
    if have in _NUMBERS and want in _NUMBERS:
        return _NUMBERS[have] <= _NUMBERS[want]
    return have in _TEXTS and want == "text"
