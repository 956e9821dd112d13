"""The native copy of a document, for people who look into the database with MongoDB's own tools.

It is what `db.Patient.find({"name.family": "Chalmers"})` searches: the resource's own members, its id also as `_id`, decimals as
Decimal128. Nothing is ever read back from it: what the server hands out are the canonical bytes beside it, so what BSON
cannot hold may be bent here without loss (docs/adr/0010):

- numbers beyond 64 bits become Decimal128, those beyond its 34 digits or its exponents text;
- in names a leading `$` and dots take their full-width forms (U+FF04, U+FF0E), NUL its symbol (U+2400);
- what lies deeper than MongoDB allows is kept as JSON text.
"""

import json
import re
from decimal import DecimalException
from typing import Any

import bson
import msgspec
from bson.decimal128 import Decimal128
from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument

from resources.outcomes import error

LARGEST = 16 * 1024 * 1024 - 64 * 1024
"""Bytes of BSON that a document may have: MongoDB's limit, less what stands around it."""

_LEVELS = 90
"""Levels of nesting that are kept; MongoDB allows 100."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NO_BRACKET = bytes(byte for byte in range(256) if byte not in b"{}[]")
_FULL = str.maketrans({".": "\uff0e", "\0": "\u2400"})
_INT64 = 1 << 63


def native(id: str, body: bytes) -> RawBSONDocument:
    """The document as BSON, `_id` first. Raises ValueError for bytes that are no JSON object, FhirError 413 where it is too large."""
    try:
        tree = _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        raise ValueError("a document is a JSON object") from None
    if _levels(body) > _LEVELS:
        tree = _bent(tree, 1)
    try:
        raw = bson.encode({"_id": id, **tree}, check_keys=True)
    except (InvalidDocument, OverflowError, UnicodeError):
        raw = bson.encode({"_id": id, **_bent(tree, 1)})
    if len(raw) > LARGEST:
        raise error(
            413, "too-long", f"This {tree.get('resourceType', 'resource')} has {len(raw) // 1024:,} kB as the database keeps it; "
            f"one document can have {LARGEST // 1024:,} kB. Put large attachments elsewhere and refer to them by url."
        )  # fmt: skip
    return RawBSONDocument(raw)


def _number(text: str) -> Decimal128 | str:
    try:
        return Decimal128(text)
    except DecimalException:
        return text


_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=_number)


def _levels(body: bytes) -> int:
    """How deep the document is nested. Exact only where it might be too deep."""
    if body.count(b"{") + body.count(b"[") <= _LEVELS:
        return 0
    depth = deepest = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NO_BRACKET):
        depth += 1 if bracket in b"{[" else -1
        deepest = max(deepest, depth)
    return deepest


def _bent(value: Any, level: int) -> Any:
    """The value as BSON can hold it."""
    if isinstance(value, dict | list) and level > _LEVELS:
        return json.dumps(value, default=str)
    if isinstance(value, dict):
        return {_name(name): _bent(held, level + 1) for name, held in value.items()}
    if isinstance(value, list):
        return [_bent(held, level + 1) for held in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        return _number(str(value))
    return value


def _name(name: str) -> str:
    clean = name.encode("utf-8", "replace").decode().translate(_FULL)
    return f"\uff04{clean[1:]}" if clean.startswith("$") else clean
