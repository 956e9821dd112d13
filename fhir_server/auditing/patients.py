"""Which patients a document is about: all that it refers to, as it stands in its bytes, and those that it holds, as a Bundle does. Told for
each answer, so it must take microseconds.

That is no less than the patients in whose compartments it lies (https://hl7.org/fhir/R4/compartmentdefinition-patient.html).
"""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import msgspec

from resources.ids import valid_id

_REFERENCE = re.compile(
    rb'"reference"\s*:\s*"(?:([^"\\]{1,2000})/)?Patient/([A-Za-z0-9.\-]{1,64})(?:/_history/[A-Za-z0-9.\-]{1,64})?"'
)

_HELD = re.compile(rb'"resourceType"\s*:\s*"Patient"')

_SPELLED = re.compile(rb"\\/|\\u00(?:2[d-fD-F]|3[0-9aA]|[4-7])")
"""Letters, digits, slashes and the like as escapes: then a reference may be spelled so that it is not recognised."""


def patients_of(bodies: Iterable[bytes], bases: Collection[str]) -> list[str]:
    """The ids of the patients that these documents refer to or hold, each once. `bases` are the URLs that mean this server."""
    found: dict[str, None] = {}
    for body in bodies:
        text = _plain(body) if b"\\" in body and _SPELLED.search(body) else body
        if b"Patient/" in text:
            for base, id in _REFERENCE.findall(text):
                if not base or base.decode("utf-8", "replace") in bases:
                    found[id.decode()] = None
        if _HELD.search(text, 1 + len(_PATIENT) if text.startswith(_PATIENT) else 0):
            found.update(dict.fromkeys(_held(_read(text), bases)))
    return list(found)


_PATIENT = b'{"resourceType":"Patient"'
"""How a stored Patient begins: whoever told or wrote it names it anyhow."""


def _read(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def _held(value: Any, bases: Collection[str]) -> Iterator[str]:
    """The ids of Patients that stand as resources of their own in a Bundle or Parameters, of any depth. Contained ones have ids that mean
    nothing outside their document."""
    if isinstance(value, list):
        for each in value:
            yield from _held(each, bases)
    elif isinstance(value, dict):
        held = value.get("resource")
        if isinstance(held, dict) and held.get("resourceType") == "Patient" and _here(value.get("fullUrl"), bases):
            id = held.get("id")
            if isinstance(id, str) and valid_id(id):
                yield id
        for name, each in value.items():
            if name != "contained":
                yield from _held(each, bases)


def _here(url: Any, bases: Collection[str]) -> bool:
    """Whether a Bundle.entry.fullUrl does not say that the resource is another server's."""
    base, slash, _ = str(url or "").rpartition("/Patient/")
    return not slash or base in bases


def _plain(body: bytes) -> bytes:
    try:
        return msgspec.json.encode(msgspec.json.decode(body))
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return body
