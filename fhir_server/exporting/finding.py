"""What of patients' records the search index finds, and what was written since."""

from collections.abc import AsyncGenerator, Collection, Sequence

from fhir_server.access.types import BY_PATIENT
from fhir_server.access.views import stored
from fhir_server.context import Context
from resources.store import Key
from search.query import Clause, Compartment, Modifier, Query, Term
from search.values import ReferenceValue

_PAGE = 1_000


def compartment_query(ctx: Context, type: str, id: str) -> Query:
    """What finds the documents of a type in a patient's compartment, or, of types outside of it, those that name the patient."""
    if type in BY_PATIENT:
        parameter, term = ctx.parameters.of(type)["patient"], Term(ReferenceValue(f"Patient/{id}"))
        return Query(type, (Clause(parameter, Modifier.NONE, (term,)),), total="none")
    return Query(type, compartments=(Compartment(id),), total="none")


def provenances_query(ctx: Context, names: Sequence[str], base: str) -> Query:
    """What finds the Provenances of documents (`Type/id`), also those that name them by `base`, a FHIR base that was asked at and that the
    index may not know as this server's."""
    bases = ("", f"{base}/") if base and base not in ctx.settings.bases else ("",)
    terms = tuple(Term(ReferenceValue(f"{each}{name}")) for each in bases for name in names)
    return Query("Provenance", (Clause(ctx.parameters.of("Provenance")["target"], Modifier.NONE, terms),), total="none")


async def found_in_turn(ctx: Context, queries: Sequence[Query]) -> AsyncGenerator[Sequence[Key], None]:
    """All that the queries find, a page at a time. Raises StoreUnavailable, TooCostly."""
    cursor: tuple[object, ...] | None = None
    while queries:
        page = await ctx.index.search_in_turn(queries, count=_PAGE, cursor=cursor)
        yield page.keys
        if (cursor := page.cursor) is None:
            return


class Since:
    """Follows what is written or deleted of some types behind a position: asked after a search, it tells what has left a compartment
    before that."""

    def __init__(self, ctx: Context, types: Collection[str], position: int) -> None:
        self._store, self._types, self._position = stored(ctx), types, position

    async def fresh(self) -> AsyncGenerator[Sequence[Key], None]:
        """What came since it was asked last, some at a time. Raises StoreUnavailable."""
        if await self._store.position() == self._position:
            return
        async for versions in self._store.outbox(after=self._position):
            self._position = versions[-1].position
            yield [Key(each.type, each.id) for each in versions if each.type in self._types]
