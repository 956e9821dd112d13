"""What a document has of a composite parameter: for each element, every combination of its components' values."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from conformance.fhirpath import Path, compile_paths
from search.parameter import Component, SearchParameter
from search.types.composite import PARTS
from search.types.text import Bases, Converter
from search.values import CompositeValue, Value

MAX_COMBINATIONS = 1_000
"""Most values of one element; what lies beyond is not found by the composite (a concept has a handful of codings)."""

Values = Callable[[Any, Any], list[Value]]
"""(element, whole document) -> the values of one component."""


def with_components(
    parameter: SearchParameter, definitions: tuple[tuple[str, str], ...], by_url: Mapping[str, SearchParameter]
) -> SearchParameter:
    """The composite with its components, given as (URL of a parameter, expression below the composite's element).

    It cannot be searched where one of them is no parameter of the type. Where a component's own expression has nothing that its
    parameter could be compared with, another's is taken: in R4 those of DocumentReference.relationship are exchanged.
    """
    found = [by_url.get(url) for url, _ in definitions]
    known = [p for p in found if p is not None and p.kind in PARTS]
    if not definitions or len(known) < len(definitions):
        return replace(parameter, searchable=False)
    places = _elements(parameter)
    expressions = [expression for _, expression in definitions]
    parts = []
    for own, p in zip(expressions, known, strict=True):
        fitting = (e for e in (own, *expressions) if any(_values(e, place.fhir_type, p.kind, ()) for place in places))
        parts.append(Component(p, next(fitting, own)))
    return replace(parameter, components=tuple(parts))


def _elements(parameter: SearchParameter) -> tuple[Path, ...]:
    return compile_paths(parameter.expression, parameter.type)


def at_root(parameter: SearchParameter) -> bool:
    """Whether the whole resource is one of the elements."""
    return any(path.fhir_type == parameter.type for path in _elements(parameter))


def below_root(parameter: SearchParameter) -> tuple[Path, ...]:
    """The paths of the elements that are parts of the resource."""
    return tuple(path for path in _elements(parameter) if path.fhir_type != parameter.type)


def combine(parameter: SearchParameter, path: Path, bases: Bases) -> Callable[[Any], list[Value]]:
    """Document -> the values of all elements at the path."""
    components = [_component(_values(c.expression, path.fhir_type, c.parameter.kind, bases)) for c in parameter.components]

    def values(document: Any) -> list[Value]:
        found: list[Value] = []
        for element in path.get(document):
            parts = [component(element, document) for component in components]
            if all(parts):
                found += [CompositeValue(each) for each, _ in zip(product(*parts), range(MAX_COMBINATIONS), strict=False)]
        return found

    return values


def _values(expression: str, element: str, kind: str, bases: Bases) -> list[tuple[Path, Converter]]:
    pairs = ((path, PARTS[kind].converter(path.fhir_type, bases)) for path in compile_paths(expression, element))
    return [(path, convert) for path, convert in pairs if convert is not None]


def _component(places: list[tuple[Path, Converter]]) -> Values:
    def values(element: Any, document: Any) -> list[Value]:
        found: list[Value] = []
        for path, convert in places:
            found += convert(path.get(document if path.of_resource else element))
        return found

    return values
