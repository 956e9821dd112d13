"""FHIRPath Patch (https://hl7.org/fhir/R4/fhirpatch.html): a Parameters resource of operations on a document.

add, insert, delete, replace and move; values of every type, also those without a name of their own (given as parts).
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from conformance.fhirpath import FhirPathError, Location, locate
from conformance.fhirpath.budget import TooCostly, bounded, size, spend
from conformance.load import Element, definitions
from resources.outcomes import bad_request, error, told

Json = dict[str, Any]

MOST_STEPS = 1_000_000
"""The work on one patch: a second."""

_FIXED = ("resourceType", "id")
_DIV = re.compile(r"\.div\b")  # a keyword of FHIRPath, to be written `div`; HL7's own patches write text.div


def apply(type: str, document: Json, parameters: Json) -> Json:
    """The document (a resource of `type`) after all operations, in order. The document given is changed.

    What became empty by the patch is left out. Raises FhirError: 400 where the Parameters are no patch, 422 where an operation
    does not fit the document, would change resourceType or id, or where all of them take too long; the text names the operation's number.
    """
    with bounded(MOST_STEPS):
        return _applied(type, document, parameters)


def _applied(type: str, document: Json, parameters: Json) -> Json:
    before = [document.get(name) for name in _FIXED]
    for number, operation in enumerate(_operations(parameters), 1):
        where = f"Operation {number} ({operation.kind} {operation.path})"
        try:
            spend(size(document))  # it is gone through once more, for what has become empty
            _KINDS[operation.kind](type, document, operation)
        except TooCostly as problem:
            text = f"{where} is one too many, the patch takes too long: {problem}. Send it in several"
            raise error(422, "too-costly", text, operation.expression) from None
        except FhirPathError as problem:
            raise bad_request(f"{where}: the path is no FHIRPath for this: {problem}", operation.expression) from None
        except _Misfit as problem:
            raise error(422, "processing", f"{where} cannot be applied: {problem}", operation.expression) from None
        _prune(document)
    for name, value in zip(_FIXED, before, strict=True):
        if document.get(name) != value:
            raise error(
                422,
                "business-rule",
                f"The patch would change {name} from {told(value)} to {told(document.get(name))}; it must stay",
            )
    return document


class _Misfit(Exception):
    """The operation does not fit the document; the text says why."""


class _Operation(NamedTuple):
    """One operation, read. `value` is the parameter that holds the value, `expression` where the operation stands in the patch."""

    kind: str
    path: str
    expression: str
    name: str
    value: Json | None
    numbers: dict[str, int]

    def given(self) -> Json:
        """The value's parameter. Raises _Misfit if there is none."""
        if self.value is None:
            raise _Misfit("it has no value")
        return self.value


def _operations(parameters: Json) -> Iterable[_Operation]:
    if parameters.get("resourceType") != "Parameters":
        raise bad_request("A FHIRPath Patch is a Parameters resource")
    for number, parameter in enumerate(parameters.get("parameter", ())):
        expression = f"Parameters.parameter[{number}]"
        if parameter.get("name") != "operation":
            raise bad_request(
                f"A FHIRPath Patch has parameters named operation only, not {told(parameter.get('name'))}", expression
            )
        yield _operation(parameter.get("part", ()), expression)


def _operation(parts: Iterable[Json], expression: str) -> _Operation:
    found = {str(part.get("name")): part for part in parts}
    kind, path = _plain(found.get("type")), _plain(found.get("path"))
    if kind not in _KINDS:
        raise bad_request(f"The operation's type must be one of {', '.join(_KINDS)}, not {told(kind)}", expression)
    if not isinstance(path, str):
        raise bad_request("The operation has no path", expression)
    numbers = {}
    for name in _NUMBERS.get(kind, ()):
        value = _plain(found.get(name))
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise bad_request(f"The operation {kind} needs {name}, an integer from 0", expression)
        numbers[name] = value
    name = _plain(found.get("name"))
    if kind == "add" and not isinstance(name, str):
        raise bad_request("The operation add needs name, the element to add", expression)
    if kind in ("add", "insert", "replace") and "value" not in found:
        raise bad_request(f"The operation {kind} needs a value", expression)
    return _Operation(kind, _DIV.sub(".`div`", path), expression, str(name), found.get("value"), numbers)


def _plain(parameter: Json | None) -> Any:
    """The value of a parameter of whatever type, None if there is none."""
    return next((value for key, value in (parameter or {}).items() if key.startswith("value")), None)


def _one(type: str, document: Json, path: str) -> Location:
    found = locate(document, type, path)
    if len(found) != 1:
        raise _Misfit(f"the path finds {'nothing' if not found else f'{len(found)} elements'}; it must find one")
    return found[0]


def _add(type: str, document: Json, operation: _Operation) -> None:
    if operation.path == type:
        _set(document, type, operation.name, operation.given())
        return
    spot = _one(type, document, operation.path)
    if isinstance(spot.value, dict):
        _set(spot.value, str(spot.value.get("resourceType", spot.fhir_type)), operation.name, operation.given())
    else:
        _set(_sibling(spot), "Element", operation.name, operation.given())


def _sibling(spot: Location) -> Json:
    """The object that holds a primitive's id and extensions, made if there is none."""
    name = f"_{spot.name}"
    if spot.index is None:
        found: Json = spot.owner.setdefault(name, {})
        return found
    extras = spot.owner.setdefault(name, [None] * len(spot.owner.get(spot.name, ())))
    extras[spot.index] = extras[spot.index] or {}
    made: Json = extras[spot.index]
    return made


def _set(node: Json, type: str, name: str, parameter: Json) -> None:
    """Add an element to a node: appended where it repeats, else only if there is none yet."""
    element, key, code = _element(type, name, parameter)
    taken = [k for other in element.json for k in (other, f"_{other}") if k in node]
    if taken and not element.many:
        raise _Misfit(f"{type} has a {element.name} already, and may have one; replace it instead")
    value, extra = _value(parameter, code)
    if element.many:
        _insert(node, key, len(node.get(key) or node.get(f"_{key}") or ()), value, extra)
    else:
        _write(node, key, value, extra)


def _insert(node: Json, key: str, index: int, value: Any, extra: Any) -> None:
    """Insert into a list, and beside it in the list of ids and extensions that runs in step with a list of primitives."""
    extras, length = node.get(f"_{key}"), len(node.get(key) or node.get(f"_{key}") or ())
    if extras is None and extra is not None:
        extras = node[f"_{key}"] = [None] * length
    if extras is not None:
        extras.insert(index, extra)
    values = node.setdefault(key, [None] * length)
    values.insert(index, value)
    if all(item is None for item in values):
        del node[key]


def _write(node: Json, key: str, value: Any, extra: Any) -> None:
    for name, item in ((key, value), (f"_{key}", extra)):
        if item is not None:
            node[name] = item
        else:
            node.pop(name, None)


def _element(type: str, name: str, parameter: Json) -> tuple[Element, str, str]:
    """The definition of element `name` of a type, the JSON property that fits the value given, and its type code."""
    found = definitions().types.get(type)
    element = found.elements.get(name) if found else None
    if element is None:
        raise _Misfit(f"{type} has no element {name}")
    suffix = _suffix(parameter)
    if len(element.json) == 1:
        [(key, code)] = element.json.items()
        if suffix is not None and not _fits(suffix, code):
            raise _Misfit(f"{type}.{name} is a {code}, not a {suffix}")
        return element, key, code
    key = f"{name}{suffix}"
    if key not in element.json:
        raise _Misfit(f"{type}.{name} may not be a {suffix}; it is one of {', '.join(sorted(element.json.values()))}")
    return element, key, element.json[key]


def _suffix(parameter: Json) -> str | None:
    """`HumanName` of `valueHumanName`; None for a value given as parts or as a resource."""
    return next(
        (key.removeprefix("_").removeprefix("value") for key in parameter if key.removeprefix("_").startswith("value")), None
    )


def _fits(suffix: str, code: str) -> bool:
    """Whether a value[x] of this suffix may become an element of this type: the same type, or both primitive (checked afterwards)."""
    types = definitions().types
    given = suffix if suffix in types else suffix[0].lower() + suffix[1:]
    if given == code:
        return True
    return all(name in types and types[name].kind == "primitive" for name in (given, code))


def _value(parameter: Json, code: str) -> tuple[Any, Any]:
    """The JSON of a parameter's value, and of the primitive's id and extensions."""
    if "part" in parameter:
        made: Json = {}
        for part in parameter["part"]:
            _set(made, code, str(part.get("name")), part)
        return made, None
    if "resource" in parameter:
        return parameter["resource"], None
    key = f"value{_suffix(parameter)}"
    if key not in parameter and f"_{key}" not in parameter:
        raise _Misfit("the value is empty")
    return parameter.get(key), parameter.get(f"_{key}")


def _replace(type: str, document: Json, operation: _Operation) -> None:
    spot = _one(type, document, operation.path)
    parameter = operation.given()
    name = spot.name
    suffix = _suffix(parameter)
    if suffix is not None and not _fits(suffix, spot.fhir_type):
        if not name.endswith(spot.fhir_type[0].upper() + spot.fhir_type[1:]):
            raise _Misfit(f"the element is a {spot.fhir_type}, not a {suffix}")
        name = name[: -len(spot.fhir_type)] + suffix  # another type of a choice
    value, extra = _value(parameter, spot.fhir_type)
    if spot.index is None:
        _write(spot.owner, spot.name, None, None)
        _write(spot.owner, name, value, extra)
    else:
        _remove(spot)
        _insert(spot.owner, name, spot.index, value, extra)


def _remove(spot: Location) -> None:
    for name in (spot.name, f"_{spot.name}"):
        if spot.index is None:
            spot.owner.pop(name, None)
        elif name in spot.owner:
            del spot.owner[name][spot.index]


def _delete(type: str, document: Json, operation: _Operation) -> None:
    found = locate(document, type, operation.path)
    if len(found) > 1:
        raise _Misfit(f"the path finds {len(found)} elements; delete takes one (or none)")
    if found:
        _remove(found[0])


def _list(type: str, document: Json, path: str) -> tuple[Json, str, int, str]:
    """The list that a path means: owner, JSON property, length, type of its items."""
    found = locate(document, type, path)
    if found:
        first = found[0]
        if first.index is None or any(spot.owner is not first.owner or spot.name != first.name for spot in found):
            raise _Misfit("the path must find one list, that of a repeating element")
        return first.owner, first.name, len(first.owner.get(first.name) or first.owner[f"_{first.name}"]), first.fhir_type
    before, _, name = path.rpartition(".")
    owners = [document] if before == type else [s.value for s in locate(document, type, before)] if before else []
    kinds = [type] if before == type else [s.fhir_type for s in locate(document, type, before)] if before else []
    if len(owners) != 1 or not isinstance(owners[0], dict):
        raise _Misfit("the path finds nothing; it must find the list of a repeating element")
    element = definitions().types[kinds[0]].elements.get(name)
    if element is None or not element.many or len(element.json) != 1:
        raise _Misfit(f"{kinds[0]} has no repeating element {name}")
    return owners[0], name, 0, element.json[name]


def _insert_operation(type: str, document: Json, operation: _Operation) -> None:
    owner, name, length, code = _list(type, document, operation.path)
    index = operation.numbers["index"]
    if index > length:
        raise _Misfit(f"the list has {length} items; index {index} is beyond its end")
    suffix = _suffix(operation.given())
    if suffix is not None and not _fits(suffix, code):
        raise _Misfit(f"the list holds {code}, not {suffix}")
    _insert(owner, name, index, *_value(operation.given(), code))


def _move(type: str, document: Json, operation: _Operation) -> None:
    owner, name, length, _ = _list(type, document, operation.path)
    source, destination = operation.numbers["source"], operation.numbers["destination"]
    if max(source, destination) >= length:
        raise _Misfit(f"the list has {length} items; source {source} and destination {destination} must be below that")
    for key in (name, f"_{name}"):
        if key in owner:
            owner[key].insert(destination, owner[key].pop(source))


def _prune(node: Any) -> bool:
    """Leave out what is empty below a node, as FHIR has no empty objects and lists. Whether the node itself is empty then."""
    if isinstance(node, dict):
        for name in [name for name, value in node.items() if isinstance(value, (dict, list)) and _prune(value)]:
            del node[name]
        return not node
    if isinstance(node, list):
        empty = [number for number, value in enumerate(node) if isinstance(value, dict) and _prune(value)]
        for number in reversed(empty):
            del node[number]
        return not node or all(value is None for value in node)
    return False


_NUMBERS = {"insert": ("index",), "move": ("source", "destination")}
_KINDS: dict[str, Callable[[str, Json, _Operation], None]] = {
    "add": _add,
    "insert": _insert_operation,
    "delete": _delete,
    "replace": _replace,
    "move": _move,
}
