"""A document's bytes: reading them without loss, and setting `id` and `meta` in the client's own bytes.

Values are never re-spelled: `72.50` stays `72.50`, keys keep their order (https://hl7.org/fhir/R4/json.html#decimal). Only white space
between tokens goes.
"""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from resources.outcomes import bad_request
from resources.store import Draft

_BOM = b"\xef\xbb\xbf"
_OWN_META = frozenset(("versionId", "lastUpdated", "_versionId", "_lastUpdated"))

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder = msgspec.json.Encoder(decimal_format="number")
_DEEP = "it is nested too deeply"


def decode(body: bytes) -> dict[str, Any]:
    """The document as Python values; numbers with a fraction or exponent become Decimals that keep their digits.

    Raises msgspec.DecodeError where the bytes are not JSON: call it on what `resources.structure.check` has accepted. Raises FhirError
    400 for a number that JSON allows but no computer keeps (1e99999999999999999999, thousands of digits).
    """
    try:
        document: dict[str, Any] = _decoder.decode(body.removeprefix(_BOM))
    except RecursionError:
        raise msgspec.DecodeError(_DEEP) from None
    except InvalidOperation:
        raise bad_request("A number in the body has an exponent that is out of range", code="value") from None
    except msgspec.ValidationError:
        raise bad_request("A whole number in the body has more digits than can be kept", code="value") from None
    return document


def decoder_of(members: tuple[str, ...]) -> Callable[[bytes], dict[str, Any]]:
    """What decodes these top-level members of a document (and what stands beside primitives, `_member`), and passes over the others."""
    names = [name for member in members for name in (member, f"_{member}")]
    fields = {f"m{number}": name for number, name in enumerate(names)}
    shape = msgspec.defstruct("Part", [(field, Any, msgspec.UNSET) for field in fields], rename=fields, gc=False)
    parse = msgspec.json.Decoder(shape, float_hook=Decimal).decode

    def read(body: bytes) -> dict[str, Any]:
        part = parse(body)
        return {name: value for field, name in fields.items() if (value := getattr(part, field)) is not msgspec.UNSET}

    return read


def encode(document: Any) -> bytes:
    """The bytes of a decoded document, Decimals as numbers with their digits."""
    return _encoder.encode(document)


def members(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level members of a JSON object, in order, their values as raw bytes. Raises msgspec.DecodeError if it is none."""
    try:
        return _members.decode(body.removeprefix(_BOM))
    except RecursionError:
        raise msgspec.DecodeError(_DEEP) from None


def compact(body: bytes) -> bytes:
    """The same JSON without white space between its tokens, every value spelled as before."""
    return msgspec.json.format(body, indent=-1)


def draft(body: bytes, id: str) -> Draft:
    """The document's bytes made ready for a commit: `id` set, `meta` opened for version and instant.

    `body` must have passed `resources.structure.check`. Whatever version and lastUpdated the client sent are dropped
    (https://hl7.org/fhir/R4/http.html#update), the other members of `meta` stay.
    """
    body = body.removeprefix(_BOM)
    if b"\n" in body or b": " in body:
        body = compact(body)
    found = _members.decode(body)
    order = list(found)
    if "id" not in found:
        order.insert(order.index("resourceType") + 1, "id")
    if "meta" not in found:
        order.insert(order.index("id") + 1, "meta")
    found["id"] = msgspec.Raw(b'"%b"' % id.encode())
    split = order.index("meta")
    before = b"".join(b'"%b":%b,' % (name.encode(), found[name]) for name in order[:split])
    after = b"".join(b',"%b":%b' % (name.encode(), found[name]) for name in order[split + 1 :])
    return Draft(b'{%b"meta":{' % before, b"%b%b}" % (_meta_tail(found.get("meta")), after))


def _meta_tail(meta: msgspec.Raw | None) -> bytes:
    """What follows version and instant inside `meta`, with its closing brace."""
    if meta is None:
        return b"}"
    kept = _members.decode(meta)
    return b"".join(b',"%b":%b' % (name.encode(), raw) for name, raw in kept.items() if name not in _OWN_META) + b"}"
