"""`_typeFilter`: searches of a type, of which one must hold for its documents
(https://hl7.org/fhir/uv/bulkdata/export.html#_typefilter-query-parameter).

Conditions that a document fulfils by itself are told from the bytes of the snapshot. Those that look at other documents (chains,
`_has`, `_list`) are asked of the search index, while the export runs.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import msgspec

from fhir_server.context import Context
from fhir_server.exporting.given import Given
from fhir_server.searching.depending import is_late
from fhir_server.searching.into import searchable
from resources.documents import decode
from resources.outcomes import FhirError, bad_request
from resources.store import Key, StoreUnavailable, Version
from search.contained import reading
from search.extract import entry_of
from search.match import Alone, Document, matches
from search.parse import parse
from search.query import AllOf, AnyOf, Clause, Condition, Modifier, Parsed, Query, Term, Text, leaves, types_of
from search.text.words import text_of
from search.values import TokenValue

MOST = 50
"""Filters of one export."""

SHAPING = frozenset(
    ("_count", "_total", "_summary", "_elements", "_sort", "_include", "_revinclude", "_contained", "_containedType", "_cursor", "_explain",
     "_format", "_pretty")
)  # fmt: skip
"""What shapes the answer of a search, and so has no place in a filter."""

_NEXT = re.compile(r",(?=[A-Z][A-Za-z]{1,40}\?)")
"""Filters may stand one after the other with commas, as they did up to version 2.0."""


class Filter(msgspec.Struct, frozen=True):
    """A search of documents of a type: the query string, of which everything counts."""

    type: str
    query: str


def read_filters(
    ctx: Context, given: Given, base: str, types: frozenset[str], now: int, *, alone: bool = False
) -> tuple[Filter, ...]:
    """The filters of an export of these types. `alone`: they may ask of each document only what it says itself. Raises FhirError 400."""
    found = []
    texts = [text for value in given.values.get("_typeFilter", ()) for text in _NEXT.split(value)]
    if len(texts) > MOST:
        raise bad_request(f"There are {len(texts)} filters in _typeFilter; at most {MOST} are allowed", "_typeFilter", "too-costly")
    for text in texts:
        type, mark, query = text.strip().partition("?")
        if type not in ctx.routes.types or not mark:
            wrong = f"_typeFilter={text[:100]} is no search of a resource type, such as Patient?active=true"
            given.pass_over("_typeFilter", wrong, "value")
        elif type not in types:
            given.pass_over("_typeFilter", f"_typeFilter is about {type}, which this export does not have", "value")
        elif kept := _kept(ctx, given, base, type, query, now):
            if alone and types_of(parsed_filter(ctx, kept, base, now).query.clauses):
                wrong = "_typeFilter looks at other documents than those that it is about, which no de-identified export does"
                raise bad_request(wrong, "_typeFilter", "not-supported")
            found.append(kept)
    return tuple(found)


def _kept(ctx: Context, given: Given, base: str, type: str, query: str, now: int) -> Filter | None:
    """The filter as far as it can be applied."""
    try:
        parsed = parsed_filter(ctx, Filter(type, query), base, now, lenient=given.lenient)
    except FhirError as refusal:
        if refusal.status != 400 or not given.lenient:
            raise
        given.pass_over("_typeFilter", f"_typeFilter={type}?{query[:64]}: {refusal.issues[0].text}")
        return None
    applied = [(name, value) for name, value in parsed.applied if name.partition(":")[0] not in SHAPING]
    for name, _ in parsed.applied:
        if name.partition(":")[0] in SHAPING:
            given.pass_over("_typeFilter", f"_typeFilter has {name[:64]}, which shapes an answer and filters nothing")
    for name, reason in parsed.ignored:
        given.pass_over("_typeFilter", f"_typeFilter={type}?{name[:64]}: {reason}")
    if not applied:
        given.pass_over("_typeFilter", f"_typeFilter has no condition for {type}, so that it would filter nothing", "value")
        return None
    return Filter(type, urlencode(applied))


def parsed_filter(ctx: Context, filter: Filter, base: str, now: int, *, lenient: bool = False) -> Parsed:
    """A filter as a search; `now` is what `ap` measures from. Raises FhirError 400."""
    return parse(
        filter.type,
        filter.query,
        parameters=ctx.parameters,
        base_url=ctx.settings.bases,
        asked_at=base,
        lenient=lenient,
        now=lambda: now,
    )


Tell = Callable[[Version], bool]


@dataclass(frozen=True, slots=True)
class Filtering:
    """The filters of one type. `tell` decides by a document's own bytes; where it is None, `query` is asked of the index."""

    ctx: Context
    query: Query
    tell: Tell | None

    def after(self, hide: Callable[[Version], Version | None]) -> "Filtering":
        """The same, asked of what comes out of documents. Raises FhirError 400 where that cannot be."""
        tell = self.tell
        if tell is None:
            raise bad_request("_typeFilter looks at other documents, which no de-identified export does", code="not-supported")
        return replace(self, tell=lambda version: (shown := hide(version)) is not None and tell(shown))

    async def kept(self, versions: Sequence[Version]) -> list[Version]:
        """Those of the (live) versions for which one of the filters holds."""
        if self.tell is not None:
            return [version for version in versions if self.tell(version)]
        ids = tuple(Term(TokenValue("", version.id)) for version in versions)
        clause = Clause(self.ctx.parameters.of(self.query.type)["_id"], Modifier.NONE, ids)
        asked = Query(self.query.type, (*self.query.clauses, clause), count=len(ids), total="none")
        found = {key.id for key in (await self.ctx.index.search(asked)).keys} if ids else set()
        return [version for version in versions if version.id in found]


async def filtering(ctx: Context, filters: Sequence[Filter], type: str, base: str, now: int, position: int) -> Filtering | None:
    """What the filters say of a type; None where none is about it. Raises StoreUnavailable where the index lags behind `position`."""
    parsed = [parsed_filter(ctx, each, base, now).query for each in filters if each.type == type]
    if not parsed:
        return None
    whole = Query(type, (AnyOf(tuple(AllOf(query.clauses) for query in parsed)),))
    if types_of(whole.clauses) or any(isinstance(leaf, Clause) and leaf.modifier in _NAMING for leaf in leaves(whole.clauses)):
        if await is_late(ctx, (whole,), position=position):
            raise StoreUnavailable("The search index has not caught up with what is to be exported")
        whole = await searchable(ctx, whole)
    return Filtering(ctx, whole, None if types_of(whole.clauses) else _told(ctx, whole))


_NAMING = frozenset((Modifier.IN, Modifier.NOT_IN, Modifier.ABOVE, Modifier.BELOW))


def _told(ctx: Context, query: Query) -> Tell:
    """Decides by the members of a document that the conditions look at."""
    extractor = reading(query, ctx.extractor)
    found = list(leaves(query.clauses))
    whole = any(isinstance(leaf, Text) for leaf in found)
    plan = extractor.plan(query.type).only(frozenset(_codes(query.clauses)))
    read = decode if whole else plan.reader()

    def tell(version: Version) -> bool:
        assert version.body is not None
        document = read(version.body)
        entry = entry_of(plan, version.type, version.id, plan.values(document))
        if whole:
            entry.text = text_of(document)
        return matches(query, Document(Key(version.type, version.id), entry, version.instant), Alone())

    return tell


def _codes(conditions: Sequence[Condition]) -> Iterator[str]:
    for leaf in leaves(conditions):
        if isinstance(leaf, Clause):
            yield leaf.held
            yield leaf.parameter.stored
