"""A Query evaluated on documents in memory: the oracle of every index's tests, and what references by criteria
mean within a transaction.

Straightforward on purpose: what it says is what a search means.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from resources.store import Key
from search.parameter import Canonical, SearchParameter
from search.query import AllOf, AnyOf, Chain, Clause, Compartment, Condition, Grants, Has, Modifier, Query, SortKey, Text, grants_of
from search.text.expression import holds
from search.types.canonical import Name, answers, names
from search.types.kinds import kind_of
from search.values import (
    DateValue,
    Entry,
    NumberValue,
    QuantityValue,
    ReferenceValue,
    StringValue,
    TokenValue,
    UriValue,
    Value,
)

SortValue = str | int | float | None


class Document(NamedTuple):
    """What an index knows of a document: its key, its entry, and its last update in microseconds since the epoch."""

    key: Key
    entry: Entry
    instant: int

    @property
    def name(self) -> str:
        """`Type/id`, as references name it."""
        return f"{self.key.type}/{self.key.id}"


class World(Protocol):
    """The other documents, which chains lead to."""

    def of_type(self, type: str) -> Iterable[Document]:
        """All documents of a type."""


class Alone:
    """No other documents."""

    def of_type(self, type: str) -> Iterable[Document]:
        """None."""
        return ()


def matches(query: Query, document: Document, world: World) -> bool:
    """Whether the document is what the query asks for. Sort, page and includes do not matter."""
    if document.key.type != query.type or not allows(query.compartments, query.allowed, document):
        return False
    return _Evaluation(query.allowed, world).all_hold(query.clauses, document)


def allows(compartments: Sequence[Compartment], allowed: Grants | None, document: Document) -> bool:
    """Whether the document lies in all compartments and one of the grants holds for it (None: no grant is needed)."""
    patients = document.entry.patients
    if not all(compartment.patient in patients for compartment in compartments):
        return False
    return allowed is None or any(
        (grant.compartment is None or grant.compartment.patient in patients)
        and grant.without.isdisjoint(patients)
        and not (grant.free and patients)
        and all(_clause_holds(clause, document) for clause in grant.clauses)
        for grant in grants_of(allowed, document.key.type)
    )


class _Evaluation:
    """Conditions on documents, of which those that are not allowed are not there."""

    def __init__(self, allowed: Grants | None, world: World) -> None:
        self._allowed, self._world = allowed, world

    def all_hold(self, conditions: Sequence[Condition], document: Document) -> bool:
        return all(self._holds(condition, document) for condition in conditions)

    def _holds(self, condition: Condition, document: Document) -> bool:
        if isinstance(condition, Clause):
            return _clause_holds(condition, document)
        if isinstance(condition, Text):
            text = document.entry.text
            return text is not None and holds(condition.expression, text, narrative=condition.narrative)
        if isinstance(condition, AllOf):
            return self.all_hold(condition.conditions, document)
        if isinstance(condition, AnyOf):
            return any(self._holds(each, document) for each in condition.conditions)
        if isinstance(condition, Chain):
            wanted = targets(condition.parameters, document)
            return any(
                other.name in wanted and self.all_hold(condition.conditions, other) for other in self._there(condition.target)
            )
        if isinstance(condition, Has):
            return any(
                document.name in targets(condition.parameters, other) and self.all_hold(condition.conditions, other)
                for other in self._there(condition.source)
            )
        return not self._holds(condition.condition, document)

    def _there(self, type: str) -> Iterable[Document]:
        return (other for other in self._world.of_type(type) if allows((), self._allowed, other))


def targets(parameters: Iterable[SearchParameter], document: Document) -> set[str]:
    """What a document refers to by these parameters: `Type/id` or a URL."""
    values = (value for parameter in parameters for value in values_of(parameter.stored, document))
    return {value.target for value in values if isinstance(value, ReferenceValue)}


def names_by_canonical(parameters: Iterable[SearchParameter], source: Document, end: Document) -> bool:
    """Whether one of the canonicals that the source has of these parameters is a URL, or URL and version, of the other document."""
    return any(
        not names(targets((parameter,), source)).keys().isdisjoint(_answered(canonical, end))
        for parameter in parameters
        for canonical in parameter.canonicals
        if canonical.type == end.key.type
    )


def _answered(canonical: Canonical, document: Document) -> Iterable[Name]:
    urls = [value.uri for value in values_of(canonical.url.stored, document) if isinstance(value, UriValue)]
    versions = [value.code for value in values_of(canonical.version.stored, document) if isinstance(value, TokenValue)]
    return answers(urls, versions)


_KNOWN_TO_THE_STORE = frozenset(("_id", "_lastUpdated"))
"""What every document has."""


def values_of(code: str, document: Document) -> Sequence[Value]:
    """A document's values of a parameter, `_id` and `_lastUpdated` included."""
    if code == "_id":
        return (TokenValue("", document.key.id),)
    if code == "_lastUpdated":
        return (DateValue(document.instant, document.instant + 1),)
    return document.entry.values.get(code, ())


def _clause_holds(clause: Clause, document: Document) -> bool:
    code = clause.parameter.stored
    if clause.modifier is Modifier.MISSING:  # the element, not the value: https://hl7.org/fhir/R4/search.html#modifiers
        return (code not in document.entry.values and code not in _KNOWN_TO_THE_STORE) is clause.missing
    values = values_of(clause.held, document)
    match = kind_of(clause.parameter, clause.modifier).match
    found = any(match(term, clause.modifier, value) for value in values for term in clause.terms)
    return found is not (clause.modifier is Modifier.NOT)


def sort_value(sort: SortKey, document: Document, world: World | None = None, allowed: Grants | None = None) -> SortValue:
    """What a document is sorted by: its smallest value, or its largest when descending; None (no value) comes last in both. A chained
    key looks into the `world`, of which `allowed` tells what is there.

    Microseconds for dates (their low end), folded text for strings, the code, target or URI, the number.
    """
    ends = [document]
    for via in sort.via:
        names = {name for end in ends for name in targets((via.parameter,), end)}
        others = world.of_type(via.target) if world is not None else ()
        ends = [other for other in others if other.name in names and allows((), allowed, other)]
    held = (value for end in ends for value in values_of(sort.parameter.stored, end))
    found = [_comparable(value) for value in held if not (isinstance(value, TokenValue) and not value.code)]
    if not found:
        return None
    return max(found, key=_same_kind) if sort.descending else min(found, key=_same_kind)


def _comparable(value: Value) -> str | int | float:
    if isinstance(value, DateValue):
        return value.low
    if isinstance(value, NumberValue | QuantityValue):
        return value.value
    assert isinstance(value, TokenValue | StringValue | ReferenceValue | UriValue)  # no others can be sorted by
    return value.code if isinstance(value, TokenValue) else value[0]


def _same_kind(value: str | int | float) -> tuple[float, str]:
    """All values of one parameter are of one kind; this says so to the comparison."""
    return (0.0, value) if isinstance(value, str) else (value, "")
