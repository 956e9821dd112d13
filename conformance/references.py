"""Finding and replacing the references of a document.

A transaction replaces temporary URLs (`urn:uuid:…`) in Reference.reference, in every uri, url, oid and uuid (not in canonicals), and
in the narrative's `a` and `img` (https://hl7.org/fhir/R4/http.html#trules).
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from conformance.load import definitions

Mapping = Callable[[str], str | None]

_URIS = frozenset(("uri", "url", "oid", "uuid"))
_ATTRIBUTE = re.compile(r"""(\b(?:href|src)\s*=\s*)(["'])(.*?)\2""", re.DOTALL)


def references(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every literal reference of a document: (FHIRPath expression of the element Reference.reference, its text), `#x` included.

    Resources within (contained, Bundle entries, parameters) are walked too.
    """
    name = str(document.get("resourceType", ""))
    return _found(document, name, name)


def _found(node: dict[str, Any], type_name: str, path: str) -> Iterator[tuple[str, str]]:
    table = _table(type_name)
    for name, value in node.items():
        place = table.get(name)
        if place is None:
            continue
        where = f"{path}.{place.name}"
        if value.__class__ is dict:
            yield from _found(value, place.within(value), where)
        elif value.__class__ is list:
            for number, item in enumerate(value):
                if item.__class__ is dict:
                    yield from _found(item, place.within(item), f"{where}[{number}]")
        elif place.reference and value.__class__ is str:
            yield where, value


def rewrite_references(document: dict[str, Any], mapping: Mapping) -> int:
    """Replace in place every reference for which `mapping(text)` gives a new text (None: leave it). Returns how many were replaced."""
    return _rewrite(document, str(document.get("resourceType", "")), mapping)


class _Place(NamedTuple):
    """A JSON property that is, or may hold below it, a reference: its FHIRPath name, its type code, whether it is Reference.reference."""

    name: str
    code: str
    reference: bool = False

    def within(self, value: dict[str, Any]) -> str:
        """The type name of a value here."""
        return str(value.get("resourceType", "")) if self.code == "Resource" else self.code


@lru_cache(maxsize=1024)
def _table(type_name: str) -> dict[str, _Place]:
    """JSON property -> place, for the properties of a type that can hold a reference or uri, there or somewhere below."""
    found = definitions().types.get(type_name)
    if found is None:
        return {}
    table = {}
    for element in found.elements.values():
        for name, code in element.json.items():
            if code in _URIS or code == "xhtml" or _is_complex(code):
                table[name] = _Place(element.name, code)
            if not _is_complex(code):
                table["_" + name] = _Place(element.name, "Element")
    if type_name == "Reference":
        table["reference"] = _Place("reference", "uri", reference=True)
    return table


def _is_complex(code: str) -> bool:
    found = definitions().types.get(code)
    return found is not None and found.kind != "primitive"


def _rewrite(node: dict[str, Any], type_name: str, mapping: Mapping) -> int:
    count = 0
    table = _table(type_name)
    for name, value in node.items():
        place = table.get(name)
        if place is None:
            continue
        if value.__class__ is list:
            for number, item in enumerate(value):
                count += _one(value, number, item, place, mapping)
        else:
            count += _one(node, name, value, place, mapping)
    return count


def _one(holder: Any, key: Any, value: Any, place: _Place, mapping: Mapping) -> int:
    """Rewrite the value at holder[key]; the holder keeps its keys, so that it can be walked meanwhile."""
    if value.__class__ is dict:
        return _rewrite(value, place.within(value), mapping)
    if value.__class__ is not str:
        return 0
    new = _narrative(value, mapping) if place.code == "xhtml" else mapping(value)
    if new is None or new == value:
        return 0
    holder[key] = new
    return 1


def _narrative(div: str, mapping: Mapping) -> str:
    if "href" not in div and "src" not in div:
        return div

    def replace(found: re.Match[str]) -> str:
        new = mapping(found[3])
        return found[0] if new is None else f"{found[1]}{found[2]}{new}{found[2]}"

    return _ATTRIBUTE.sub(replace, div)
