"""A Query as an Elasticsearch query. Everything is a filter: nothing is scored, and what `search/match.py` says holds to the letter.

What a condition leads to in other documents (chains, `_has`) is looked up beforehand (`links.py`) and stands here as a list of
addresses.
"""

from collections.abc import Mapping, Sequence

from search.indexes.elastic.fields import path
from search.indexes.elastic.terms import EVERYTHING, NOTHING, TERMS, Json, any_of, instants, one_of
from search.indexes.elastic.texts import compile_text
from search.query import (
    FACETS,
    AllOf,
    Chain,
    Clause,
    Compartment,
    Condition,
    Grant,
    Grants,
    Has,
    Modifier,
    Negation,
    Query,
    Text,
    grants_of,
)

Links = Mapping[Condition, Json]
"""Chain or Has -> the query for the documents for which it holds."""

NO_LINKS: Links = {}


def compile_query(query: Query, links: Links = NO_LINKS) -> Json:
    """What the query's documents must satisfy."""
    conditions = [compile_condition(condition, links) for condition in query.clauses]
    return all_of([*conditions, *access_parts(query.type, query.compartments, query.allowed)])


def all_of(parts: Sequence[Json]) -> Json:
    """All of the queries must hold."""
    needed = [part for part in parts if part is not EVERYTHING]
    if any(part is NOTHING for part in needed):
        return NOTHING
    return {"bool": {"filter": needed}} if needed else EVERYTHING


def access_parts(type: str, compartments: Sequence[Compartment], allowed: Grants | None) -> list[Json]:
    """What an access decision asks of documents of the type."""
    parts: list[Json] = [_within(compartment) for compartment in dict.fromkeys(compartments)]
    if allowed is not None:
        parts.append(any_of([_grant(grant) for grant in grants_of(allowed, type)]))
    return parts


def _within(compartment: Compartment) -> Json:
    return {"term": {"patients": compartment.patient}}


def _grant(grant: Grant) -> Json:
    within = [_within(grant.compartment)] if grant.compartment is not None else []
    apart = [_not(each) for each in one_of("patients", sorted(grant.without))] if grant.without else []
    free = [_not({"exists": {"field": "patients"}})] if grant.free else []
    return all_of([*within, *apart, *free, *(_clause(clause) for clause in grant.clauses)])


def compile_condition(condition: Condition, links: Links) -> Json:
    """One condition of a query."""
    if isinstance(condition, Clause):
        return _clause(condition)
    if isinstance(condition, Negation):
        return _not(compile_condition(condition.condition, links))
    if isinstance(condition, Chain | Has):
        return links[condition]
    if isinstance(condition, Text):
        return compile_text(condition.expression, narrative=condition.narrative)
    parts = [compile_condition(each, links) for each in condition.conditions]
    return all_of(parts) if isinstance(condition, AllOf) else _any(parts)


def _any(parts: Sequence[Json]) -> Json:
    return EVERYTHING if any(part is EVERYTHING for part in parts) else any_of([part for part in parts if part is not NOTHING])


def _clause(clause: Clause) -> Json:
    code = clause.parameter.stored or clause.parameter.code
    if clause.modifier is Modifier.MISSING:
        if code in ("_id", "_lastUpdated"):
            return NOTHING if clause.missing else EVERYTHING
        there: Json = {"term": {"present": code}}
        return _not(there) if clause.missing else there
    found = any_of(_terms(clause, code))
    return _not(found) if clause.modifier is Modifier.NOT else found


def _terms(clause: Clause, code: str) -> list[Json]:
    if code == "_id":
        return one_of("id", (str(tuple(term.value)[1]) for term in clause.terms if not term.system_given or not term.value[0]))
    if code == "_lastUpdated":
        return instants("updated", clause.terms)
    kind = FACETS.get(clause.modifier, clause.parameter.kind)
    modifier = Modifier.NONE if clause.modifier in FACETS else clause.modifier
    facet = f":{clause.modifier}" if clause.modifier in FACETS else ""
    return TERMS[kind](f"{path(clause.parameter)}{facet}", modifier, clause.terms)


def _not(part: Json) -> Json:
    if part is EVERYTHING:
        return NOTHING
    return EVERYTHING if part is NOTHING else {"bool": {"must_not": [part]}}
