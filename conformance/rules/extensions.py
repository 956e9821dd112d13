"""The rules of extensions (https://hl7.org/fhir/R4/extensibility.html): a value or nested extensions, an absolute url, and for the
specification's own extensions the type of the value and the place of use (both only warned of)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from conformance.findings import Finding, Findings, Scope, shown
from conformance.load import ExtensionDefinition, TypeDefinition
from conformance.rules.primitives import is_absolute

Check = Callable[[dict[str, Any], Scope], Findings]


class _Core(NamedTuple):
    """A core extension: the JSON names its value may have (empty: nested extensions), the places where it may stand (None: any)."""

    values: frozenset[str]
    places: frozenset[str] | None


class Extensions:
    """The specification's own extensions, and the checks of extensions at one kind of place."""

    def __init__(self, extensions: Mapping[str, ExtensionDefinition], types: Mapping[str, TypeDefinition]) -> None:
        self._extensions, self._types = extensions, types
        self._core: dict[str, _Core] = {}

    def places(self, type_name: str, element: str | None = None) -> frozenset[str]:
        """The names of a place: a type with its bases ("HumanName", "Element"), or a primitive element ("Patient.birthDate", "date")."""
        names = [f"{type_name}.{element}"] if element else []
        at: str | None = self._types[type_name].elements[element].json[element] if element else type_name
        while at is not None:
            names.append(at)
            at = self._types[at].base if at in self._types else None
        return frozenset(names)

    def nested(self, node: dict[str, Any], scope: Scope) -> Findings:
        """The check of an extension inside an extension: its url may be a plain name."""
        return _either(node)

    def check(self, places: frozenset[str], modifier: bool) -> Check:
        """The check of an extension, or modifierExtension, at a place with these names."""

        def check(node: dict[str, Any], scope: Scope) -> Findings:
            url = node.get("url")
            if url.__class__ is not str:
                return None
            found = _either(node)
            if url in self._extensions:
                more = self._known(node, url, places)
            else:
                more = _unknown(url, modifier)
            return more if found is None else found + (more or [])

        return check

    def _known(self, node: dict[str, Any], url: str, places: frozenset[str]) -> Findings:
        core = self._core.get(url) or self._compile(url)
        found = None
        if core.places is not None and not core.places & places:
            text = f"the extension {url} is not meant for this place, but for {', '.join(sorted(core.places))}"
            found = [Finding(text, "extension", "warning")]
        for name in node:
            if name.startswith("value") and name not in core.values:
                wanted = (
                    f"should have {', '.join(sorted(core.values))}" if core.values else "should have nested extensions, no value"
                )
                found = (found or []) + [Finding(f"the extension {url} {wanted}, not {name}", "extension", "warning")]
        return found

    def _compile(self, url: str) -> _Core:
        definition = self._extensions[url]
        places = [self._place(expression) for kind, expression in definition.contexts if kind == "element"]
        # "Element" is written where "any place" is meant: HL7's own resources carry such extensions at their root
        anywhere = None in places or "Element" in places or len(places) < len(definition.contexts)
        names = frozenset(f"value{code[0].upper()}{code[1:]}" for code in definition.values)
        core = _Core(names, None if anywhere else frozenset(place for place in places if place is not None))
        self._core[url] = core
        return core

    def _place(self, expression: str) -> str | None:
        """A context's path as one of the names that `places` gives: its type, or itself for a primitive. None: not in R4's tables."""
        type_name, *rest = expression.replace("[x]", "").split(".")
        for number, name in enumerate(rest):
            element = self._types[type_name].elements.get(name) if type_name in self._types else None
            if element is None or len(element.json) != 1:
                return None
            code = next(iter(element.json.values()))
            if code in self._types and self._types[code].kind == "primitive":
                return f"{type_name}.{name}" if number == len(rest) - 1 else None
            type_name = code
        return type_name


def _either(node: dict[str, Any]) -> Findings:
    """ext-1: a value, or nested extensions, not both and not neither."""
    nested = "extension" in node
    if (len(node) > ("url" in node) + ("id" in node) + nested) is not nested:
        return None
    if nested:
        return [Finding("an extension has a value or nested extensions, not both (ext-1)", "invariant")]
    return [Finding("an extension needs a value or nested extensions (ext-1)", "invariant")]


def _unknown(url: str, modifier: bool) -> Findings:
    if not is_absolute(url):
        return [Finding(f"{shown(url)} is not absolute: an extension is named by its absolute URL", path="url")]
    if "|" in url:
        return [Finding(f"{shown(url)}: an extension's url has no version", path="url")]
    if modifier:
        return [Finding(f"the modifier extension {url} is unknown here, and may change the meaning", "extension", "warning")]
    return None
