"""What FHIRPath asks of the R4 definitions: elements by name, subtypes, names of types as written in expressions."""

from functools import lru_cache
from typing import Any, Final

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


@lru_cache(maxsize=8_192)
def type_in_reference(text: str) -> str | None:
    """`Patient` of `Patient/1`, `http://h/fhir/Patient/1/_history/2` and `Patient?identifier=x`; None where the text does not tell.

    https://hl7.org/fhir/R4/references.html#literal
    """
    path = text.split("?", 1)[0].split("#", 1)[0].split("|", 1)[0].split("/_history/", 1)[0]
    parts = path.rsplit("/", 2)
    name = parts[-2] if len(parts) > 1 else parts[0]
    return name if name and is_resource(name) else None


def reference_type(reference: Any) -> str | None:
    """The type that a Reference (a JSON object, or the text of a canonical or uri) points to, by its text, else by its `type`."""
    if isinstance(reference, str):
        return type_in_reference(reference)
    text = reference.get("reference")
    found = type_in_reference(text) if text else None
    return found or reference.get("type")


@lru_cache(maxsize=16_384)
def selects(name: str, wanted: str) -> bool:
    """Does `ofType(wanted)` take a value of FHIR type `name`? Primitives exactly (a code is no string there), others with subtypes."""
    return name == wanted or (not is_primitive(name) and is_subtype(name, wanted))
