"""Existence, subsetting, combining, and walking the tree (http://hl7.org/fhirpath/N1/#functions)."""

from collections.abc import Callable
from typing import Any, Final

from conformance.fhirpath.budget import spend
from conformance.fhirpath.functions.signature import SAME, Function
from conformance.fhirpath.model import definition, is_primitive, is_subtype, reference_type
from conformance.fhirpath.nodes import FhirPathError
from conformance.fhirpath.values import (
    Collection,
    Environment,
    Item,
    TypeInfo,
    boolean,
    children,
    distinct,
    equal,
    key,
    property_of,
    single_integer,
    single_text,
    system,
    type_of,
    typed,
)

_BOOLEAN: Final = "System.Boolean"
_STRUCTURE: Final = "http://hl7.org/fhir/StructureDefinition/"


def _not(found: Collection, _arguments: list[Collection], _env: Environment) -> Collection:
    value = boolean(found, "not()")
    return [] if value is None else [not value]


def _booleans(decide: Callable[[list[bool]], bool], name: str) -> Function:
    def run(found: Collection, _arguments: list[Collection], _env: Environment) -> Collection:
        values = [system(v) for v in found]
        if not all(isinstance(v, bool) for v in values):
            raise FhirPathError(f"{name}() needs booleans")
        return [decide(values)]

    return Function(run, result=_BOOLEAN)


def _subset(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    others = {key(v) for v in arguments[0]}
    return [all(key(v) in others for v in found)]


def _superset(found: Collection, arguments: list[Collection], env: Environment) -> Collection:
    return _subset(arguments[0], [found], env)


def _single(found: Collection, _arguments: list[Collection], _env: Environment) -> Collection:
    if len(found) > 1:
        raise FhirPathError(f"single() needs one item, there are {len(found)}")
    return found


def _skip(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    count = single_integer(arguments[0], "skip()")
    return found[max(count or 0, 0) :]


def _take(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    count = single_integer(arguments[0], "take()")
    return found[: max(count or 0, 0)]


def _intersect(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    others = {key(v) for v in arguments[0]}
    return [v for v in distinct(found) if key(v) in others]


def _exclude(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    others = {key(v) for v in arguments[0]}
    return [v for v in found if key(v) not in others]


def _children(found: Collection, _arguments: list[Collection], _env: Environment) -> Collection:
    return _below(found)


def _below(found: Collection) -> Collection:
    made: Collection = []
    for item in found:
        below = children(item)
        spend(1 + len(below))
        made += below
    return made


def _descendants(found: Collection, _arguments: list[Collection], _env: Environment) -> Collection:
    made: Collection = []
    waiting = _below(found)
    while waiting:
        made.extend(waiting)
        waiting = _below(waiting)
    return made


def _extension(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    url = single_text(arguments[0], "extension()")
    made: Collection = []
    for item in found:
        extensions = property_of(item, "extension")
        spend(len(extensions))
        made += [e for e in extensions if e.value.get("url") == url]
    return made


def _has_value(found: Collection, _arguments: list[Collection], _env: Environment) -> Collection:
    if len(found) != 1:
        return [False]
    item = found[0]
    return [item.value is not None and is_primitive(item.type) if isinstance(item, Item) else not isinstance(item, TypeInfo)]


def _get_value(found: Collection, arguments: list[Collection], env: Environment) -> Collection:
    return [system(found[0])] if _has_value(found, arguments, env)[0] else []


def _resolve(found: Collection, _arguments: list[Collection], env: Environment) -> Collection:
    """The targets of references: contained resources and entries of the same Bundle themselves; of all others only the type is known."""
    made = []
    for item in found:
        raw = item.value if isinstance(item, Item) else item
        text = raw.get("reference") if isinstance(raw, dict) else raw
        if isinstance(text, str) and text.startswith("#"):
            made += [c for c in _contained(env.root) if c.value.get("id") == text[1:]] if text != "#" else [env.root]
        elif isinstance(text, str) and (entry := _entry(env.root, text)) is not None:
            made.append(entry)
        elif isinstance(raw, str | dict) and (kind := reference_type(raw)) is not None:
            made.append(Item({"resourceType": kind}, kind))
    return made


def _contained(root: Item) -> Collection:
    found = property_of(root, "contained")
    spend(len(found))
    return found


def _entry(root: Item, url: str) -> Item | None:
    if root.type != "Bundle":
        return None
    spend(len(root.value.get("entry", ())))
    for entry in root.value.get("entry", ()):
        full = entry.get("fullUrl", "")
        if "resource" in entry and (full == url or full.endswith("/" + url)):
            return typed(entry["resource"], "Resource")
    return None


def _conforms(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    url = single_text(arguments[0], "conformsTo()") or ""
    name = url.removeprefix(_STRUCTURE)
    if definition(name) is None or name == url:
        raise FhirPathError("conformsTo() needs the URL of a type of FHIR R4")
    if len(found) != 1:
        return []
    return [isinstance(found[0], Item) and is_subtype(found[0].type, name)]


def _comparable(found: Collection, arguments: list[Collection], _env: Environment) -> Collection:
    if len(found) != 1 or len(arguments[0]) != 1:
        return []
    return [equal(found[0], arguments[0][0]) is not None]


def _type(found: Collection, _arguments: list[Collection], _env: Environment) -> Collection:
    return [type_of(v) for v in found]


def _first(part: slice) -> Function:
    return Function(lambda found, _arguments, _env: found[part], result=SAME, ordered=True)


def _combining(combine: Callable[[Collection, Collection], Collection], *, deep: bool) -> Function:
    def run(found: Collection, arguments: list[Collection], _env: Environment) -> Any:
        return combine(found, arguments[0])

    return Function(run, 1, 1, deep=deep)


FUNCTIONS: Final[dict[str, Function]] = {
    "empty": Function(lambda found, _arguments, _env: [not found], result=_BOOLEAN),
    "not": Function(_not, result=_BOOLEAN),
    "allTrue": _booleans(all, "allTrue"),
    "anyTrue": _booleans(any, "anyTrue"),
    "allFalse": _booleans(lambda values: not any(values), "allFalse"),
    "anyFalse": _booleans(lambda values: not all(values), "anyFalse"),
    "subsetOf": Function(_subset, 1, 1, _BOOLEAN, deep=True),
    "supersetOf": Function(_superset, 1, 1, _BOOLEAN, deep=True),
    "count": Function(lambda found, _arguments, _env: [len(found)], result="System.Integer"),
    "distinct": Function(lambda found, _arguments, _env: distinct(found), result=SAME, deep=True),
    "isDistinct": Function(
        lambda found, _arguments, _env: [len({key(v) for v in found}) == len(found)], result=_BOOLEAN, deep=True
    ),
    "single": Function(_single, result=SAME),
    "first": _first(slice(1)),
    "last": _first(slice(-1, None)),
    "tail": _first(slice(1, None)),
    "skip": Function(_skip, 1, 1, SAME, ordered=True),
    "take": Function(_take, 1, 1, SAME, ordered=True),
    "intersect": Function(_intersect, 1, 1, SAME, deep=True),
    "exclude": Function(_exclude, 1, 1, SAME, deep=True),
    "union": _combining(lambda a, b: distinct([*a, *b]), deep=True),
    "combine": _combining(lambda a, b: [*a, *b], deep=False),
    "children": Function(_children),
    "descendants": Function(_descendants),
    "extension": Function(_extension, 1, 1, "Extension"),
    "hasValue": Function(_has_value, result=_BOOLEAN),
    "getValue": Function(_get_value),
    "resolve": Function(_resolve),
    "conformsTo": Function(_conforms, 1, 1, _BOOLEAN),
    "comparable": Function(_comparable, 1, 1, _BOOLEAN, deep=True),
    "type": Function(_type, result="System.TypeInfo"),
}
