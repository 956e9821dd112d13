"""A Query evaluated on one document in memory: the oracle of every index's tests, and what references by criteria
mean within a transaction.

Straightforward on purpose: what it says is what a search means.
"""

from collections.abc import Sequence

from resources.store import Key
from search.query import Clause, Compartment, Grants, Modifier, Query, SortKey, grants_of
from search.types.kinds import KINDS
from search.values import DateValue, Entry, NumberValue, QuantityValue, TokenValue, Value

SortValue = str | int | float | None


def matches(query: Query, key: Key, entry: Entry, instant: int) -> bool:
    """Whether the document (its key, entry, and last update in microseconds since the epoch) is what the query asks for.

    Sort, page and includes do not matter.
    """
    if key.type != query.type or not allows(query.compartments, query.allowed, key, entry, instant):
        return False
    return _all_hold(query.clauses, key, entry, instant)


def allows(compartments: Sequence[Compartment], allowed: Grants | None, key: Key, entry: Entry, instant: int) -> bool:
    """Whether the document lies in all compartments and one of the grants holds for it (None: no grant is needed)."""
    if not all(compartment.patient in entry.patients for compartment in compartments):
        return False
    return allowed is None or any(
        (grant.compartment is None or grant.compartment.patient in entry.patients) and _all_hold(grant.clauses, key, entry, instant)
        for grant in grants_of(allowed, key.type)
    )


_KNOWN_TO_THE_STORE = frozenset(("_id", "_lastUpdated"))
"""What every document has."""


def _all_hold(clauses: Sequence[Clause], key: Key, entry: Entry, instant: int) -> bool:
    return all(_holds(clause, key, entry, instant) for clause in clauses)


def values_of(code: str, key: Key, entry: Entry, instant: int) -> Sequence[Value]:
    """A document's values of a parameter, `_id` and `_lastUpdated` included."""
    if code == "_id":
        return (TokenValue("", key.id),)
    if code == "_lastUpdated":
        return (DateValue(instant, instant + 1),)
    return entry.values.get(code, ())


def _holds(clause: Clause, key: Key, entry: Entry, instant: int) -> bool:
    code = clause.parameter.stored
    if clause.modifier is Modifier.MISSING:  # the element, not the value: https://hl7.org/fhir/R4/search.html#modifiers
        return (code not in entry.values and code not in _KNOWN_TO_THE_STORE) is clause.missing
    values = values_of(code, key, entry, instant)
    match = KINDS[clause.parameter.kind].match
    found = any(match(term, clause.modifier, value) for value in values for term in clause.terms)
    return found is not (clause.modifier is Modifier.NOT)


def sort_value(sort: SortKey, key: Key, entry: Entry, instant: int) -> SortValue:
    """What a document is sorted by: its smallest value, or its largest when descending; None (no value) comes last in both.

    Microseconds for dates (their low end), folded text for strings, the code, target or URI, the number.
    """
    found = [_comparable(value) for value in values_of(sort.parameter.stored, key, entry, instant)]
    if not found:
        return None
    return max(found, key=_same_kind) if sort.descending else min(found, key=_same_kind)


def _comparable(value: Value) -> str | int | float:
    if isinstance(value, DateValue):
        return value.low
    if isinstance(value, NumberValue | QuantityValue):
        return value.value
    return value.code if isinstance(value, TokenValue) else value[0]


def _same_kind(value: str | int | float) -> tuple[float, str]:
    """All values of one parameter are of one kind; this says so to the comparison."""
    return (0.0, value) if isinstance(value, str) else (value, "")
