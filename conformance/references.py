"""Finding the references of a document, along its types."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from conformance.load import definitions


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
    """JSON property -> place, for the properties of a type that can hold a reference, there or somewhere below."""
    found = definitions().types.get(type_name)
    if found is None:
        return {}
    table = {}
    for element in found.elements.values():
        for name, code in element.json.items():
            if _is_complex(code):
                table[name] = _Place(element.name, code)
            else:
                table["_" + name] = _Place(element.name, "Element")
    if type_name == "Reference":
        table["reference"] = _Place("reference", "uri", reference=True)
    return table


def _is_complex(code: str) -> bool:
    found = definitions().types.get(code)
    return found is not None and found.kind != "primitive"
