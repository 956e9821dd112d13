"""The documents that apps keep: `Basic` with one code, at most one subject and extensions of text."""

from typing import Annotated, Any, Final

import msgspec

from resources.outcomes import bad_request, error

LARGEST: Final = 262_144
"""Bytes of a document."""

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]


class Coding(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What the state is, in the app's own words."""

    system: _Text
    code: _Text
    display: str = ""


class _Concept(msgspec.Struct, forbid_unknown_fields=True):
    coding: Annotated[list[Coding], msgspec.Meta(min_length=1, max_length=1)]


class _Subject(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    reference: _Text
    type: str = ""
    display: str = ""


class _Extension(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    url: _Text
    value: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="valueString")
    id: str = ""


class _Meta(msgspec.Struct, omit_defaults=True):
    version: str = msgspec.field(name="versionId", default="")
    last_updated: str = msgspec.field(name="lastUpdated", default="")


class Basic(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, tag_field="resourceType", tag="Basic"):
    """One document. `id` and `meta` are the server's."""

    code: _Concept
    id: str = ""
    meta: _Meta = msgspec.field(default_factory=_Meta)
    subject: _Subject | None = None
    extension: Annotated[list[_Extension], msgspec.Meta(max_length=1_000)] = []

    @property
    def coding(self) -> str:
        """What a search by `code` finds it by: system|code."""
        coding = self.code.coding[0]
        return f"{coding.system}|{coding.code}"

    @property
    def about(self) -> str:
        """The reference of its subject, "" for none."""
        return self.subject.reference if self.subject is not None else ""


_decode = msgspec.json.Decoder(Basic).decode
_encode = msgspec.json.Encoder().encode


def read_basic(body: bytes) -> Basic:
    """The document of a body. Raises FhirError 400 for what is no JSON, 422 for what is no state of an app."""
    try:
        return _decode(body)
    except msgspec.ValidationError as problem:
        text = f"This is no state of an app: a Basic with one code.coding, at most one subject, extensions with valueString ({problem})"
        raise error(422, "invalid", text) from None
    except (msgspec.DecodeError, RecursionError):
        raise bad_request("The body is no JSON") from None


def stamped(document: Basic, id: str, version: int, instant: str) -> bytes:
    """Its bytes with the id and version that the server gives it."""
    meta = _Meta(version=str(version), last_updated=instant)
    return _encode(msgspec.structs.replace(document, id=id, meta=meta))


def bundle(url: str, entries: list[tuple[str, bytes]]) -> bytes:
    """A searchset of (full URL, document)."""
    found: list[dict[str, Any]] = [
        {"fullUrl": full, "resource": msgspec.Raw(document), "search": {"mode": "match"}} for full, document in entries
    ]
    whole: dict[str, Any] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": [{"relation": "self", "url": url}],
    }
    return _encode(whole | ({"entry": found} if found else {}))
