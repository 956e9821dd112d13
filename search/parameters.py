"""(type, code) -> SearchParameter, from the official definitions compiled in `conformance`.

Every official parameter is here for each type that it applies to, those of Resource and DomainResource for every type that inherits
them. Which of them can be searched is `SearchParameter.searchable`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import cast

from conformance.fhirpath import compile_paths
from conformance.load import Definitions, Element, SearchParameterDefinition, definitions
from search.expansion.composites import with_components
from search.parameter import Canonical, ParameterType, SearchParameter
from search.types.kinds import KINDS

CLINICAL_DATES = (
    *("authoredon", "authored-on", "authored"),
    *("date", "started", "onset-date", "start-date", "effective-time", "effective", "occurrence", "whenhandedover", "collected"),
    *("created", "recorded", "sent", "start", "datetime", "datewritten", "identified", "issued", "timestamp", "period"),
)
"""A type's clinical date is the first of these that it has: when it was ordered or written, else when it happened, else when it
was recorded. All are single-valued; birth dates and dates of expiry are none."""

CONTAINED = "_contained"
"""The code under which an Entry has the types of the resources that a document contains. No query can ask for it by name."""

_HIDDEN = 1 << 19
"""Numbers from here on are of what no query can name, far above those of the official parameters."""

_NO_CODES: Mapping[str, frozenset[str]] = MappingProxyType({})
_ANY_ROOT = ("", "Resource", "DomainResource")
_ONLY_TYPE = re.compile(r"\.where\(resolve\(\) is ([A-Za-z]+)\)$")


class Parameters:
    """All search parameters of all resource types. `registry()` gives the official ones, which never change; `extensible` a set of its
    own beside them, to which those can be added that SearchParameter resources define."""

    def __init__(self, source: Definitions) -> None:
        self._by_type: dict[str, dict[str, SearchParameter]] = {name: {} for name in source.resource_types}
        for parameter in _numbered(source):
            self._by_type[parameter.type][parameter.code] = parameter
        components = {definition.url: definition.components for definition in source.search_parameters}
        for mine in self._by_type.values():
            by_url = {parameter.url: parameter for parameter in mine.values()}
            composites = (parameter for parameter in by_url.values() if parameter.kind == "composite")
            mine.update({p.code: with_components(p, components[p.url], by_url) for p in composites})
        canonicals = {type: found for type in self._by_type if (found := self._canonical(type)) is not None}
        for mine in self._by_type.values():
            mine.update({code: _following(p, canonicals) for code, p in mine.items() if _has(p, "canonical")})
        self._official: dict[str, dict[str, SearchParameter]] | None = None
        self._containing = {
            type: SearchParameter(type, CONTAINED, "token", "contained", "", number=_HIDDEN + place, stored=CONTAINED)
            for place, type in enumerate(source.resource_types, 1)
            if _descends(type, "DomainResource", source)
        }

    def extensible(self) -> "Parameters":
        """The same parameters, to which others can be added without any effect on these."""
        made = copy(self)
        made._official, made._by_type = self._by_type, dict(self._by_type)
        return made

    def official(self) -> "Parameters":
        """The official parameters only."""
        made = copy(self)
        made._by_type = self._official or self._by_type
        return made

    def extend(self, custom: Iterable[SearchParameter]) -> None:
        """Have exactly these beside the official ones, in place of any that were added before; an official one is never replaced."""
        assert self._official is not None, "only a set that is extensible can be extended"
        added: dict[str, dict[str, SearchParameter]] = {}
        for parameter in custom:
            added.setdefault(parameter.type, {})[parameter.code] = parameter
        self._by_type = {type: {**added.get(type, {}), **official} for type, official in self._official.items()}

    @property
    def types(self) -> tuple[str, ...]:
        """The resource types, sorted."""
        return tuple(self._by_type)

    def of(self, type: str) -> Mapping[str, SearchParameter]:
        """The parameters of a type by code; none for an unknown type."""
        return self._by_type.get(type, {})

    def containing(self, type: str) -> SearchParameter | None:
        """What documents of the type are found by that contain resources of some type (the code of a token); None if they never do.
        It is none of the parameters that queries name."""
        return self._containing.get(type)

    def find(self, type: str, code: str) -> SearchParameter | None:
        """The parameter `code` of `type`, if there is one."""
        return self.of(type).get(code)

    def suggest(self, type: str, code: str) -> list[str]:
        """Up to three codes of the type that look like `code`, for "did you mean"."""
        codes = [c for c, parameter in self.of(type).items() if parameter.searchable]
        folded = {c.replace("-", "").replace("_", "").lower(): c for c in codes}
        close = get_close_matches(code.replace("-", "").replace("_", "").lower()[:64], folded, n=3, cutoff=0.7)
        return [folded[c] for c in close]

    def clinical_date(self, type: str) -> str | None:
        """The code of the type's clinical date: the first of CLINICAL_DATES that it has as a date."""
        mine = self._dates(type)
        return next((code for code in CLINICAL_DATES if code in mine), None)

    def order_date(self, type: str) -> str | None:
        """The code of the date parameter whose low end is `Entry.date`: the clinical date, or the birth date of people, who have none."""
        return self.clinical_date(type) or ("birthdate" if "birthdate" in self._dates(type) else None)

    def _canonical(self, type: str) -> Canonical | None:
        """How documents of the type are found by canonical URLs; None if they are never named so."""
        mine = self._by_type[type]
        url, version = mine.get("url"), mine.get("version")
        return Canonical(url, version) if url and version and url.expression == f"{type}.url" else None

    def _dates(self, type: str) -> frozenset[str]:
        """The codes of the type's official date parameters: others come and go, and the dates of documents stay."""
        mine = (self._official or self._by_type).get(type, {})
        return frozenset(code for code, parameter in mine.items() if parameter.kind == "date")


@lru_cache(maxsize=1)
def registry() -> Parameters:
    """The parameters of R4 4.0.1, built once a process."""
    return Parameters(definitions())


def _numbered(source: Definitions) -> Iterator[SearchParameter]:
    """Every (type, parameter) with its number.

    Numbers count up from 1 over the definitions in their official order and, within one, over its types in alphabetical order.
    They depend on nothing else, so all processes and starts agree, and a release that adds definitions after the present ones
    changes none; those of types that are added to R4's stand behind all. A parameter of the same type, kind and expression as an earlier
    one is its alias and shares its number; the number it would have had stays unused.
    """
    firsts: dict[tuple[str, str, tuple[str, ...]], SearchParameter] = {}
    added = source.added_types
    pairs = [(definition, type) for definition in source.search_parameters for type in _types(definition, source)]
    pairs.sort(key=lambda pair: pair[1] in added)  # those of R4's own types keep their numbers
    for number, (definition, type) in enumerate(pairs, 1):
        parts = _parts(definition.expression, type)
        first = firsts.get((type, definition.kind, parts)) if parts else None
        parameter = SearchParameter(
            type,
            definition.code,
            cast(ParameterType, definition.kind),
            " | ".join(parts),
            definition.url,
            _targets(definition.targets, parts, type, source),
            first.number if first else number,
            first.code if first else definition.code,
            definition.description,
            _bound_codes(parts, type, source) if definition.kind == "token" else _NO_CODES,
            definition.kind in KINDS and bool(parts),
        )
        parameter = replace(parameter, includable=_has(parameter, "Reference"))
        if definition.kind != "composite":
            firsts.setdefault((type, definition.kind, parts), parameter)
        yield parameter


def _types(definition: SearchParameterDefinition, source: Definitions) -> list[str]:
    """The concrete resource types that a definition applies to, sorted."""
    found = set(definition.base) & set(source.resource_types)
    for abstract in set(definition.base) - found:
        found |= {name for name in source.resource_types if _descends(name, abstract, source)}
    return sorted(found)


def _descends(name: str, ancestor: str, source: Definitions) -> bool:
    base = source.types[name].base
    return base is not None and (base == ancestor or _descends(base, ancestor, source))


def _parts(expression: str, type: str) -> tuple[str, ...]:
    """The alternatives of an expression that speak of the type; those without a type's name at their root speak of any."""
    alternatives = [part.strip() for part in _alternatives(expression)]
    return tuple(part for part in alternatives if part and _root(part) in (*_ANY_ROOT, type))


def _alternatives(expression: str) -> list[str]:
    """An expression split at its outermost `|`."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(expression):
        depth += (character == "(") - (character == ")")
        if character == "|" and depth == 0:
            parts.append(expression[start:at])
            start = at + 1
    return [*parts, expression[start:]]


def _root(part: str) -> str:
    """The type at the root of a path ("" if it begins with an element): `(Goal.target.due as date)` -> Goal."""
    name = part.lstrip("( ").split(".", 1)[0]
    return name if name[:1].isupper() else ""


def _targets(official: tuple[str, ...], parts: tuple[str, ...], type: str, source: Definitions) -> tuple[str, ...]:
    """The official targets, less those that this type's elements cannot refer to (Observation.patient is no Group)."""
    possible: set[str] = set()
    for part in parts:
        only = _ONLY_TYPE.search(part)
        element = None if only else _walk(part.split(".")[1:], type, source)[0]
        if only:
            possible.add(only.group(1))
        elif element is not None and element.targets and part.startswith(f"{type}."):
            possible.update(element.targets)
        else:
            return official
    return tuple(target for target in official if target in possible) or official


def _has(parameter: SearchParameter, fhir_type: str) -> bool:
    """Whether a reference parameter has values of this FHIR type."""
    return parameter.kind == "reference" and any(
        path.fhir_type == fhir_type for path in compile_paths(parameter.expression, parameter.type)
    )


def _following(parameter: SearchParameter, canonicals: Mapping[str, Canonical]) -> SearchParameter:
    """The parameter, whose values are canonicals, with those of the types that it may name."""
    return replace(
        parameter, canonicals=tuple(found for type, found in canonicals.items() if type in (parameter.targets or (type,)))
    )


def _bound_codes(parts: tuple[str, ...], type: str, source: Definitions) -> Mapping[str, frozenset[str]]:
    """The codes, by system, that a parameter over one plain path to a bound `code` element can have."""
    if len(parts) != 1 or not parts[0].startswith(f"{type}."):
        return _NO_CODES
    element, owner = _walk(parts[0].split(".")[1:], type, source)
    if element is None or owner is None or element.binding is None or set(element.json.values()) != {"code"}:
        return _NO_CODES
    return source.value_sets.get(element.binding, _NO_CODES)


def _walk(names: list[str], type: str, source: Definitions) -> tuple[Element | None, str | None]:
    """The element at the end of a plain path, and the type it belongs to."""
    element: Element | None = None
    owner: str | None = type
    for name in names:
        definition = source.types.get(owner) if owner else None
        element = definition.elements.get(name) if definition else None
        if element is None or len(element.json) != 1:
            return None, None
        last, owner = owner, next(iter(element.json.values()))
        if name is names[-1]:
            return element, last
    return element, owner
