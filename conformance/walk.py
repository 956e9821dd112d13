"""The walk over a document, compiled type by type when a type is first met.

Every type becomes one function (`Visit`) that goes over a node's members with a table: JSON name -> (quick test, rule). The quick
test is one call into C that settles most values; the rule says what is wrong. Paths are put together only on the way back from a finding.
"""

from collections.abc import Callable, Hashable, Iterable
from typing import Any

from conformance.findings import Finding, Findings, Scope, joined, under
from conformance.load import Definitions, Element, TypeDefinition
from conformance.rules.bindings import Bindings
from conformance.rules.bundles import bundle_check
from conformance.rules.definitions import DefinitionRules
from conformance.rules.extensions import Extensions
from conformance.rules.invariants import Invariants
from conformance.rules.narrative import narrative
from conformance.rules.primitives import ELEMENT_ID, RESOURCE_ID, RULES, SPECIAL, Full, Quick
from conformance.rules.references import contained_check, reference_check
from conformance.rules.vital_signs import vital_sign_check

Visit = Callable[[dict[str, Any], Scope], Findings]
Rule = Callable[[Any, Scope], Findings]
Entry = tuple[Quick | None, Rule]
Table = dict[str, Entry]
Cell = list[Visit]
"""Holds one Visit, which compiles its type and puts the result in its own place when it is first called: types may be recursive."""


class Walk:
    """The compiled walk over every type of the definitions."""

    def __init__(self, definitions: Definitions) -> None:
        self._types = definitions.types
        self._resources = frozenset(definitions.resource_types)
        self._bindings = Bindings(definitions.value_sets, definitions.code_systems)
        self._invariants = Invariants(definitions.constraints)
        self._extensions = Extensions(definitions.extensions, definitions.types)
        self._defining = DefinitionRules(definitions)
        self._cells: dict[Hashable, Cell] = {}

    def resource(self, name: str) -> Visit | None:
        """The walk over a resource of this type; None if R4 has no such type."""
        return self._late(name, lambda: self._compile(name))[0] if name in self._resources else None

    def _late(self, key: Hashable, make: Callable[[], Visit]) -> Cell:
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = []

            def first(node: dict[str, Any], scope: Scope) -> Findings:
                cell[0] = make()
                return cell[0](node, scope)

            cell.append(first)
        return cell

    def _compile(self, name: str, extra: tuple[Visit, ...] = ()) -> Visit:
        definition = self._types[name]
        checks = (*_CHECKS.get(name, ()), *self._defining.of(name), *extra)
        if name == "Coding":
            checks = (*checks, self._bindings.known)
        if "dom-2" in definition.constraints:
            checks = (*checks, contained_check, _narrated)
        return visit(self._table(definition), (*checks, *self._invariants.of(definition.constraints, name)))

    def _table(self, definition: TypeDefinition, nested: bool = False) -> Table:
        table: Table = {"fhir_comments": (None, _comments)}
        for element in definition.elements.values():
            for name, code in element.json.items():
                if self._types[code].kind == "primitive":
                    entry = self._primitive(definition, element, name, code)
                    if entry is not None:
                        table[name] = entry
                    table["_" + name] = (None, self._sibling(definition, element, name, code))
                elif code == "Resource":
                    table[name] = (None, self._resources_at(element.name))
                else:
                    table[name] = (None, objects(element.name, self._place(definition, element, code, nested)))
        return table

    def _primitive(self, definition: TypeDefinition, element: Element, name: str, code: str) -> Entry | None:
        if code == "xhtml":
            return None, lambda value, scope: under("div", found) if (found := narrative(value, scope)) else None
        pair = self._pair(definition, element, name, code)
        return None if pair is None else (pair[0], primitives(element.name, *pair, number=code == "decimal"))

    def _pair(self, definition: TypeDefinition, element: Element, name: str, code: str) -> tuple[Quick | None, Full] | None:
        """The rule of a primitive at its place, quick and in full; None if structure has checked all there is."""
        if name == "id" and code in ("string", "id"):
            return RESOURCE_ID if definition.kind == "resource" else ELEMENT_ID
        codes = self._bindings.codes(element.binding)
        if codes is not None and element.binding is not None:
            return codes.__contains__, self._bindings.code(element.binding)
        return SPECIAL.get((definition.name, name)) or RULES.get(code)

    def _sibling(self, definition: TypeDefinition, element: Element, name: str, code: str) -> Rule:
        """The rule of `_name`: id and extensions of a primitive."""
        places = frozenset((f"{definition.name}.{element.name}", *self._extensions.places(code)))
        return objects(element.name, self._late(("primitive", places), lambda: self._element(places)))

    def _element(self, places: frozenset[str]) -> Visit:
        cell = self._extension(places, modifier=False)
        table: Table = {"id": (ELEMENT_ID[0], primitives("id", *ELEMENT_ID)), "extension": (None, objects("extension", cell))}
        return visit(table, (), beside=True)

    def _place(self, definition: TypeDefinition, element: Element, code: str, nested: bool) -> Cell:
        """The walk over the values of one element: its type's, with what this element asks in addition."""
        if code == "Extension":
            if nested or definition.name == "Extension":
                return self._late("nested", self._nested)
            places = self._extensions.places(definition.name)
            return self._extension(places, modifier=element.name == "modifierExtension")
        extra: list[Visit] = []
        bound = self._bindings.place(code, element.binding)
        if bound is not None:
            extra.append(bound)
        extra += self._invariants.of(element.constraints, code)
        if code == "Reference":
            return self._late((code, element.targets), lambda: self._reference(element.targets))
        if not extra:
            return self._late(code, lambda: self._compile(code))
        return self._late((definition.name, element.name, code), lambda: self._compile(code, tuple(extra)))

    def _reference(self, targets: tuple[str, ...]) -> Visit:
        return self._compile("Reference", (reference_check(targets, self._resources),))

    def _extension(self, places: frozenset[str], modifier: bool) -> Cell:
        return self._late(
            ("extension", places, modifier), lambda: self._compile("Extension", (self._extensions.check(places, modifier),))
        )

    def _nested(self) -> Visit:
        return self._compile("Extension", (self._extensions.nested,))

    def _resources_at(self, element: str) -> Rule:
        """The rule of an element that holds whole resources: contained ones share their container's scope, others have their own."""
        contained = element == "contained"

        def one(node: dict[str, Any], scope: Scope) -> Findings:
            name = node.get("resourceType")
            visit = self.resource(name) if isinstance(name, str) else None
            if visit is None:
                return None
            return visit(node, scope.within(node) if contained else Scope(node, entry=True))

        return objects(element, [one])


def visit(table: Table, checks: Iterable[Visit], beside: bool = False) -> Visit:
    """The function that goes over one node: every member by the table, then the checks of the whole node.

    `beside`: the node stands beside a primitive's value, and so may be an id only.
    """
    get, after = table.get, tuple(checks)

    def walk(node: dict[str, Any], scope: Scope) -> Findings:
        if len(node) < 2 and (not node or ("id" in node and not beside)):
            return [Finding("is empty: an element has a value or children besides its id (ele-1); leave it out", "invariant")]
        found: Findings = None
        for name, value in node.items():
            entry = get(name)
            if entry is None:
                continue
            quick, rule = entry
            if quick is not None and value.__class__ is str and quick(value):
                continue
            more = rule(value, scope)
            if more:
                found = joined(found, more)
        for check in after:
            more = check(node, scope)
            if more:
                found = joined(found, more)
        return found

    return walk


def objects(name: str, cell: Cell) -> Rule:
    """The rule of an element whose values are objects, one or a list."""

    def rule(value: Any, scope: Scope) -> Findings:
        if value.__class__ is dict:
            found = cell[0](value, scope)
            return under(name, found) if found else None
        found = None
        if value.__class__ is list:
            for number, item in enumerate(value):
                if item.__class__ is dict:
                    more = cell[0](item, scope)
                    if more:
                        found = joined(found, under(f"{name}[{number}]", more))
        return found

    return rule


def primitives(name: str, quick: Quick | None, full: Full, number: bool = False) -> Rule:
    """The rule of an element whose values are primitives, one or a list. `number`: they are numbers, else text."""

    def judged(value: Any, scope: Scope, path: str) -> Findings:
        if (value.__class__ is str) is number:  # structure has said so already
            return None
        found = full(value, scope)
        if found is None:
            return None
        found.path = path
        return [found]

    def rule(value: Any, scope: Scope) -> Findings:
        if value.__class__ is not list:
            return judged(value, scope, name)
        found: Findings = None
        for index, item in enumerate(value):
            if item is None or (quick is not None and item.__class__ is str and quick(item)):
                continue
            found = joined(found, judged(item, scope, f"{name}[{index}]"))
        return found

    return rule


def _comments(value: Any, scope: Scope) -> Findings:
    text = "comments are not kept: fhir_comments was removed from FHIR after DSTU2; leave it out"
    return [Finding(text, "structure", path="fhir_comments")]


def _narrated(node: dict[str, Any], scope: Scope) -> Findings:
    """dom-6, a warning, for the document itself only: neither contained resources nor the entries of a Bundle."""
    if "text" in node or scope.entry or scope.resource is not scope.root:
        return None
    return [Finding("a resource should have narrative for robust management (dom-6)", "invariant", "warning")]


def _attachment(node: dict[str, Any], scope: Scope) -> Findings:
    """Attachment.size is the number of bytes of data before base64 (https://hl7.org/fhir/R4/datatypes.html#Attachment)."""
    data, size = node.get("data"), node.get("size")
    if not isinstance(data, str) or not isinstance(size, int):
        return None
    packed = "".join(data.split())
    real = len(packed) * 3 // 4 - packed[-2:].count("=")
    if real == size:
        return None
    return [Finding(f"says {size} bytes, but data has {real}", "value", path="size")]


_CHECKS: dict[str, tuple[Visit, ...]] = {
    "Attachment": (_attachment,),
    "Bundle": (bundle_check,),
    "Observation": (vital_sign_check,),
}
"""Type -> checks of its own, beside the table and the invariants."""
