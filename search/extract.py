"""A document -> the Entry that an index keeps of it: the values of all search parameters of its type.

The official FHIRPath expressions are compiled once a type, grouped by the JSON property of the resource that they begin with, so that
a document is looked at only where it has something.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

from conformance.fhirpath import Path, compile_paths
from resources.documents import decode, decoder_of
from search.compartments import linking, owners
from search.expansion.composites import below_root, combine
from search.expansion.failing import forgiving
from search.parameter import SearchParameter
from search.parameters import CONTAINED, Parameters
from search.text.words import text_of
from search.types.kinds import KINDS, MODIFYING
from search.types.text import Bases, Converter, bases_of
from search.values import NO_DATE, DateValue, Entry, TokenValue, Value

_KNOWN_TO_THE_STORE = frozenset({"_id", "_lastUpdated"})
_SAYS_NOTHING = frozenset({"id", "extension"})
"""What an element may have without being there for a search: a birth date with an extension in place of the date is missing too."""


class Step(NamedTuple):
    """Values at one place of a document, converted for one kind, for the parameters (`codes`) that look there. `facets`: what their
    modifiers look at there, each with its own codes."""

    get: Callable[[Any], list[Any]]
    convert: Converter
    codes: tuple[str, ...]
    facets: tuple[tuple[Converter, tuple[str, ...]], ...] = ()


Steps = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a type by the JSON property that they begin with, those whose beginning is not known, the code of the date that
    documents are ordered by, and the codes that put a document into a Patient's compartment (`search.compartments.linking`)."""

    by_key: dict[str, Steps]
    always: Steps
    order_date: str | None
    linking: tuple[str, ...] | None

    def only(self, codes: Set[str]) -> "Plan":
        """The plan that takes the values of these codes alone (a parameter's, or with a modifier as in `Entry.values`)."""
        by_key = {key: left for key, steps in self.by_key.items() if (left := _only(steps, codes))}
        return Plan(by_key, _only(self.always, codes), self.order_date, self.linking)

    def reader(self) -> Callable[[bytes], dict[str, Any]]:
        """What decodes a document's bytes, as far as the steps look at them."""
        return decode if self.always else decoder_of(tuple(self.by_key))

    def values(self, document: dict[str, Any]) -> dict[str, list[Value]]:
        """What the steps find in a document, by parameter code."""
        values: dict[str, list[Value]] = {}
        by_key = self.by_key
        for key in document:
            steps = by_key.get(key)
            if steps is not None:
                take(steps, document, values)
        if self.always:
            take(self.always, document, values)
        return values


def _only(steps: Steps, codes: Set[str]) -> Steps:
    left = []
    for step in steps:
        own = tuple(code for code in step.codes if code in codes)
        facets = tuple((convert, named) for convert, of in step.facets if (named := tuple(code for code in of if code in codes)))
        if own or facets:
            left.append(Step(step.get, step.convert, own, facets))
    return tuple(left)


class Extractor:
    """Extracts by the parameters given. `base_url` is this server's own, or all the URLs that mean it: references to it become
    relative. An Entry follows from its document and these alone, so that an index can be built anew from what is stored. `texts`:
    whether entries carry the words of their documents (`Entry.text`), for an index that takes them in with the rest."""

    def __init__(self, parameters: Parameters, base_url: str | tuple[str, ...], *, texts: bool = False) -> None:
        self._parameters = parameters
        self._texts = texts
        self.bases = self._bases = bases_of(base_url)
        self._plans: dict[str, Plan] = {}
        self._added: tuple[SearchParameter, ...] = ()

    def with_added(self, added: Iterable[SearchParameter]) -> "Extractor":
        """The same for these parameters beside the others."""
        made = copy(self)
        made._plans, made._added = {}, tuple(added)
        return made

    def extract(self, type: str, document: dict[str, Any]) -> Entry:
        """The Entry of a valid document of the type, numbers as int or Decimal. What is no valid date or reference makes no value.

        `document["id"]` must be the id that it is stored under: it tells the Patient's own compartment.
        """
        plan = self.plan(type)
        entry = entry_of(plan, type, document.get("id", ""), plan.values(document))
        if self._texts:
            entry.text = text_of(document)
        return entry

    def plan(self, type: str) -> Plan:
        """What is looked at in documents of the type; made at its first use."""
        return self._plans.get(type) or self._make_plan(type)

    def _make_plan(self, type: str) -> Plan:
        made = _plan(self._parameters, type, self._bases, self._added)
        self._plans[type] = made
        return made


def entry_of(plan: Plan, type: str, id: str, values: dict[str, list[Value]]) -> Entry:
    """The Entry of the values that the plan's steps took from a document."""
    for code, found in values.items():
        if (count := len(found)) > 1 and (count > 2 or found[0] == found[1]):
            values[code] = list(dict.fromkeys(found))
    return Entry(values, _order_date(plan.order_date, values), owners("Patient", type, id, values, plan.linking))


def take(steps: Steps, document: dict[str, Any], values: dict[str, list[Value]]) -> None:
    """Add what the steps find in the document to `values`, by parameter code."""
    for get, convert, codes, facets in steps:
        items = get(document)
        if not items:
            continue
        found = convert(items)
        if not found and all(isinstance(item, dict) and item.keys() <= _SAYS_NOTHING for item in items):
            continue
        for code in codes:
            values[code] = values[code] + found if code in values else found
        for modifying, codes_of in facets:
            found = modifying(items)
            if found:
                for code in codes_of:
                    values[code] = values[code] + found if code in values else found


def _order_date(code: str | None, values: dict[str, list[Value]]) -> int:
    if code is None:
        return 0
    lows = [value.low for value in values.get(code, ()) if isinstance(value, DateValue)]
    return min(lows) if lows else NO_DATE


def _plan(parameters: Parameters, type: str, bases: Bases, added: Sequence[SearchParameter] = ()) -> Plan:
    steps: dict[str, dict[object, Step]] = {}
    own = (p for p in parameters.of(type).values() if p.stored == p.code)
    for parameter in (*own, *(p for p in added if p.type == type)):
        if not parameter.searchable or parameter.code in _KNOWN_TO_THE_STORE:
            continue
        if parameter.kind == "composite":
            for path in below_root(parameter):
                step = Step(combine(parameter, path, bases), _themselves, (parameter.code,))
                steps.setdefault(path.keys[0] if path.keys else "", {})[object()] = step
            continue
        for path in compile_paths(parameter.expression, type):
            convert = KINDS[parameter.kind].converter(path.fhir_type, bases)
            if convert is not None:
                _add(steps.setdefault(path.keys[0] if path.keys else "", {}), path, convert, parameter, bases)
    if parameters.containing(type) is not None:
        steps.setdefault("contained", {})[object()] = Step(_contained, _themselves, (CONTAINED,))
    by_key = {key: tuple(found.values()) for key, found in steps.items()}
    return Plan(by_key, by_key.pop("", ()), parameters.order_date(type), linking("Patient", type, parameters))


def _contained(document: dict[str, Any]) -> list[Value]:
    """The types of the resources that the document contains."""
    return [TokenValue("", inner["resourceType"]) for inner in document["contained"]]


def _themselves(values: Sequence[Value]) -> list[Value]:
    return list(values)


Reader = Callable[[dict[str, Any]], list[Value] | None]
"""A document -> its values of one parameter, each once; None where it lacks the element."""


def reader_of(parameter: SearchParameter, bases: Bases) -> Reader:
    """What reads the values of one parameter by itself."""
    steps = []
    for path in compile_paths(parameter.expression, parameter.type):
        convert = KINDS[parameter.kind].converter(path.fhir_type, bases)
        if convert is not None:
            steps.append(Step(forgiving(path.get, parameter), forgiving(convert, parameter), (parameter.code,)))

    def read(document: dict[str, Any]) -> list[Value] | None:
        values: dict[str, list[Value]] = {}
        take(tuple(steps), document, values)
        found = values.get(parameter.code)
        return None if found is None else list(dict.fromkeys(found))

    return read


def _add(steps: dict[object, Step], path: Path, convert: Converter, parameter: SearchParameter, bases: Bases) -> None:
    """One more step, or one more code for the step that makes the same values of the same place. Where a client's own expression fails
    on a document, that has no value."""
    if parameter.custom and not path.plain:
        steps[object()] = Step(forgiving(path.get, parameter), forgiving(convert, parameter), (parameter.stored,))
        return
    same = (path.keys, path.fhir_type, parameter.kind) if path.plain else object()
    before = steps.get(same)
    codes = (*before.codes, parameter.stored) if before else (parameter.stored,)
    steps[same] = Step(path.get, convert, codes, tuple(_facets(path, codes, parameter.kind, bases)))


def _facets(path: Path, codes: tuple[str, ...], kind: str, bases: Bases) -> Iterator[tuple[Converter, tuple[str, ...]]]:
    for modifier, facet in MODIFYING.items():
        convert = facet.converter(path.fhir_type, bases) if kind == facet.KIND else None
        if convert is not None:
            yield convert, tuple(f"{code}:{modifier}" for code in codes)
