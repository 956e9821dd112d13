"""Entries of a List that are flagged `deleted` are no longer items of it (https://hl7.org/fhir/R4/list-definitions.html#List.entry.deleted):
`_list` leaves out what is in the List by such entries only.

No index has the flag. So the Lists that a query names are read, and what each has by flagged entries alone is taken off by its id.
"""

from collections.abc import Sequence
from dataclasses import replace

from fhir_server.context import Context
from resources.documents import decode
from resources.store import Key
from search.query import AllOf, AnyOf, Chain, Clause, Condition, Has, Modifier, Negation, Query, Term, Text
from search.reading.lists import Listed
from search.values import ReferenceValue, TokenValue

Flagged = dict[str, frozenset[str]]
"""What Lists have by entries flagged `deleted` alone (`Type/id`), by the id of the List."""


async def without_deleted(ctx: Context, query: Query, known: Flagged) -> Query:
    """The query with what Lists flag as deleted taken off; itself where it names no List. `known` is shared by a request's queries."""
    named = dict.fromkeys(id for listed in _lists(query.clauses) for id in _ids(listed))
    unread = [id for id in named if id not in known]
    for id, version in zip(unread, await ctx.store.read_many([Key("List", id) for id in unread]) if unread else (), strict=True):
        known[id] = _flagged(ctx, version.body) if version is not None and version.body is not None else frozenset()
    if not any(known[id] for id in named):
        return query
    return replace(query, clauses=tuple(_taken(ctx, condition, query.type, known) for condition in query.clauses))


def _lists(conditions: Sequence[Condition]) -> list[Listed]:
    found: list[Listed] = []
    for condition in conditions:
        if isinstance(condition, Listed):
            found.append(condition)
        elif isinstance(condition, Negation):
            found += _lists((condition.condition,))
        elif not isinstance(condition, Clause | Text):
            found += _lists(condition.conditions)
    return found


def _ids(listed: Listed) -> list[str]:
    return [term.value.code for term in listed.named.terms if isinstance(term.value, TokenValue)]


def _flagged(ctx: Context, body: bytes) -> frozenset[str]:
    if b'"deleted"' not in body:  # most Lists: they need not be decoded
        return frozenset()
    document = decode(body)
    entries = document.get("entry", ())
    flagged, other = ([e for e in entries if (e.get("deleted") is True) is wanted] for wanted in (True, False))
    gone, kept = (
        {
            value.target
            for value in ctx.extractor.extract("List", {**document, "entry": part}).values.get("item", ())
            if isinstance(value, ReferenceValue)
        }
        for part in (flagged, other)
    )
    return frozenset(gone - kept)


def _taken(ctx: Context, condition: Condition, type: str, known: Flagged) -> Condition:
    """A condition on documents of the type."""
    if isinstance(condition, Clause | Text):
        return condition
    if isinstance(condition, Negation):
        return Negation(_taken(ctx, condition.condition, type, known))
    if isinstance(condition, Listed):
        return _items(ctx, condition, type, known)
    inner = condition.target if isinstance(condition, Chain) else condition.source if isinstance(condition, Has) else type
    return replace(condition, conditions=tuple(_taken(ctx, each, inner, known) for each in condition.conditions))


def _items(ctx: Context, listed: Listed, type: str, known: Flagged) -> Condition:
    """The items of any of the Lists: of each without its own flagged ones, which may be items of another."""
    parts: list[Condition] = []
    whole: list[Term] = []
    for id, term in zip(_ids(listed), listed.named.terms, strict=True):
        gone = sorted(target.removeprefix(f"{type}/") for target in known[id] if target.startswith(f"{type}/"))
        if not gone:
            whole.append(term)
            continue
        taken = Clause(ctx.parameters.of(type)["_id"], Modifier.NOT, tuple(Term(TokenValue("", each)) for each in gone))
        parts.append(AllOf((listed.of((term,)), taken)))
    if whole:
        parts.append(listed.of(tuple(whole)))
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))
