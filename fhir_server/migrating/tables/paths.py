"""Places in a resource, as mappings name them: `name.given[1]`, `valueQuantity.value`. Names are those of JSON
(https://hl7.org/fhir/R4/json.html), a place in a list counts from 0 and is the first one where it is not named."""

import re
from typing import NamedTuple

from conformance.load import Definitions, Element, TypeDefinition

_STEP = re.compile(r"([A-Za-z][A-Za-z0-9]*)(?:\[(\d{1,2})\])?", re.ASCII)


class Step(NamedTuple):
    """A member, and which one of a list (None: it is no list)."""

    name: str
    place: int | None


class Target(NamedTuple):
    """The end of a path: its steps, the type that is there, and whether it may repeat."""

    steps: tuple[Step, ...]
    type: TypeDefinition
    many: bool

    @property
    def primitive(self) -> bool:
        """Whether one value goes there."""
        return self.type.kind == "primitive"


def find(definitions: Definitions, type: str, path: str) -> Target:
    """Where a path leads to. Raises ValueError with a sentence."""
    at, steps, many = definitions.types[type], list[Step](), False
    for text in path.split("."):
        match = _STEP.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no name of an element such as name or given[1]")
        name, index = match.group(1), match.group(2)
        if at.kind == "primitive":
            raise ValueError(f"{'.'.join(step.name for step in steps)} is a {at.name}: there is nothing below it")
        element = element_of(at, name)
        if element is None:
            raise ValueError(_unknown(at, name))
        if index is not None and not element.many:
            raise ValueError(f"{name} of {at.name} does not repeat, so there is no [{index}]")
        next = definitions.types.get(element.json[name])
        if next is None or next.abstract or next.kind == "resource":
            raise ValueError(f"{name} of {at.name} cannot be mapped")
        steps.append(Step(name, int(index or 0) if element.many else None))
        at, many = next, element.many
    return Target(tuple(steps), at, many)


def element_of(type: TypeDefinition, name: str) -> Element | None:
    """The element that has this name in JSON."""
    return next((each for each in type.elements.values() if name in each.json), None)


def _unknown(type: TypeDefinition, name: str) -> str:
    choice = type.elements.get(name)
    if choice is not None:
        return f"{name} of {type.name} is a choice: name one of {', '.join(choice.json)}"
    known = [each for element in type.elements.values() for each in element.json if element.name not in ("extension", "id")]
    return f"{type.name} has no {name}; it has {', '.join(known[:60])}"
