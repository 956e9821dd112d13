"""Which patients a document is about: all that it refers to, as it stands in its bytes. Told for each answer, so it must take microseconds.

That is no less than the patients in whose compartments it lies (https://hl7.org/fhir/R4/compartmentdefinition-patient.html).
"""

import re
from collections.abc import Collection, Iterable

import msgspec

_REFERENCE = re.compile(
    rb'"reference"\s*:\s*"(?:([^"\\]{1,2000})/)?Patient/([A-Za-z0-9.\-]{1,64})(?:/_history/[A-Za-z0-9.\-]{1,64})?"'
)

_SPELLED = re.compile(rb"\\/|\\u00(?:2[d-fD-F]|3[0-9aA]|[4-7])")
"""Letters, digits, slashes and the like as escapes: then a reference may be spelled so that it is not recognised."""


def patients_of(bodies: Iterable[bytes], bases: Collection[str]) -> list[str]:
    """The ids of the patients that these documents refer to, each once. `bases` are the URLs that mean this server."""
    found: dict[str, None] = {}
    for body in bodies:
        text = _plain(body) if b"\\" in body and _SPELLED.search(body) else body
        if b"Patient/" in text:
            for base, id in _REFERENCE.findall(text):
                if not base or base.decode("utf-8", "replace") in bases:
                    found[id.decode()] = None
    return list(found)


def _plain(body: bytes) -> bytes:
    try:
        return msgspec.json.encode(msgspec.json.decode(body))
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return body
