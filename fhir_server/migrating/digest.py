"""A hash of what a resource says, however it is spelled as JSON.

SHA-256 over the document as JSON in UTF-8 with the members of each object in the order of their names and no white space. Left out are
`meta.versionId`, `meta.lastUpdated` and what stands beside them, which each server gives anew, and a `meta` that holds nothing else. All
other members count, and numbers count as they are written: 1.0 is not 1.00 (https://hl7.org/fhir/R4/json.html#decimal).
"""

from hashlib import sha256
from typing import Any

import msgspec

from resources import documents

_OWN = ("versionId", "lastUpdated", "_versionId", "_lastUpdated")
_encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


def digest(body: bytes) -> bytes:
    """32 bytes. Raises msgspec.DecodeError or FhirError where the body is no JSON object that can be kept."""
    return digest_of(documents.decode(body))


def digest_of(document: dict[str, Any]) -> bytes:
    """The same of a decoded document."""
    if isinstance(meta := document.get("meta"), dict):
        kept = {name: value for name, value in meta.items() if name not in _OWN}
        document = {**document, "meta": kept} if kept else {name: value for name, value in document.items() if name != "meta"}
    return sha256(_encode(document)).digest()
