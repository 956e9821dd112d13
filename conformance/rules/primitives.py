"""The values of primitive elements: what https://hl7.org/fhir/R4/datatypes.html#primitive asks beyond what structure checks.

A rule is a pair: a quick test that answers most values with one call into C, and the full rule for what the quick test refuses.
"""

import re
from calendar import monthrange
from collections.abc import Callable
from decimal import Decimal
from sys import float_info
from typing import Any

from conformance.findings import Finding, Scope, shown

Quick = Callable[[str], Any]
Full = Callable[[Any, Scope], Finding | None]

LONGEST = 1_048_576
"""Strings SHALL NOT exceed 1 MB (https://hl7.org/fhir/R4/datatypes.html#string); counted in characters."""

_LARGEST = int(float_info.max)  # what a float, and so an index, can hold
_SMALLEST = -308  # decimal exponent of the number next to zero
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DATE_QUICK = re.compile(r"(?!0000)\d{4}(?:-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|1\d|2[0-8])(?:T.*)?)?)?", re.ASCII)
_DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_ELEMENT_ID = re.compile(r"\S+")
_HTTP = re.compile(r"https?://[!-~]+")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:\S+")
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OID = re.compile(r"urn:oid:[0-2](?:\.(?:0|[1-9][0-9]*))+")


def text_quick(value: str) -> bool:
    """Printable, not blank, not too long: holds for nearly every string."""
    return value.isprintable() and not value.isspace() and len(value) <= LONGEST


def text(value: str, scope: Scope) -> Finding | None:
    """string, markdown: characters, length, not only white space (https://hl7.org/fhir/R4/datatypes.html#string)."""
    if len(value) > LONGEST:
        return Finding(f"is {len(value):,} characters long; a string may have 1,048,576 (1 MB)", "too-long")
    if not value or value.isspace():
        return Finding("holds only white space; leave the element out")
    bad = _CONTROL.search(value)
    if bad:
        return Finding(f"holds the control character U+{ord(bad.group()):04X} at position {bad.start()}; remove it")
    return None


def resource_id(value: str, scope: Scope) -> Finding | None:
    """The id of a resource, and the primitive type id."""
    if _ID.fullmatch(value):
        return None
    if len(value) > 64:
        return Finding(f"{shown(value)} is no id: it has {len(value)} characters, 64 are allowed")
    return Finding(f"{shown(value)} is no id: only letters, digits, '-' and '.' are allowed")


def element_id(value: str, scope: Scope) -> Finding | None:
    """Element.id: any string without spaces (https://hl7.org/fhir/R4/element.html#id)."""
    return text(value, scope) or (None if _ELEMENT_ID.fullmatch(value) else Finding(f"the element id {shown(value)} holds a space"))


def calendar(value: str, scope: Scope) -> Finding | None:
    """date, dateTime, instant: a day that the calendar has, no year 0000."""
    if _DATE_QUICK.match(value) is None and value.startswith("0000"):
        return Finding(f"{shown(value)}: there is no year 0000")
    day = _DAY.match(value)
    if day is None:
        return None
    year, month, number = map(int, day.groups())
    if year and 1 <= month <= 12 and 1 <= number <= monthrange(year, month)[1]:
        return None
    return Finding(f"{shown(value)} is no day of the calendar")


def decimal(value: Any, scope: Scope) -> Finding | None:
    """decimal: within what a 64-bit float can hold, so that it can be searched and computed with."""
    if isinstance(value, Decimal):
        if value and value.adjusted() < _SMALLEST:
            return Finding("the number is too close to zero: other than 0 itself it must be 1e-308 or more, above or below")
        if value.is_finite() and -_LARGEST <= value <= _LARGEST:  # abs() would round
            return None
    elif not isinstance(value, int) or abs(value) <= _LARGEST:
        return None
    return Finding("the number is out of range: at most about 1.797e308 can be kept")


def uri(value: str, scope: Scope) -> Finding | None:
    """uri, url: printable; `urn:uuid:` and `urn:oid:` well formed; `#x` names a contained resource."""
    if value.startswith("#"):
        scope.used.add(value[1:])
        return None
    if _HTTP.fullmatch(value):
        return None
    return _urn(value) or _unprintable(value)


def absolute_uri(value: str, scope: Scope) -> Finding | None:
    """A uri that must be absolute: the system of a Coding, an Identifier or a ValueSet's include."""
    if not _ABSOLUTE.fullmatch(value):
        return Finding(f"{shown(value)} is not absolute: a system begins with http://, https:// or urn:")
    return _urn(value) or _unprintable(value)


def canonical(value: str, scope: Scope) -> Finding | None:
    """canonical: absolute, or `#x`. A relative one is only warned of: many are published, and they do no harm in a store."""
    if value.startswith("#") or _ABSOLUTE.fullmatch(value):
        return uri(value, scope)
    return _unprintable(value) or Finding(f"the canonical URL {shown(value)} should be absolute", "value", "warning")


def profile(value: str, scope: Scope) -> Finding | None:
    """meta.profile: an absolute canonical URL."""
    if not _ABSOLUTE.fullmatch(value):
        return Finding(f"{shown(value)} is no profile: give its canonical URL, which is absolute")
    return _urn(value) or _unprintable(value)


def is_absolute(value: str) -> bool:
    """Whether a URI has a scheme."""
    return _ABSOLUTE.fullmatch(value) is not None


def _urn(value: str) -> Finding | None:
    if value.startswith("urn:uuid:") and not _UUID.fullmatch(value):
        if _UUID.fullmatch(value.lower()):
            return Finding(f"{shown(value)}: a UUID is written in lower case", "value", "warning")
        return Finding(f"{shown(value)} is no UUID: urn:uuid: and 8-4-4-4-12 lower-case hexadecimal digits")
    if value.startswith("urn:oid:") and not _OID.fullmatch(value):
        return Finding(f"{shown(value)} is no OID: urn:oid: and numbers with dots, the first of them 0, 1 or 2")
    return None


def _unprintable(value: str) -> Finding | None:
    bad = _CONTROL.search(value)
    return Finding(f"{shown(value)} holds a control character; remove it") if bad else None


RULES: dict[str, tuple[Quick | None, Full]] = {
    "string": (text_quick, text),
    "markdown": (text_quick, text),
    "code": (str.isprintable, text),
    "id": (_ID.fullmatch, resource_id),
    "date": (_DATE_QUICK.fullmatch, calendar),
    "dateTime": (_DATE_QUICK.fullmatch, calendar),
    "instant": (_DATE_QUICK.fullmatch, calendar),
    "decimal": (None, decimal),
    "uri": (_HTTP.fullmatch, uri),
    "url": (_HTTP.fullmatch, uri),
    "canonical": (_HTTP.fullmatch, canonical),
}
"""Primitive type -> its rule. Types not listed (boolean, integers, time, base64Binary, oid, uuid) are checked as structure in full."""

RESOURCE_ID = (_ID.fullmatch, resource_id)
ELEMENT_ID = (re.compile(r"[!-~]+").fullmatch, element_id)
ABSOLUTE = (_HTTP.fullmatch, absolute_uri)
PROFILE = (_HTTP.fullmatch, profile)

SPECIAL: dict[tuple[str, str], tuple[Quick | None, Full]] = {
    ("Coding", "system"): ABSOLUTE,
    ("Identifier", "system"): ABSOLUTE,
    ("ValueSet.compose.include", "system"): ABSOLUTE,
    ("Meta", "profile"): PROFILE,
}
"""(type, element) -> the rule of a place that asks more than its type does."""
