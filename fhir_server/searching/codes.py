"""`:in`, `:not-in`, `:above` and `:below` of tokens: clauses that name value sets and hierarchies become clauses that name codes.

Reading a query cannot ask the store; this step between reading and searching does (https://hl7.org/fhir/R4/search.html#modifiers).
"""

from collections.abc import Iterable
from dataclasses import replace

from fhir_server.context import Context
from fhir_server.searching.listed import without_deleted
from fhir_server.searching.value_sets import CannotExpand, Code, ValueSets, refusal
from search.parameter import SearchParameter
from search.query import NAMING_CODES, AllOf, AnyOf, Clause, Condition, Modifier, Negation, Query, Term, Text, leaves
from search.values import TokenValue, UriValue


async def with_codes(ctx: Context, query: Query, sets: ValueSets | None = None) -> Query:
    """The query with codes in place of what names them, and without what Lists flag as deleted; itself where it names neither. Raises
    FhirError 400 for what is not known here.

    The index must have caught up before (`searching.depending`), so that changes count at once. `sets` is shared by the queries of one
    request. Raises TooCostly for too many codes.
    """
    sets = sets or ValueSets(ctx)
    query = await without_deleted(ctx, query, sets.listed)
    if not names_codes(query):
        return query
    return replace(query, clauses=tuple([await _resolved(sets, condition) for condition in query.clauses]))


def names_codes(query: Query) -> bool:
    """Whether it has a clause that names a value set or a hierarchy."""
    return any(_names(leaf) for leaf in leaves(query.clauses))


def _names(leaf: Clause | Text) -> bool:
    return isinstance(leaf, Clause) and leaf.modifier in NAMING_CODES and leaf.parameter.kind == "token"


async def _resolved(sets: ValueSets, condition: Condition) -> Condition:
    if isinstance(condition, Clause | Text):
        return await _clause(sets, condition) if isinstance(condition, Clause) and _names(condition) else condition
    if isinstance(condition, Negation):
        return Negation(await _resolved(sets, condition.condition))
    return replace(condition, conditions=tuple([await _resolved(sets, each) for each in condition.conditions]))


async def _clause(sets: ValueSets, clause: Clause) -> Condition:
    codes: set[Code] = set()
    try:
        for term in clause.terms:
            codes |= await _codes(sets, clause.modifier, term)
    except CannotExpand as reason:
        raise refusal(f"{clause.parameter.code}:{clause.modifier}", reason) from None
    sets.take(len(codes))
    negative = clause.modifier is Modifier.NOT_IN
    if not codes:
        return AllOf(()) if negative else AnyOf(())
    return Clause(clause.parameter, Modifier.NOT if negative else Modifier.NONE, tuple(_terms(clause.parameter, codes)))


async def _codes(sets: ValueSets, modifier: Modifier, term: Term) -> set[Code]:
    if isinstance(term.value, UriValue):
        return await sets.codes(term.value.uri)
    assert isinstance(term.value, TokenValue)
    system, code = term.value
    return {(system, each) for each in await sets.related(system, code, below=modifier is Modifier.BELOW)}


def _terms(parameter: SearchParameter, codes: Iterable[Code]) -> Iterable[Term]:
    """Elements of type `code` hold no system: it follows from their binding (`SearchParameter.bound`)."""
    for system, code in sorted(codes):
        if system in parameter.bound:
            yield Term(TokenValue("", code))
        else:
            yield Term(TokenValue(system, code), system_given=True)
