"""Chains that lead into contained resources: a chained condition is evaluated inside these too
(https://hl7.org/fhir/R4/search.html#contained).

No index has what a document refers to by a fragment. So the documents that contain the type which a chain leads to are read, as far as the
query's other clauses leave any, and those for which the chain holds inside are named by their ids beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fhir_server.context import Context
from fhir_server.searching.codes import with_codes
from fhir_server.searching.value_sets import ValueSets
from resources.store import Version
from search.contained import Container, Settling, reading
from search.index import TooCostly
from search.match import matches
from search.query import AnyOf, Chain, Clause, Condition, Has, Modifier, Negation, Query, Term, Text, types_of
from search.values import TokenValue

MOST_READ = 5_000
"""Documents that one chain may have to be looked at inside."""

_BATCH = 100

Scope = tuple[str, bool]
"""The type of documents that chains begin at, and whether these are what is searched for (else what other conditions lead to)."""


async def searchable(ctx: Context, query: Query, sets: ValueSets | None = None) -> Query:
    """The query as an index can carry it out: codes in place of what names them, and chains that find what is contained as well.
    `sets` as in `with_codes`.

    Raises FhirError 400 for codes that are not known here, TooCostly where too many documents would have to be looked at inside.
    """
    query = await with_codes(ctx, query, sets)
    if not types_of(query.clauses):
        return query
    into = _Into(ctx, query)
    _note(query.clauses, into.targets, top=True)
    return replace(query, clauses=tuple([await into.condition(each, top=True) for each in query.clauses]))


def _note(conditions: Sequence[Condition], targets: dict[Scope, set[str]], *, top: bool) -> None:
    """Which types the chains of each scope lead to."""
    for each in conditions:
        if isinstance(each, Chain):
            targets.setdefault((each.parameters[0].type, top), set()).add(each.target)
        if isinstance(each, Negation):
            _note((each.condition,), targets, top=top)
        elif not isinstance(each, Clause | Text):
            _note(each.conditions, targets, top=top and not isinstance(each, Chain | Has))


@dataclass(slots=True)
class _Into:
    """For one query; whether there is anything to look into is found out once for each scope."""

    ctx: Context
    query: Query
    targets: dict[Scope, set[str]] = field(default_factory=dict)
    _known: dict[Scope, bool] = field(default_factory=dict)

    async def condition(self, condition: Condition, *, top: bool) -> Condition:
        """The condition with what holds inside; `top`: whether it is about the documents that are searched for."""
        if isinstance(condition, Clause | Text):
            return condition
        if isinstance(condition, Negation):
            return Negation(await self.condition(condition.condition, top=top))
        deeper = top and not isinstance(condition, Chain | Has)
        made = replace(condition, conditions=tuple([await self.condition(each, top=deeper) for each in condition.conditions]))
        ids = await self._holding(condition, top) if isinstance(condition, Chain) else []
        if not ids or not isinstance(condition, Chain):
            return made
        parameter = self.ctx.parameters.of(condition.parameters[0].type)["_id"]
        return AnyOf((made, Clause(parameter, Modifier.NONE, tuple([Term(TokenValue("", id)) for id in ids]))))

    async def _holding(self, chain: Chain, top: bool) -> list[str]:
        """The ids of the documents that refer to something contained for which the chain's conditions hold."""
        scope = chain.parameters[0].type, top
        if scope not in self._known:
            first = self._candidates(scope, self.targets[scope])
            self._known[scope] = first is not None and bool((await self.ctx.index.search(replace(first, count=1))).keys)
        query = self._candidates(scope, {chain.target}) if self._known[scope] else None
        ids: list[str] = []
        read = 0
        while query is not None:
            found = await self.ctx.index.search(query)
            versions = [v for v in await self.ctx.store.read_many(found.keys) if v is not None and v.body is not None]
            ids += await self._inside(chain, versions)
            read += len(found.keys)
            if found.cursor is not None and read >= MOST_READ:
                where = f"more than {MOST_READ} {scope[0]} resources contain a resource of type {chain.target}"
                raise TooCostly(
                    f"A chain to {chain.target} leads into contained resources, but {where}; narrow the search otherwise"
                )
            query = replace(query, cursor=found.cursor) if found.cursor is not None else None
        return ids

    def _candidates(self, scope: Scope, targets: set[str]) -> Query | None:
        """What finds the documents of the scope that contain one of these types; None if such documents contain nothing."""
        type, top = scope
        containing, query = self.ctx.parameters.containing(type), self.query
        if containing is None:
            return None
        terms = tuple([Term(TokenValue("", target)) for target in sorted(targets)])
        plain = [clause for clause in query.clauses if isinstance(clause, Clause)] if top else []
        clauses = (Clause(containing, Modifier.NONE, terms), *plain)
        return Query(type, clauses, query.compartments if top else (), count=_BATCH, total="none", allowed=query.allowed)

    async def _inside(self, chain: Chain, versions: Sequence[Version]) -> list[str]:
        asked = Query(chain.parameters[0].type, (chain,), allowed=self.query.allowed)
        extractor = reading(asked, self.ctx.extractor)
        containers = [Container(version, extractor) for version in versions]
        settled = await Settling(self.ctx.index, self.ctx.parameters, asked, containers).settled()
        return [each.version.id for each in containers if matches(settled, each.itself, each)]
