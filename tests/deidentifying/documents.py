"""Documents to de-identify: the official examples, the sample population, and documents in which every element of a type is filled."""

import gzip
import json
from collections.abc import Iterator
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from conformance.load import definitions
from fhir_server.deidentifying.deidentifier import Deidentifier
from fhir_server.deidentifying.rules import rules
from resources.documents import decode
from search.extract import Extractor
from search.parameters import registry

ROOT = Path(__file__).resolve().parents[2]
SECRET, OTHER = b"s" * 32, b"t" * 32
TODAY = date(2026, 1, 1)
BASE = "http://here/fhir"
EXPORTED = tuple(type for type in definitions().resource_types if rules().exported(type))


class Given(NamedTuple):
    """A document, its type, and the patients in whose compartment it lies."""

    type: str
    document: dict[str, Any]
    patients: tuple[str, ...]


class Value(NamedTuple):
    """A primitive in a document: the path of its element ("Patient.name.family"), its type, the type that it is a member of, itself."""

    path: str
    type: str
    within: str
    value: Any


@lru_cache
def deidentifier(secret: bytes = SECRET, dates: Any = "shift", *, displays: bool = False, project: str = "") -> Deidentifier:
    """A de-identifier as of TODAY."""
    return Deidentifier(definitions(), secret, dates=dates, today=TODAY, displays=displays, project=project, bases=(BASE,))


def made(type: str, document: dict[str, Any], *patients: str, **options: Any) -> dict[str, Any]:
    """The document de-identified; it must not have been left out."""
    out = deidentifier(**options).document(type, {"resourceType": type, **document}, patients)
    assert out is not None
    return out


@lru_cache
def examples() -> tuple[Given, ...]:
    """All official examples."""
    with gzip.open(ROOT / "tests" / "data" / "r4-examples.ndjson.gz") as lines:
        return tuple(given(decode(json.dumps(json.loads(line)["resource"]).encode())) for line in lines)


@lru_cache
def population() -> tuple[Given, ...]:
    """The sample population, its references between documents as a server makes them of the Bundles."""
    entries = []
    for path in sorted((ROOT / "sample_data").glob("[123]-*.ndjson.gz")):
        with gzip.open(path) as lines:
            entries += [entry for line in lines for entry in decode(line)["entry"]]
    ids = {entry["fullUrl"]: f"{entry['resource']['resourceType']}/{entry['resource']['id']}" for entry in entries}
    for entry in entries:
        of = entry["resource"]
        for each in of.get("identifier", ()):
            if isinstance(each, dict):
                key = f"{of['resourceType']}?identifier={each.get('system')}|{each.get('value')}"
                ids[key] = f"{of['resourceType']}/{of['id']}"
    return tuple(given(_resolved(entry["resource"], ids)) for entry in entries)


def given(document: dict[str, Any]) -> Given:
    """The document with its patients."""
    type = document["resourceType"]
    return Given(type, document, _extractor().extract(type, document).patients)


@lru_cache
def _extractor() -> Extractor:
    return Extractor(registry(), BASE)


def _resolved(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            name: ids.get(item, item) if name == "reference" and isinstance(item, str) else _resolved(item, ids)
            for name, item in value.items()
        }
    return [_resolved(item, ids) for item in value] if isinstance(value, list) else value


def values(document: dict[str, Any]) -> Iterator[Value]:
    """All primitives of a document, by the definitions alone."""
    yield from _values(document, document["resourceType"], document["resourceType"])


def _values(value: dict[str, Any], type: str, path: str) -> Iterator[Value]:
    for element in definitions().types[type].elements.values():
        for name, code in element.json.items():
            beside = value.get(f"_{name}")
            for inner in filter(None, beside if isinstance(beside, list) else [beside]):
                yield from _values(inner, "Element", f"{path}.{name}")
            found = value.get(name, [])
            for one in found if isinstance(found, list) else [found]:
                if not isinstance(one, dict):
                    yield Value(f"{path}.{name}", code, type, one)
                else:
                    inside = one["resourceType"] if code == "Resource" else code
                    yield from _values(one, inside, inside if code == "Resource" else f"{path}.{name}")


def texts(value: Any) -> Iterator[str]:
    """All strings in a decoded document, the names of members left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


class Filling:
    """Fills every element of a type with what must not come out: each text has LEAK in it, each date is the 17th of a November."""

    LEAK = "Leak"
    DATES = {"date": "1999-11-17", "dateTime": "1999-11-17T11:17:17Z", "instant": "1999-11-17T11:17:17.117Z"}
    NUMBERS = {"boolean": True, "integer": 7, "positiveInt": 7, "unsignedInt": 7, "decimal": 7.5}

    def __init__(self, text: str = LEAK) -> None:
        self._text, self._count = text, 0

    def filled(self, type: str, depth: int = 0) -> dict[str, Any]:
        """A value of the type with each of its elements, choices with each of their types."""
        out: dict[str, Any] = {"resourceType": type} if definitions().types[type].kind == "resource" else {}
        for element in definitions().types[type].elements.values():
            if element.name in ("modifierExtension", "resourceType"):
                continue
            for name, code in element.json.items():
                if (made := self._value(code, f"{type}.{name}", element.binding, depth)) is not None:
                    out[name] = [made] if element.many else made
        return out

    def _value(self, code: str, path: str, binding: str | None, depth: int) -> Any:
        if code in self.NUMBERS:
            return self.NUMBERS[code]
        if code in self.DATES:
            return self.DATES[code]
        if code == "code" and binding in definitions().value_sets:
            return next(min(codes) for codes in definitions().value_sets[binding].values())
        if code == "time":
            return "11:17:17"
        if code == "base64Binary":
            return "TGVhaw=="
        if code == "Extension":
            return {"url": self.text("http://{}.example"), "valueString": self.text()} if depth < 4 else None
        if code == "Resource":
            return self.filled("RelatedPerson", depth + 3) if depth == 0 else None
        if definitions().types[code].kind == "primitive":
            return self.text("http://{}.example/x" if code in ("uri", "url", "canonical") else "{}")
        if path == "Reference.identifier" or depth >= 5:
            return None
        return self.filled(code, depth + 1)

    def text(self, form: str = "{}") -> str:
        """Another text."""
        self._count += 1
        return form.format(f"{self._text}{self._count}")
