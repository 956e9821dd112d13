"""The rules of resources that define things, as far as R4's own definitions decide them.

What a CapabilityStatement says of an official SearchParameter, and where the elements of a StructureDefinition that constrains an
R4 type may stand (https://hl7.org/fhir/R4/capabilitystatement.html, https://hl7.org/fhir/R4/profiling.html).
"""

from collections.abc import Callable, Iterator
from typing import Any

from conformance.findings import Finding, Findings, Scope, dicts, shown, under
from conformance.load import Definitions, Element, TypeDefinition

Json = dict[str, Any]
Check = Callable[[Json, Scope], Findings]


class DefinitionRules:
    """The checks of defining resources, told apart by the type or backbone element that they look at."""

    def __init__(self, definitions: Definitions) -> None:
        self._types = definitions.types
        self._search_kinds = {one.url: one.kind for one in definitions.search_parameters}
        self._checks: dict[str, tuple[Check, ...]] = {
            "CapabilityStatement.rest.resource": (self._search_params,),
            "StructureDefinition": (self._paths,),
        }

    def of(self, name: str) -> tuple[Check, ...]:
        """The checks of a type, or of a backbone element by its path."""
        return self._checks.get(name, ())

    def _search_params(self, node: Json, scope: Scope) -> Findings:
        """A type's parameters; those of the whole system are left alone, R4's own base statement errs there."""
        found: list[Finding] = []
        for number, one in enumerate(dicts(node.get("searchParam"))):
            url, kind = one.get("definition"), one.get("type")
            official = self._search_kinds.get(url.partition("|")[0]) if isinstance(url, str) else None
            if official is not None and official != kind:
                found.append(
                    Finding(f"{shown(url)} is of type {official}, not {kind}", "value", path=f"searchParam[{number}].type")
                )
        return found or None

    def _paths(self, node: Json, scope: Scope) -> Findings:
        """Elements of a constraint stand where the constrained type has some; what a Resource within may hold is left open."""
        base = self._types.get(str(node.get("type")))
        if base is None or node.get("derivation") != "constraint" or node.get("kind") == "logical":
            return None
        found: list[Finding] = []
        for part in ("snapshot", "differential"):
            for number, path in _element_paths(node.get(part)):
                problem = self._problem(base, path)
                if problem:
                    found += under(f"{part}.element[{number}]", [Finding(problem, "value", path="path")])
        return found or None

    def _problem(self, base: TypeDefinition, path: str) -> str | None:
        root, *names = path.split(".")
        if root != base.name:
            return f"{shown(path)} does not begin with {base.name}, the type that is constrained"
        types = [base]
        for depth, name in enumerate(names):
            fitting = [element for type in types if (element := _element(type, name))]
            if not fitting:
                place = ".".join((root, *names[:depth]))
                return f"{shown(path)}: R4 has no element {shown(name)} in {place}; a choice is written with [x], as value[x]"
            codes = {code for element in fitting for json, code in element.json.items() if name in (json, _choice(element))}
            if "Resource" in codes:
                return None
            types = [self._types[code] for code in codes if code in self._types]
        return None


def _element_paths(part: Any) -> Iterator[tuple[int, str]]:
    """Number and path of each element of a snapshot or differential."""
    for number, element in enumerate(dicts(part.get("element") if isinstance(part, dict) else None)):
        path = element.get("path")
        if isinstance(path, str):
            yield number, path


def _choice(element: Element) -> str:
    """How a path writes this element: `value[x]` where it is a choice."""
    return element.name if element.name in element.json else f"{element.name}[x]"


def _element(type: TypeDefinition, name: str) -> Element | None:
    """The element that `name` means in a path: its own name, `value[x]`, or one of a choice's names (`valueQuantity`)."""
    found = type.elements.get(name.removesuffix("[x]"))
    if found is not None and name == _choice(found):
        return found
    return next((element for element in type.elements.values() if name in element.json), None)
