"""A search carried out, and its answer: a Bundle that tells what was done.

`self` has exactly the parameters that were applied, an OperationOutcome entry names those that were not and says when included resources
were cut off, the total is an estimate, or the search index lags behind. Next links carry a signed cursor and need no state in the server.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode

from fhir_server.context import Context
from fhir_server.interactions.answers import LATE, present, shorten
from fhir_server.messages import FhirRequest, FhirResult
from fhir_server.rest.query_string import page_links
from fhir_server.searching.across import page_across
from fhir_server.searching.asked import Asked
from fhir_server.searching.depending import is_late
from fhir_server.searching.into import searchable
from fhir_server.searching.value_sets import ValueSets
from resources.bundles import Mode, outcome_entry, search_entry, searchset
from resources.outcomes import Issue, counted, operation_outcome
from resources.store import Key, Version
from search.index import Included, Result
from search.paging import page_context
from search.query import Parsed, Query

_NOTHING = Included([])

NO_SCORES: Mapping[Key, float | None] = {}


async def answer(ctx: Context, request: FhirRequest, asked: Asked) -> FhirResult:
    """200 with a searchset. Raises FhirError 400 for a page link of another search."""
    parsed = asked.first
    applied = urlencode(asked.applied)
    context = page_context(parsed) + asked.place.encode()
    late = await is_late(ctx, asked.queries, parsed.includes)
    begun, sets = time.perf_counter(), ValueSets(ctx)
    page = await _page(ctx, [await searchable(ctx, query, sets) for query in asked.queries], parsed.cursor, context, asked.deadline)
    searched = time.perf_counter()
    cursor = ctx.cursors.seal((page.total, page.total_exact, *page.cursor), context) if page.cursor is not None else None
    links = page_links(asked.url, applied, cursor)
    matches, included, truncated = await _documents(ctx, parsed, page)
    if parsed.query.explain:
        took = f"the search took {(searched - begun) * 1e3:.1f} ms, reading its documents {(time.perf_counter() - searched) * 1e3:.1f} ms"
        found = f"{counted(len(matches), 'match', 'matches')} and {counted(len(included), 'included resource')}: {took}"
        page = replace(page, explained=(found, *page.explained))
    parsed = replace(parsed, hints=tuple(dict.fromkeys(hint for each in asked.parsed for hint in each.hints)))
    outcome = told(parsed, page, truncated, late, ctx.settings.include_limit)
    scores = dict(zip(page.keys, page.scores, strict=False))
    entries = [
        *_entries(request.base, parsed, matches, "match", scores),
        *_entries(request.base, parsed, included, "include"),
        *outcome,
    ]
    touched = tuple(f"{v.type}/{v.id}" for v in (*matches, *included))
    return FhirResult(200, (searchset(entries, links=links, total=page.total),), touched=touched)


async def _page(ctx: Context, queries: Sequence[Query], sealed: str | None, context: bytes, deadline: float) -> Result:
    """The page asked for. The total is counted for the first page only; the others have it in their cursor."""
    if sealed is None or queries[0].count == 0:
        return await (ctx.index.search(queries[0]) if len(queries) == 1 else page_across(ctx, queries, None, deadline))
    total, exact, *place = ctx.cursors.open(sealed, context)
    assert (total is None or isinstance(total, int)) and isinstance(exact, bool)
    if len(queries) == 1:
        result = await ctx.index.search(replace(queries[0], cursor=tuple(place), total="none"))
    else:
        result = await page_across(ctx, queries, tuple(place), deadline)
    return replace(result, total=total, total_exact=exact)


async def _documents(ctx: Context, parsed: Parsed, page: Result) -> tuple[list[Version], list[Version], bool]:
    """The documents of the page, those included, and whether some were left out. What was deleted since the search is dropped."""
    matches = await present(ctx, page.keys)
    extra = _NOTHING
    if parsed.includes and page.keys:
        extra = await ctx.index.include(page.keys, parsed.includes, limit=ctx.settings.include_limit)
    return matches, await present(ctx, extra.keys), extra.truncated


def _entries(
    base: str, parsed: Parsed, versions: Sequence[Version], mode: Mode, scores: Mapping[Key, float | None] = NO_SCORES
) -> Iterator[bytes]:
    for version in versions:
        assert version.body is not None
        body = shorten(version.type, version.body, parsed.summary, parsed.elements)
        score = scores.get(Key(version.type, version.id)) if scores else None
        yield search_entry(base, version.type, version.id, body, mode, score)


def told(parsed: Parsed, page: Result, truncated: bool, late: bool, limit: int) -> list[bytes]:
    """The entry that says what was not done, or only nearly, if anything."""
    issues = [Issue("warning", "not-supported", f"{name} was ignored: {reason}") for name, reason in parsed.ignored]
    if not page.total_exact:
        text = f"The total is an estimate: at least {page.total} match. With _total=accurate they are counted"
        issues.append(Issue("information", "informational", text))
    if late:
        issues.append(LATE)
    if truncated:
        text = f"More than {limit} resources were to be included (FHIR_INCLUDE_LIMIT); the rest is left out. Ask for fewer matches"
        issues.append(Issue("warning", "incomplete", f"{text} with _count, or search for them directly"))
    issues += [Issue("information", "informational", text) for text in (*parsed.hints, *page.explained)]
    return [outcome_entry(operation_outcome(issues))] if issues else []
