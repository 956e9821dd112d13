"""Structure of the resource types that R4 does not have and this server does: ViewDefinition (docs/adr/0023-views.md).

`resources/structure.py` knows R4 alone; these are checked by the definitions. No resource of R4 may contain one.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from conformance.load import Element, TypeDefinition, definitions
from resources import documents, structure
from resources.outcomes import Issue, bad_request

ADDED: Final = "ViewDefinition"

_JSON: Final = {"boolean": (bool,), "integer": (int,), "positiveInt": (int,), "unsignedInt": (int,)}
_MOST_DEPTH: Final = 100


def is_added(body: bytes) -> bool:
    """Whether the bytes say that they are a resource of a type that R4 does not have."""
    if ADDED.encode() not in body:
        return False
    try:
        return bytes(documents.members(body).get("resourceType", b"")) == f'"{ADDED}"'.encode()
    except (ValueError, UnicodeDecodeError):
        return False  # no JSON: for the check of R4 to say


def check(body: bytes) -> list[Issue]:
    """Every structural problem, as `resources.structure.check`; places are FHIRPath. Raises FhirError 400 for a key given twice and for
    too deep a nesting."""
    try:
        json.loads(body.removeprefix(b"\xef\xbb\xbf"), object_pairs_hook=_unique)
    except RecursionError:
        raise bad_request("The body is nested too deeply", code="structure") from None
    found = definitions().types[ADDED]
    return list(_object(documents.decode(body), found, ADDED, 0))[: structure.MOST]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for i, (key, _) in enumerate(pairs) if key in {k for k, _ in pairs[:i]})
        raise bad_request(f"The key {twice[:64]!r} appears more than once in an object", code="structure")
    return made


def _object(value: Any, type: TypeDefinition, at: str, depth: int) -> Iterator[Issue]:
    if not isinstance(value, dict):
        yield Issue("error", "structure", f"{at} must be an object", at)
        return
    if depth > _MOST_DEPTH:
        yield Issue("error", "too-costly", f"{at} is nested too deeply", at)
        return
    names = {name: (element, code) for element in type.elements.values() for name, code in element.json.items()}
    for name, one in value.items():
        if name == "resourceType" and depth == 0:
            continue
        plain = name.removeprefix("_")
        element, code = names.get(plain, (None, ""))
        if element is None or (plain != name and definitions().types[code].kind != "primitive"):
            yield Issue("error", "structure", f"{at}: {type.name} has no element {name[:64]!r}", at)
        else:
            yield from _member(one, element, "Element" if plain != name else code, f"{at}.{element.name}", depth)
    for element in type.elements.values():
        given = [name for name in element.json if name in value or f"_{name}" in value]
        if element.min and not given:
            yield Issue("error", "required", f"{at}.{element.name}: required element missing", f"{at}.{element.name}")
        if len(given) > 1:
            yield Issue("error", "structure", f"{at}.{element.name} is given {len(given)} times", f"{at}.{element.name}")


def _member(value: Any, element: Element, code: str, at: str, depth: int) -> Iterator[Issue]:
    if not element.many:
        yield from _one(value, code, at, depth)
    elif not isinstance(value, list) or not value:
        yield Issue("error", "structure", f"{at} must be a list that is not empty", at)
    else:
        for number, one in enumerate(value):
            if one is not None or code != "Element":
                yield from _one(one, code, f"{at}[{number}]", depth)


def _one(value: Any, code: str, at: str, depth: int) -> Iterator[Issue]:
    type = definitions().types[code]
    if code == "Resource":
        yield from structure.check(documents.encode(value))
    elif type.kind != "primitive":
        yield from _object(value, type, at, depth + 1)
    elif not _fits(value, code):
        yield Issue("error", "value", f"{at} is not a valid {code}", at)


def _fits(value: Any, code: str) -> bool:
    if code == "decimal":
        return not isinstance(value, bool | str | list | dict) and value is not None
    kinds = _JSON.get(code, (str,))
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)) and value != ""
