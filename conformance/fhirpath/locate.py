"""Where a path leads in a document, so that the place can be changed (https://hl7.org/fhir/R4/fhirpatch.html#concept)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from conformance.fhirpath.budget import spend
from conformance.fhirpath.expression import conditions, resource_type_of
from conformance.fhirpath.model import definition, element, is_primitive, is_resource, is_subtype, selects
from conformance.fhirpath.nodes import Call, FhirPathError, Indexer, Literal, Member, Node, TypeTest, children_of, count_nodes
from conformance.fhirpath.parser import parse
from conformance.fhirpath.static import type_argument, uses_variables

_COMPILING = 40
"""Steps that a condition takes to be compiled, beside those for what is in it."""


@dataclass(frozen=True, slots=True)
class Location:
    """One place: property `name` of the JSON object `owner`, with `index` where the property is a list.

    `name` is the JSON property (`valueQuantity`), `path` the full path with indices in FHIRPath's names (`Observation.value`).
    A primitive that has nothing but an id or extensions stands in `_name` only.
    """

    owner: dict[str, Any]
    name: str
    index: int | None
    fhir_type: str
    path: str

    @property
    def parent(self) -> Any:
        """The container that `key` belongs to: the owner, or the list in it (None where the list is only in `_name`)."""
        return self.owner if self.index is None else self.owner.get(self.name)

    @property
    def key(self) -> str | int:
        """The property's name, or the index in the list."""
        return self.name if self.index is None else self.index

    @property
    def value(self) -> Any:
        """What stands there; None for a primitive without value."""
        parent = self.parent
        if self.index is None or parent is None:
            return None if parent is None else parent.get(self.name)
        return parent[self.index] if self.index < len(parent) else None


@dataclass(frozen=True, slots=True)
class _Root:
    value: Any
    fhir_type: str
    path: str


def locate(document: dict[str, Any], type_name: str, expression: str) -> list[Location]:
    """The places that a simple path leads to in a document of a type, in order; [] where there are none (yet).

    Simple: names of elements (choices without their type: `value`), `[n]`, `first()`, `last()`, `where(…)`, `extension('url')`,
    `as` and `ofType`. Raises FhirPathError for anything else, for names that the type does not have, and for the document itself.
    """
    if definition(type_name) is None:
        raise FhirPathError(f"{type_name} is no FHIR type")
    tree = parse(expression)
    found = _Walk(document, type_name).places(tree)
    made = [place for place in found if isinstance(place, Location)]
    if len(made) != len(found):
        raise FhirPathError("the path must lead to an element of the document, not to the document", tree.at)
    return made


_Place = Location | _Root
_FUNCTIONS = frozenset(("where", "first", "last", "extension", "as", "ofType"))
_CONDITIONS = _FUNCTIONS | frozenset(
    ("exists", "empty", "not", "count", "hasValue", "startsWith", "endsWith", "contains", "lower", "upper", "is")
)


class _Walk:
    """One path through one document."""

    def __init__(self, document: dict[str, Any], type_name: str) -> None:
        self.root = _Root(document, type_name, type_name)

    def places(self, tree: Node) -> list[_Place]:
        """Where a tree leads."""
        match tree:
            case Member(target=None, name=name):
                known = element(self.root.fhir_type, name) is not None
                if not known and name[:1].isupper() and is_subtype(self.root.fhir_type, name):
                    return [self.root]
                return self._children([self.root], tree)
            case Member(target=target) if target is not None:
                return self._children(self.places(target), tree)
            case Indexer(target=target, index=Literal(value=int() as index)):
                return self.places(target)[index : index + 1]
            case Call(target=target, name=name) if target is not None and name in _FUNCTIONS:
                return self._call(tree, self.places(target))
            case TypeTest(operator="as", operand=operand, type=name):
                return _of_type(self.places(operand), name)
        raise FhirPathError("this is no simple path: names, [n], first(), last(), where(), extension(), as and ofType()", tree.at)

    @staticmethod
    def _children(places: list[_Place], tree: Member) -> list[_Place]:
        made: list[_Place] = []
        spend(2 * len(places))
        for place in places:
            node_type = _actual_type(place)
            found = element(node_type, tree.name)
            if found is None:
                raise FhirPathError(f"{node_type} has no element {tree.name}", tree.at)
            for key, code in found.json.items():
                made.extend(_counted(_at(place, tree.name, key, code)))
        return made

    def _call(self, tree: Call, places: list[_Place]) -> list[_Place]:
        if tree.name in ("first", "last") and not tree.arguments:
            return places[:1] if tree.name == "first" else places[-1:]
        if len(tree.arguments) != 1:
            raise FhirPathError(f"{tree.name}() takes one argument", tree.at)
        argument = tree.arguments[0]
        if tree.name in ("as", "ofType"):
            name = type_argument(argument)
            if name is None:
                raise FhirPathError(f"{tree.name}() takes the name of a type", argument.at)
            return _of_type(places, name)
        if tree.name == "extension":
            url = argument.value if isinstance(argument, Literal) else None
            extensions = self._children(places, Member(tree.at, tree.height, tree.target, "extension"))
            return [p for p in extensions if p.value.get("url") == url]
        _check_criterion(argument)
        spend(len(places) * count_nodes(argument))
        return [place for place in places if self._holds(argument, place)]

    def _holds(self, criterion: Node, place: _Place) -> bool:
        kind = _actual_type(place)
        spend(_COMPILING)
        truth = conditions(resource_type_of(kind)).truth(criterion, kind)
        return truth(place.value, self.root.value, self.root.value) is True


def _counted(found: Iterable[Location]) -> Iterator[Location]:
    for each in found:
        spend(2)
        yield each


def _check_criterion(tree: Node) -> None:
    """Paths to change come from clients: their conditions get only what cannot run for long (no regular expressions, no tree walks)."""
    if uses_variables(tree):
        raise FhirPathError("the condition of a simple path can look at its own element only", tree.at)
    if isinstance(tree, Call) and tree.name not in _CONDITIONS:
        raise FhirPathError(f"{tree.name}() is not allowed in a simple path", tree.at)
    for child in children_of(tree):
        _check_criterion(child)


def _actual_type(place: _Place) -> str:
    """The type of the place; of a contained or bundled resource the one it tells."""
    if is_resource(place.fhir_type) and isinstance(place.value, dict):
        told = place.value.get("resourceType")
        if isinstance(told, str) and definition(told) is not None:
            return told
    return place.fhir_type


def _of_type(places: list[_Place], name: str) -> list[_Place]:
    wanted = name.removeprefix("FHIR.")
    return [p for p in places if selects(_actual_type(p), wanted)]


def _at(place: _Place, name: str, key: str, code: str) -> Iterator[Location]:
    owner = place.value
    if not isinstance(owner, dict):
        if name not in ("id", "extension"):
            return
        owner = _extra(place)
    beside = owner.get("_" + key) if is_primitive(code) else None
    value = owner.get(key)
    path = f"{place.path}.{name}"
    if isinstance(value, list) or isinstance(beside, list):
        for index in range(max(len(value or ()), len(beside or ()))):
            yield Location(owner, key, index, code, f"{path}[{index}]")
    elif value is not None or beside is not None:
        yield Location(owner, key, None, code, path)


def _extra(place: _Place) -> dict[str, Any]:
    """The object beside a primitive that holds its id and extensions; an empty one where there is none."""
    if isinstance(place, _Root):
        return {}
    found = place.owner.get("_" + place.name)
    if place.index is not None and isinstance(found, list):
        found = found[place.index] if place.index < len(found) else None
    return found if isinstance(found, dict) else {}
