"""One parameter of a query string, `name=value`, as a Condition: a plain clause, a chain, or a reverse chain.

subject:Patient.name=ann            a chain; each link is a reference parameter, with the type it leads to where that is open
subject.name=ann                    the same for every type that the reference may lead to and that has the rest
_has:Observation:patient:code=1     a reverse chain; what follows the third colon may be a chain, or another _has
"""

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.load import definitions
from search.clauses import Notes, read_clause
from search.expansion.conditions import expanded
from search.parameter import SearchParameter
from search.parameters import Parameters
from search.query import AnyOf, Chain, Condition, Has
from search.reading.filters import read_filter
from search.reading.hints import a, close_to
from search.reading.lists import read_list
from search.text.conditions import TEXTS, read_text
from search.types.text import Reading

MAX_LINKS = 10
"""Most links that one chain may have."""

MAX_WAYS = 200
"""Most combinations of types that a chain without types may stand for."""

MAX_WAYS_TOGETHER = 2_000
"""Most of them in one query."""


@dataclass(slots=True)
class _Asked:
    """What all parts of one parameter share. `ways` counts the combinations of types met so far."""

    name: str
    value: str
    parameters: Parameters
    reading: Reading
    notes: Notes
    ways: int = 0


def read_condition(type: str, name: str, value: str, parameters: Parameters, reading: Reading, notes: Notes) -> Condition | None:
    """The Condition of `name=value` on documents of `type`; None if there is none to apply, with the reason in `notes`."""
    return _read(_Asked(name, value, parameters, reading, notes), type, name, 0)


def _read(asked: _Asked, type: str, name: str, depth: int) -> Condition | None:
    if depth > MAX_LINKS:
        asked.notes.refuse(asked.name, f"{asked.name} has more than {MAX_LINKS} links", "too-costly")
        return None
    if name.partition(":")[0] == "_has":
        return _has(asked, type, name, depth)
    first, dot, rest = name.partition(".")
    if dot and ":_has" not in first:
        return _chain(asked, type, first, rest, depth)
    if first.partition(":")[0] in TEXTS:
        return read_text(type, first, asked.value, asked.parameters, asked.notes, shown=asked.name)
    if first.partition(":")[0] == "_list":
        return read_list(first, asked.value, asked.parameters, asked.notes, asked.name)
    if first.partition(":")[0] == "_filter":
        return read_filter(type, first, asked.value, asked.parameters, asked.reading, asked.notes, asked.name)
    clause = read_clause(type, name, asked.value, asked.parameters, asked.reading, asked.notes, shown=asked.name)
    return expanded(clause, asked.parameters) if clause is not None else None


def _has(asked: _Asked, type: str, name: str, depth: int) -> Condition | None:
    parts = name.split(":", 3)
    if len(parts) < 4 or not parts[3]:
        asked.notes.refuse(
            asked.name, f"{asked.name}: write _has:Type:reference:parameter=value, as in _has:Observation:patient:code=1234"
        )
        return None
    _, source, code, rest = parts
    if source not in asked.parameters.types:
        near = close_to(source, asked.parameters.types, 1)
        asked.notes.refuse(asked.name, f"{asked.name}: {source[:100]!r} is no resource type of FHIR R4{near}")
        return None
    reference = asked.parameters.find(source, code)
    if reference is None or not reference.includable:
        asked.notes.pass_over(asked.name, f"{asked.name}: {_no_link(asked, source, code)}")
        return None
    if reference.targets and type not in reference.targets:
        asked.notes.refuse(asked.name, f"{asked.name}: {source}.{code} never refers to {a(type)}")
        return None
    inner = _read(asked, source, rest, depth + 1)
    return Has(source, (reference,), (inner,)) if inner is not None else None


def _chain(asked: _Asked, type: str, first: str, rest: str, depth: int) -> Condition | None:
    code, _, named = first.partition(":")
    reference = asked.parameters.find(type, code)
    if reference is None or not reference.includable:
        asked.notes.pass_over(asked.name, f"{asked.name}: {_no_link(asked, type, code)}")
        return None
    if named:
        if named not in asked.parameters.types or (reference.targets and named not in reference.targets):
            hint = close_to(named, reference.targets or asked.parameters.types)
            known = named in asked.parameters.types
            wrong = f"{type}.{code} never refers to {a(named)}" if known else f"{named[:100]!r} is no resource type of FHIR R4"
            asked.notes.refuse(asked.name, f"{asked.name}: {wrong}{hint}")
            return None
        inner = _read(asked, named, rest, depth + 1)
        return Chain((reference,), named, (inner,)) if inner is not None else None
    return _open_chain(asked, reference, rest, depth)


def _open_chain(asked: _Asked, reference: SearchParameter, rest: str, depth: int) -> Condition | None:
    """A link that may lead to several types: to each that has the rest. What is wrong for all of them is wrong."""
    found: list[Condition] = []
    refused: list[Notes] = []
    targets = reference.targets or definitions().resource_types
    for target in targets:
        asked.ways += 1
        asked.notes.spent.ways += 1
        if asked.ways > MAX_WAYS or asked.notes.spent.ways > MAX_WAYS_TOGETHER:
            _too_many_ways(asked, f"{reference.code}:{target}.{rest[:60]}")
            return None
        notes = Notes(guess=asked.notes.guess and len(targets) == 1, spent=asked.notes.spent)
        inner = _Asked(asked.name, asked.value, asked.parameters, asked.reading, notes, asked.ways)
        condition = _read(inner, target, rest, depth + 1)
        asked.ways = inner.ways
        if condition is not None:
            found.append(Chain((reference,), target, (condition,)))
            continue
        costly = [issue for issue in notes.issues if issue.code == "too-costly"]
        if costly:  # the other types alone would be half an answer
            asked.notes.issues.append(costly[0])
            return None
        refused.append(notes)
    if not found:
        _refuse_all(asked, reference, rest, refused)
        return None
    return found[0] if len(found) == 1 else AnyOf(tuple(found))


def _too_many_ways(asked: _Asked, named: str) -> None:
    who = asked.name if asked.ways > MAX_WAYS else f"{asked.name}, with the chains before it,"
    asked.notes.refuse(asked.name, f"{who} may lead to too many types; name them, as in {named}", "too-costly")


def _refuse_all(asked: _Asked, reference: SearchParameter, rest: str, refused: Sequence[Notes]) -> None:
    """One reason for all: the most telling one, that of a type which does have the parameter but cannot take the value."""
    issues = [issue for notes in refused for issue in notes.issues]
    values = [issue for issue in issues if issue.code == "value"]
    if values:
        asked.notes.issues.append(values[0])
        return
    if len(refused) == 1:
        asked.notes.pass_over(asked.name, issues[0].text.partition(". Send 'Prefer")[0])
        return
    asked.notes.pass_over(asked.name, f"{asked.name}: none of the types that {reference.code} may refer to has {rest[:100]!r}")


def _no_link(asked: _Asked, type: str, code: str) -> str:
    """Why a code cannot be a link of a chain."""
    if asked.parameters.find(type, code) is not None:
        return f"{type}.{code} is no reference that can be followed to another resource"
    close = (
        [c for c in asked.parameters.suggest(type, code) if asked.parameters.of(type)[c].includable] if asked.notes.guess else []
    )
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    return f"{type} has no reference parameter {code[:100]!r}{hint}"
