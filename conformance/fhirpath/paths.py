"""Expressions of search parameters: values by their types, taken straight from the JSON (https://hl7.org/fhir/R4/searchparameter.html)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any

from conformance.fhirpath.expression import Expression, compile_tree, conditions, fhir_name, resource_type_of
from conformance.fhirpath.model import definition
from conformance.fhirpath.nodes import FhirPathError, Node, Union
from conformance.fhirpath.parser import parse
from conformance.fhirpath.quantity import Quantity
from conformance.fhirpath.static import Branch, StaticScope, branches
from conformance.fhirpath.temporal import Temporal
from conformance.fhirpath.values import UCUM


@dataclass(frozen=True, slots=True)
class Path:
    """Values of one FHIR type. `get` takes the JSON object of the type the path was compiled for, and gives the values in order, as JSON.
    It raises FhirPathError where an expression that computes does not go with the document.

    The list may be shared: read it, never change it. `of_resource`: the path begins at %resource, so `get` takes the whole resource even
    though the expression was compiled for a part of it (components of a composite search parameter). `keys`: the JSON properties on the
    way to the values, up to the first condition or index on it (empty: not known); `plain`: there is none, so that paths with equal
    `keys` give equal values.
    """

    fhir_type: str
    get: Callable[[Any], list[Any]]
    of_resource: bool = False
    keys: tuple[str, ...] = ()
    plain: bool = False


@lru_cache(maxsize=16_384)
def compile_paths(expression: str, type_name: str) -> tuple[Path, ...]:
    """The paths of a search parameter's expression for one type ("Patient", "Observation.component"), one for each type of value.

    Parts of a union that belong to other types are left out (so the result may be empty). `as` gives all values of the type and of the
    types derived from it, `resolve() is T` is decided by the text of the reference. Two paths may give the same value.
    Raises FhirPathError for an expression that cannot be read, names unknown elements, or whose types cannot be told.
    """
    if definition(type_name) is None:
        raise FhirPathError(f"{type_name} is no FHIR type")
    tree = parse(expression)
    resource_type = resource_type_of(type_name)
    scope = StaticScope(type_name, resource_type, True, conditions(resource_type, search=True).truth)
    made: dict[object, Path] = {}
    for part in tree.operands if isinstance(tree, Union) else (tree,):
        for path in _paths(part, scope):
            made.setdefault(path[0], path[1])
    return tuple(made.values())


def _paths(tree: Node, scope: StaticScope) -> list[tuple[object, Path]]:
    found = branches(tree, scope)
    if found is None:
        return [(object(), path) for path in _computed(tree, scope)]
    return [(_identity(b), Path(b.type, b.get, b.source == "resource", *_keys(b.place))) for b in found]


def _keys(place: tuple[object, ...]) -> tuple[tuple[str, ...], bool]:
    steps = place[1:]
    keys = tuple(str(step) for step in takewhile(lambda step: isinstance(step, str) and step != "where", steps))
    return keys, 0 < len(keys) == len(steps)


def _identity(branch: Branch) -> object:
    return (branch.place, branch.type) if branch.place else object()


def _computed(tree: Node, scope: StaticScope) -> list[Path]:
    """A condition (`Patient.deceased.exists() and …`), or any other expression whose types are known."""
    rules = conditions(scope.resource_type, search=True)
    if rules.is_condition(tree):
        holds = rules.truth(tree, scope.type)

        def truth(node: Any) -> list[Any]:
            value = holds(node, node, node)
            return [] if value is None else [value]

        return [Path("boolean", truth)]
    compiled = compile_tree(tree, scope.type, strict=True)
    if compiled.fhir_types is None:
        raise FhirPathError("the types of the values cannot be told from the definitions", tree.at)
    return [Path(kind, _of_kind(compiled, kind)) for kind in compiled.fhir_types]


def _of_kind(compiled: Expression, kind: str) -> Callable[[Any], list[Any]]:
    def get(node: Any) -> list[Any]:
        return [as_json(value) for name, value in compiled.typed(node) if fhir_name(name) == kind and value is not None]

    return get


def as_json(value: Any) -> Any:
    """A System value as the JSON of the FHIR type that corresponds to it; a value of the document as it is."""
    if isinstance(value, Temporal):
        return str(value).removesuffix("T")  # a DateTime that is known to the day
    if isinstance(value, Quantity):
        code = {} if value.calendar else {"system": UCUM, "code": value.unit}
        return {"value": value.value, "unit": value.unit, **code}
    return value
