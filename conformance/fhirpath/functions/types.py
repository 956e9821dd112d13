"""`is`, `as` and `ofType` (http://hl7.org/fhirpath/N1/#types)."""

from collections.abc import Callable
from typing import Any, Final

from conformance.fhirpath.budget import spend
from conformance.fhirpath.functions.signature import Code
from conformance.fhirpath.model import SYSTEM_TYPES, definition, is_primitive, is_subtype, selects, system_of
from conformance.fhirpath.nodes import FhirPathError
from conformance.fhirpath.values import Environment, Item, type_of

_Test = Callable[[Any], bool]
_SYSTEM: Final = "System."
_FHIR: Final = "FHIR."


def is_type(name: str, at: int, *, strict: bool) -> _Test:
    """The test that `is name` makes of an item. Unless `strict`, a FHIR primitive is also of the System type it converts to.

    Raises FhirPathError if there is no such type.
    """
    return _test(name, at, is_subtype, strict=strict)


def _test(name: str, at: int, fits: Callable[[str, str], bool], *, strict: bool) -> _Test:
    plain = name.removeprefix(_SYSTEM).removeprefix(_FHIR)
    fhir = not name.startswith(_SYSTEM) and definition(plain) is not None
    system = not name.startswith(_FHIR) and plain in SYSTEM_TYPES
    if not fhir and not system and not name.startswith(_SYSTEM):
        raise FhirPathError(f"there is no type {name}", at)

    def test(item: Any) -> bool:
        if isinstance(item, Item):
            if fhir and fits(item.type, plain):
                return True
            return system and not strict and is_primitive(item.type) and system_of(item.type) == plain
        return system and type_of(item).name == plain

    return test


def of_type(target: Code, name: str, at: int, *, strict: bool, one: bool) -> Code:
    """`ofType(name)`; with `one`, `as`, which takes a single item only (if `strict`)."""
    test = _test(name, at, selects, strict=strict)
    run = target.run

    def kept(env: Environment) -> list[Any]:
        found = run(env)
        if one and strict and len(found) > 1:
            raise FhirPathError(f"`as` needs one item, there are {len(found)}", at)
        spend(len(found))
        return [v for v in found if test(v)]

    plain = name.removeprefix(_FHIR)
    return Code(kept, frozenset((plain,)) if definition(plain) is not None else frozenset((name,)), target.ordered)


def is_code(target: Code, name: str, at: int, *, strict: bool) -> Code:
    """`target is name`."""
    test = is_type(name, at, strict=strict)
    run = target.run

    def tested(env: Environment) -> list[Any]:
        found = run(env)
        if len(found) > 1:
            raise FhirPathError(f"`is` needs one item, there are {len(found)}", at)
        return [test(v) for v in found]

    return Code(tested, frozenset(("System.Boolean",)))
