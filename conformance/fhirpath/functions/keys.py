"""getResourceKey() and getReferenceKey(Type), which SQL on FHIR adds (https://sql-on-fhir.org/ig/StructureDefinition-ViewDefinition.html).

A key is the id: that of the resource, and that in a relative reference to it (`Patient/1`, `Patient/1/_history/2`). Other references
(absolute ones, `urn:uuid:…`, `#contained`) have none: they may lead elsewhere.
"""

import re
from functools import lru_cache
from typing import Any, Final

from conformance.fhirpath.budget import spend
from conformance.fhirpath.functions.scoped import Builder
from conformance.fhirpath.functions.signature import Code, Compiles
from conformance.fhirpath.model import is_resource
from conformance.fhirpath.nodes import Call, FhirPathError
from conformance.fhirpath.static import type_argument
from conformance.fhirpath.values import Collection, Environment, Item

_RELATIVE: Final = re.compile(r"([A-Z][A-Za-z]{2,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")
_TEXT: Final = frozenset(("System.String",))


@lru_cache(maxsize=65_536)
def _parts(reference: str) -> tuple[str, str] | None:
    found = _RELATIVE.fullmatch(reference)
    return (found[1], found[2]) if found is not None and is_resource(found[1]) else None


def reference_key(reference: Any, type_name: str | None) -> str | None:
    """The key of what a Reference (its JSON object) points to; None for another type than `type_name`, and where there is none."""
    text = reference.get("reference") if isinstance(reference, dict) else None
    found = _parts(text) if isinstance(text, str) else None
    return found[1] if found is not None and (type_name is None or found[0] == type_name) else None


def reference_type_of(call: Call) -> str | None:
    """The type that a call of getReferenceKey() names, if it names one. Raises FhirPathError if that is no resource type."""
    if not call.arguments:
        return None
    name = (type_argument(call.arguments[0]) or "").removeprefix("FHIR.")
    if not is_resource(name):
        raise FhirPathError("getReferenceKey() takes the name of a resource type", call.arguments[0].at)
    return name


def _reference_key(_compiler: Compiles, call: Call, target: Code, _scope: Code) -> Code:
    run, wanted = target.run, reference_type_of(call)
    if target.types and "Reference" not in target.types:
        raise FhirPathError(f"getReferenceKey() needs a Reference, not {' or '.join(sorted(target.types))}", call.at)

    def keys(env: Environment) -> Collection:
        items = run(env)
        spend(len(items))
        found = (reference_key(v.value, wanted) for v in items if isinstance(v, Item) and v.type == "Reference")
        return [key for key in found if key is not None]

    return Code(keys, _TEXT, target.ordered)


def _resource_key(_compiler: Compiles, _call: Call, target: Code, _scope: Code) -> Code:
    run = target.run

    def keys(env: Environment) -> Collection:
        items = run(env)
        spend(len(items))
        return [v.value["id"] for v in items if isinstance(v, Item) and is_resource(v.type) and "id" in v.value]

    return Code(keys, _TEXT, target.ordered)


BUILDERS: Final[dict[str, tuple[int, int, Builder]]] = {
    "getResourceKey": (0, 0, _resource_key),
    "getReferenceKey": (0, 1, _reference_key),
}
