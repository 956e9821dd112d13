"""What is done with each element of each type, worked out once from the definitions and the rules.

A plan names the elements that stay and what is done with each; whatever it does not name goes. It is the definitions that say of
which type an element is, so one that R4 does not have goes too.
"""

from collections.abc import Callable, Set
from typing import Any, NamedTuple

from conformance.load import Definitions, Element, TypeDefinition
from fhir_server.deidentifying.codes import is_age
from fhir_server.deidentifying.dates import YEAR_ONLY
from fhir_server.deidentifying.rules import Rules

MASKED = {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}
"""Stands in the place of a required element that goes."""


class Case(NamedTuple):
    """What is particular to one document: the days its dates are shifted by (0: only years stay), the ids of the contained resources
    that stay."""

    days: int
    contained: Set[str] = frozenset()


Treatment = Callable[[Any, Case], Any]
"""A decoded value -> what stands in its place, None where it goes."""


class Required(NamedTuple):
    """A required element: the names that it has in JSON (with those of its extensions), and by each name what is put in the place of
    one that went: (name, value)."""

    names: frozenset[str]
    masks: dict[str, tuple[str, Any]]


class Plan:
    """A type's elements that stay. `aged`: those that are treated otherwise where its code says that it is an age."""

    __slots__ = ("aged", "fields", "required")

    def __init__(self) -> None:
        self.fields: dict[str, Treatment] = {}
        self.required: tuple[Required, ...] = ()
        self.aged: dict[str, Treatment] = {}

    def __call__(self, value: Any, case: Case) -> dict[str, Any] | None:
        """The value with what stays of it; None if nothing does, or if a modifierExtension says that it must not be read without that."""
        if type(value) is not dict or "modifierExtension" in value:
            return None
        out = self.kept(value, case)
        return self.masked(value, out) if out else None

    def kept(self, value: dict[str, Any], case: Case) -> dict[str, Any]:
        """The members that stay."""
        fields, out = self.fields, {}
        for name, item in value.items():
            treatment = fields.get(name)
            if treatment is None:
                continue
            if type(item) is list:
                made: Any = [each for one in item if (each := treatment(one, case)) is not None] or None
            else:
                made = treatment(item, case)
            if made is not None:
                out[name] = made
        if self.aged and is_age(value):
            for name, treatment in self.aged.items():
                if name in out and (made := treatment(value[name], case)) is not None:
                    out[name] = made
        return out

    def masked(self, value: dict[str, Any], out: dict[str, Any]) -> dict[str, Any]:
        """`out` with something in the place of each required element that went."""
        for names, masks in self.required:
            if names.isdisjoint(out):
                for name in masks.keys() & value.keys():
                    put, mask = masks[name]
                    out[put] = mask
        return out


class Plans:
    """The plans of all types. `treatments`: what is done by each rule's name, with the values that it is done with."""

    def __init__(self, definitions: Definitions, rules: Rules, treatments: dict[str, Treatment]) -> None:
        self._types, self._value_sets, self._rules = definitions.types, definitions.value_sets, rules
        self._treatments = {**treatments, "extension": self.extension}
        self._plans: dict[str, Plan] = {}

    def of(self, type: str) -> Plan:
        """The plan of a resource, complex or backbone type ("Patient.contact")."""
        if (plan := self._plans.get(type)) is None:
            plan = self._plans[type] = Plan()  # known before it is filled: an item has items
            self._fill(plan, self._types[type])
        return plan

    def extension(self, value: Any, case: Case, nested: Set[str] | None = None) -> dict[str, Any] | None:
        """An Extension of the list (or one nested in it, of the names in `nested`) with its value or its nested ones."""
        if type(value) is not dict or type(url := value.get("url")) is not str:
            return None
        allowed = self._rules.extensions.get(url) if nested is None else (frozenset() if url in nested else None)
        if allowed is None:
            return None
        out = self.of("Extension").kept(value, case)
        if allowed and type(inner := value.get("extension")) is list:
            out["extension"] = [each for one in inner if (each := self.extension(one, case, allowed)) is not None]
        out = {name: kept for name, kept in out.items() if kept != []}
        return {"url": url, **out} if out else None

    def _fill(self, plan: Plan, type: TypeDefinition) -> None:
        for element in type.elements.values():
            if element.name == "extension" and type.name != "Extension":
                plan.fields["extension"] = self.extension
            elif element.name not in ("extension", "modifierExtension", "url" if type.name == "Extension" else "resourceType"):
                self._add(plan, type, element)
        plan.required = tuple(self._required(e) for e in type.elements.values() if e.min and e.name not in ("url", "resourceType"))

    def _add(self, plan: Plan, type: TypeDefinition, element: Element) -> None:
        for name, code in element.json.items():
            rule = self._rule(type, name, element.name, code)
            if rule == "remove" or (type.kind == "resource" and name == "id"):  # the id is set by whoever knows whose it is
                continue
            if rule == "age":
                plan.aged[name] = self._treatments[f"age {code}"]
                rule = self._rules.datatypes[code]
            plan.fields[name] = self._treatment(rule, element, code)
            if self._primitive(code) and not element.many:
                plan.fields[f"_{name}"] = self._beside

    def _rule(self, type: TypeDefinition, name: str, element: str, code: str) -> str:
        for path in (f"{type.name}.{name}", f"{type.name}.{element}", f"Resource.{name}" if type.kind == "resource" else ""):
            if path in self._rules.elements:
                return self._rules.elements[path]
        return "walk" if "." in code else self._rules.datatypes[code]

    def _treatment(self, rule: str, element: Element, code: str) -> Treatment:
        if rule == "walk":
            return self.of(code)
        if rule == "years":
            usual = self._treatment(self._rules.datatypes[code], element, code)
            return lambda value, case: usual(value, case._replace(days=YEAR_ONLY))
        if rule == "code" and element.binding in self._value_sets:
            codes = frozenset().union(*self._value_sets[element.binding].values())
            return lambda value, case: value if type(value) is str and value in codes else None
        return self._treatments[rule]

    def _beside(self, value: Any, case: Case) -> dict[str, Any] | None:
        """What stands beside a primitive: the extensions of the list."""
        inner = value.get("extension") if type(value) is dict else None
        kept = [each for one in inner if (each := self.extension(one, case)) is not None] if type(inner) is list else []
        return {"extension": kept} if kept else None

    def _required(self, element: Element) -> Required:
        names = frozenset(element.json) | {f"_{name}" for name in element.json}
        masks = {name: self._mask(name, code, many=element.many) for name, code in element.json.items()}
        return Required(names, masks | {f"_{name}": mask for name, mask in masks.items()})

    def _mask(self, name: str, code: str, *, many: bool) -> tuple[str, Any]:
        """The name and value of what stands for a required element that went: `masked`, inside what its own type requires."""
        mask: dict[str, Any] = {}
        if "." in code:
            for inner in self._types[code].elements.values():
                if inner.min:
                    first, of = next(iter(inner.json.items()))
                    put, value = self._mask(first, of, many=inner.many)
                    mask[put] = value
        mask = mask or {"extension": [MASKED]}
        return f"_{name}" if self._primitive(code) else name, [mask] if many else mask

    def _primitive(self, code: str) -> bool:
        return "." not in code and self._types[code].kind == "primitive"
