"""Entries of a List that are flagged `deleted` are no longer items of it (https://hl7.org/fhir/R4/list-definitions.html#List.entry.deleted):
`_list` leaves out what is in the Lists by such entries only.

No index has the flag. So the Lists that a query names are read, and what all of them have by flagged entries alone is taken off by its id.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fhir_server.context import Context
from resources.documents import decode
from resources.store import Key, Version
from search.match import Document, allows
from search.query import AllOf, Chain, Clause, Condition, Grants, Has, Modifier, Negation, Query, Term, Text
from search.reading.lists import Listed
from search.values import ReferenceValue, TokenValue

Gone = Mapping[str, Sequence[str]]
"""The ids of what is no item, by type."""


@dataclass(slots=True)
class Flagged:
    """What one request's Lists flag: the Lists by their ids, each read once (None: there is none), and what some together have by flagged
    entries alone, under an access decision."""

    lists: dict[str, Version | None] = field(default_factory=dict)
    gone: dict[tuple[tuple[str, ...], Grants | None], Gone] = field(default_factory=dict)


async def without_deleted(ctx: Context, query: Query, known: Flagged) -> Query:
    """The query with what Lists flag as deleted taken off; itself where it names no List. `known` is shared by a request's queries."""
    conditions = _lists(query.clauses)
    unread = [id for id in dict.fromkeys(id for listed in conditions for id in _ids(listed)) if id not in known.lists]
    if unread:
        known.lists.update(zip(unread, await ctx.store.read_many([Key("List", id) for id in unread]), strict=True))
    gone = {listed: _gone(ctx, _ids(listed), query.allowed, known) for listed in conditions}
    if not any(gone.values()):
        return query
    return replace(query, clauses=tuple(_taken(ctx, condition, query.type, gone) for condition in query.clauses))


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


def _ids(listed: Listed) -> tuple[str, ...]:
    return tuple(term.value.code for term in listed.named.terms if isinstance(term.value, TokenValue))


def _gone(ctx: Context, ids: tuple[str, ...], allowed: Grants | None, known: Flagged) -> Gone:
    """What is flagged in one of the Lists, of those that may be seen, and kept by none."""
    key = (ids, allowed)
    if key not in known.gone:
        stored = [version for id in ids if (version := known.lists[id]) is not None and version.body is not None]
        bodies = [version.body or b"" for version in stored if allowed is None or _seen(ctx, version, allowed)]
        known.gone[key] = _flagged_alone(ctx, bodies)
    return known.gone[key]


def _seen(ctx: Context, version: Version, allowed: Grants) -> bool:
    entry = ctx.extractor.extract("List", {**decode(version.body or b"{}"), "id": version.id})
    return allows((), allowed, Document(Key("List", version.id), entry, version.instant))


def _flagged_alone(ctx: Context, bodies: Sequence[bytes]) -> Gone:
    flagged = {target for body in bodies if _may_flag(body) for target in _targets(ctx, _entries(body, deleted=True))}
    if not flagged:
        return {}
    ids = {target.rpartition("/")[2] for target in flagged}
    for body in bodies:
        flagged.difference_update(_targets(ctx, (entry for entry in _entries(body, deleted=False) if _names(entry, ids))))
    found: defaultdict[str, list[str]] = defaultdict(list)
    for target in sorted(flagged):
        type, _, id = target.partition("/")
        found[type].append(id)
    return found


def _may_flag(body: bytes) -> bool:
    """Most Lists flag nothing and need not be decoded. JSON may spell a member's name with escapes."""
    return b'"deleted"' in body or b"\\u" in body


def _entries(body: bytes, *, deleted: bool) -> Iterator[dict[str, Any]]:
    return (entry for entry in decode(body).get("entry", ()) if (entry.get("deleted") is True) is deleted)


def _names(entry: dict[str, Any], ids: set[str]) -> bool:
    """Whether its item may be one of these ids: whatever base and version it is written with, the id stands between slashes."""
    return not ids.isdisjoint(entry.get("item", {}).get("reference", "").split("/"))


def _targets(ctx: Context, entries: Iterable[dict[str, Any]]) -> set[str]:
    """Their items as `Type/id` where they are of this server, else as URLs."""
    values = ctx.extractor.extract("List", {"entry": list(entries)}).values.get("item", ())
    return {value.target for value in values if isinstance(value, ReferenceValue)}


def _taken(ctx: Context, condition: Condition, type: str, gone: Mapping[Listed, Gone]) -> Condition:
    """A condition on documents of the type."""
    if isinstance(condition, Clause | Text):
        return condition
    if isinstance(condition, Negation):
        return Negation(_taken(ctx, condition.condition, type, gone))
    if isinstance(condition, Listed):
        taken = tuple(Term(TokenValue("", id)) for id in gone[condition].get(type, ()))
        return AllOf((condition, Clause(ctx.parameters.of(type)["_id"], Modifier.NOT, taken))) if taken else condition
    inner = condition.target if isinstance(condition, Chain) else condition.source if isinstance(condition, Has) else type
    return replace(condition, conditions=tuple(_taken(ctx, each, inner, gone) for each in condition.conditions))
