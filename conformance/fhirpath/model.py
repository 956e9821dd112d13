"""What FHIRPath asks of the R4 definitions: elements by name, subtypes, names of types as written in expressions."""

from functools import lru_cache
from typing import Final

from conformance.load import Element, TypeDefinition, definitions

SYSTEM_TYPES: Final = frozenset(("Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity", "Any"))
SYSTEM_OF_PRIMITIVE: Final = {
    "boolean": "Boolean", "integer": "Integer", "positiveInt": "Integer", "unsignedInt": "Integer", "decimal": "Decimal", "date": "Date",
    "dateTime": "DateTime", "instant": "DateTime", "time": "Time",
}  # fmt: skip
"""FHIR primitive -> System type it converts to; the rest are String."""


def definition(name: str) -> TypeDefinition | None:
    """The definition of a FHIR type by its code ("Patient", "Patient.contact", "code"); None for System and unknown types."""
    return definitions().types.get(name)


@lru_cache(maxsize=4_096)
def is_primitive(name: str) -> bool:
    """Is this a FHIR primitive (its JSON is a scalar)?"""
    found = definition(name)
    return found is not None and found.kind == "primitive"


@lru_cache(maxsize=4_096)
def is_resource(name: str) -> bool:
    """Is this a resource type, abstract ones included?"""
    found = definition(name)
    return found is not None and found.kind == "resource"


@lru_cache(maxsize=16_384)
def is_subtype(name: str, of: str) -> bool:
    """Is FHIR type `name` the type `of` or derived from it?"""
    at: str | None = name
    while at is not None:
        if at == of:
            return True
        found = definition(at)
        at = found.base if found is not None else None
    return False


@lru_cache(maxsize=16_384)
def element(type_name: str, name: str) -> Element | None:
    """The element of a type by its FHIRPath name (`value`, not `valueQuantity`); None if it has none."""
    found = definition(type_name)
    if found is None or (found.kind == "primitive" and name == "value"):
        return None
    return found.elements.get(name)


def system_of(primitive: str) -> str:
    """The System type that a FHIR primitive converts to."""
    return SYSTEM_OF_PRIMITIVE.get(primitive, "String")


@lru_cache(maxsize=1_024)
def spelt_right(name: str) -> str | None:
    """The FHIR type of that name whatever its case (R4's search parameters misspell `DateTime`), None if there is none."""
    if name in definitions().types:
        return name
    lower = name.lower()
    return next((t for t in definitions().types if t.lower() == lower), None)
