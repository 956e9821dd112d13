"""Reference parameters: what a document points to (https://hl7.org/fhir/R4/search.html#reference).

This server's own base URLs and versions (`/_history/n`) are cut off on both sides.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from conformance.load import definitions
from search.parameter import SearchParameter
from search.query import Modifier, Term
from search.types.text import BadValue, Bases, Converter, Reading, unescape
from search.values import ReferenceValue, Value

_RELATIVE = re.compile(r"([A-Z][A-Za-z]+)/([^/?#|\s]+)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ID = re.compile(r"[^/?#|:\s]+")

MODIFIERS = frozenset({Modifier.MISSING, Modifier.ABOVE, Modifier.BELOW})


def parse(text: str, parameter: SearchParameter, modifier: Modifier, reading: Reading) -> tuple[Term, ...]:
    """`Type/id`, an id (of any type that the parameter may point to), or an absolute URL. Raises BadValue."""
    target = _target(written := unescape(text), reading.bases)
    if target is not None and reading.asked and written.startswith(reading.asked):
        targets = dict.fromkeys((target, _target(written, (reading.asked,)) or target))
        return tuple(Term(ReferenceValue(each)) for each in targets)
    if target is not None:
        return (Term(ReferenceValue(target)),)
    if not _ID.fullmatch(written):
        raise BadValue(f"'{text}' is no reference: write Type/id with a FHIR resource type, an id, or an absolute URL")
    types = parameter.targets or definitions().resource_types
    if len(types) == 1:
        return (Term(ReferenceValue(f"{types[0]}/{written}")),)
    return (Term(ReferenceValue(written), types=types),)


def parse_typed(text: str, parameter: SearchParameter, type: str, reading: Reading) -> tuple[Term, ...]:
    """The value of `parameter:Type=`: as `parse`, but a bare id is of that type, and another type is a contradiction (BadValue)."""
    terms = parse(text, replace(parameter, targets=(type,)), Modifier.NONE, reading)
    for term in terms:
        target = str(term.value[0])
        if _RELATIVE.fullmatch(target) and not target.startswith(f"{type}/"):
            raise BadValue(f"'{text}' is no {type}, which is what {parameter.code}:{type} asks for")
    return terms


def converter(fhir_type: str, bases: Bases) -> Converter | None:
    """A Reference or URL is one value, a canonical with a version two; a whole resource (Bundle.composition) is its own address."""
    if fhir_type == "Reference":
        return partial(_reference, bases)
    if fhir_type == "canonical":
        return partial(_canonical, bases)
    if fhir_type in ("uri", "url"):
        return partial(_url, bases)
    return _resource if fhir_type in ("Resource", "DomainResource") else None


def match(term: Term, modifier: Modifier, value: Value) -> bool:
    """The same target; for a bare id, that id in one of the types."""
    assert isinstance(term.value, ReferenceValue) and isinstance(value, ReferenceValue)
    if not term.types:
        return value.target == term.value.target
    type, _, id = value.target.partition("/")
    return id == term.value.target and type in term.types


@lru_cache(maxsize=16_384)
def _target(text: str, bases: Bases) -> str | None:
    """`Type/id` or an absolute URL, without own base and version; None for anything else."""
    text = text.partition("/_history/")[0]
    own = next((base for base in bases if text.startswith(base)), "")
    relative = _RELATIVE.fullmatch(text.removeprefix(own))
    if relative and relative.group(1) in _resource_types():
        return relative.group()
    return text if _SCHEME.match(text) else None


@lru_cache(maxsize=1)
def _resource_types() -> frozenset[str]:
    return frozenset(definitions().resource_types)


def _reference(bases: Bases, values: Sequence[dict[str, Any]]) -> list[Value]:
    return _url(bases, [value["reference"] for value in values if "reference" in value])


def _url(bases: Bases, texts: Sequence[str]) -> list[Value]:
    return [ReferenceValue(target) for text in texts if (target := _target(text, bases)) is not None]


def _canonical(bases: Bases, texts: Sequence[str]) -> list[Value]:
    found: list[Value] = []
    for text in texts:
        url, mark, version = text.partition("|")
        target = _target(url, bases)
        if target is not None:
            found += [ReferenceValue(f"{target}|{version}")] if mark else []
            found.append(ReferenceValue(target))
    return found


def _resource(values: Sequence[dict[str, Any]]) -> list[Value]:
    return [ReferenceValue(f"{value['resourceType']}/{value['id']}") for value in values if "id" in value]
