"""What a reference tells about its target without looking it up (https://hl7.org/fhir/R4/references.html#literal)."""

from functools import lru_cache
from typing import Any

from conformance.fhirpath.model import is_resource


@lru_cache(maxsize=8_192)
def type_in_reference(text: str) -> str | None:
    """`Patient` of `Patient/1`, `http://h/fhir/Patient/1/_history/2` and `Patient?identifier=x`; None where the text does not tell."""
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
