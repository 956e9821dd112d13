"""Parts of a document: `_summary` and `_elements` (https://hl7.org/fhir/R4/search.html#summary).

Works on the document's bytes: what stays is spelled as before, what goes is never parsed. A document that was cut carries the tag
SUBSETTED, so that nobody mistakes it for the whole.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal, get_args

import msgspec

from conformance.load import Element, definitions

Mode = Literal["true", "text", "data", "count", "false"]
MODES: tuple[str, ...] = get_args(Mode)

SUBSETTED = b'{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}'

_ALWAYS = frozenset(("resourceType", "id", "meta"))
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])


def subset(type: str, body: bytes, mode: str | None = None, elements: Iterable[str] = ()) -> bytes:
    """The part of a stored document that `_summary=mode`, or else `_elements=elements`, asks for.

    `true`: what R4 marks as summary, also inside elements. `text`: narrative, id, meta and mandatory elements. `data`: all but the
    narrative. `false`, `count` (which is about a search's total, not about a document) and no wish at all: `body` itself.
    `elements` are names of top-level elements, with or without the type (`name`, `Patient.name`); mandatory elements and modifiers
    stay. Raises msgspec.DecodeError if `body` is no JSON object.
    """
    if mode == "true":
        return _cut(body, _summary_names(type), _summary_names)
    if mode == "text":
        return _cut(body, _text_names(type))
    if mode == "data":
        return _cut(body, _data_names(type))
    asked = tuple(sorted(set(elements)))
    return _cut(body, _element_names(type, asked)) if asked and mode is None else body


Names = dict[str, str | None]
"""JSON properties that stay -> the type into whose members the cut goes on (None: the value stays whole)."""


def _cut(body: bytes, names: Names, inner: Callable[[str], Names] | None = None) -> bytes:
    found = _members.decode(body)
    kept = {name: _value(raw, names[name], inner) for name, raw in found.items() if name in names}
    kept["meta"] = _marked(found.get("meta"))
    if "meta" not in found:  # meta belongs to the front: a reader of a stream learns early that this is a part
        kept = {name: kept[name] for name in ("resourceType", "id", "meta", *kept) if name in kept}
    return _joined(kept)


def _value(raw: msgspec.Raw, type_name: str | None, inner: Callable[[str], Names] | None) -> bytes:
    """A kept value; cut itself where its type has members that do not belong to a summary."""
    value = bytes(raw)
    if type_name is None or inner is None or not any(name in value for name in _losable(type_name)):
        return value
    if value.startswith(b"["):
        return b"[%b]" % b",".join(_value(item, type_name, inner) for item in _items.decode(value))
    names = inner(type_name)
    kept = {name: _value(member, names[name], inner) for name, member in _members.decode(value).items() if name in names}
    return _joined(kept) if kept else value


def _joined(members: dict[str, bytes]) -> bytes:
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), value) for name, value in members.items())


def _marked(meta: msgspec.Raw | None) -> bytes:
    """`meta` with the tag SUBSETTED, once."""
    if meta is None:
        return b'{"tag":[%b]}' % SUBSETTED
    found = {name: bytes(raw) for name, raw in _members.decode(meta).items()}
    tags = [bytes(raw) for raw in _items.decode(found["tag"])] if "tag" in found else []
    if not any(b'"SUBSETTED"' in tag for tag in tags):
        tags.append(SUBSETTED)
    found["tag"] = b"[%b]" % b",".join(tags)
    return _joined(found)


@lru_cache(maxsize=2048)
def _summary_names(type_name: str) -> Names:
    """The members of a type that R4 marks as summary; modifiers stay whatever they are marked, and so do ids of elements."""
    return _names(type_name, lambda element: element.summary or element.modifier or element.name == "id", deep=True)


@lru_cache(maxsize=2048)
def _losable(type_name: str) -> tuple[bytes, ...]:
    """The quoted names of all members that a summary may leave out of a value of this type, however deep: mostly `"extension"`.

    A value in whose bytes none of them occurs stays as it is, without being taken apart.
    """
    lost, seen, waiting = set[str](), set[str](), [type_name]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            kept = _summary_names(name)
            for element in definitions().types[name].elements.values():
                lost.update(property for property in element.json if property not in kept)
            waiting.extend(code for code in kept.values() if code is not None)
    return tuple(sorted(b'"%b"' % name.encode() for name in lost))


@lru_cache(maxsize=256)
def _text_names(type_name: str) -> Names:
    return _names(type_name, lambda element: element.min > 0 or element.name == "text")


@lru_cache(maxsize=256)
def _data_names(type_name: str) -> Names:
    return _names(type_name, lambda element: element.name != "text" or element.json != {"text": "Narrative"})


@lru_cache(maxsize=4096)
def _element_names(type_name: str, asked: tuple[str, ...]) -> Names:
    wanted = {name.removeprefix(f"{type_name}.").split(".")[0] for name in asked}
    return _names(type_name, lambda e: e.min > 0 or e.modifier or e.name in wanted or not wanted.isdisjoint(e.json))


def _names(type_name: str, stays: Callable[[Element], bool], deep: bool = False) -> Names:
    found = definitions().types[type_name]
    names: Names = dict.fromkeys(_ALWAYS)
    for element in found.elements.values():
        if stays(element):
            for name, code in element.json.items():
                names[name] = code if deep and name not in _ALWAYS and _has_more(code) else None
                names["_" + name] = None
    return names


def _has_more(code: str) -> bool:
    """Whether a summary leaves out something of this type: not of a primitive, nor of a whole resource inside another."""
    return code != "Resource" and definitions().types[code].kind in ("complex", "backbone")
