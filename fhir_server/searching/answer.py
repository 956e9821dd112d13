"""A search carried out, and its answer: a Bundle that tells what was done.

`self` has exactly the parameters that were applied, an OperationOutcome entry names those that were not and says when included resources
go on over further pages, the total is an estimate, or the search index lags behind.
Next links carry a signed cursor and need no state in the server.
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
from fhir_server.searching.included import Filled, Rest, filled, further, opened
from fhir_server.searching.into import searchable
from fhir_server.searching.value_sets import ValueSets
from resources.bundles import Mode, outcome_entry, search_entry, searchset
from resources.outcomes import Issue, counted, operation_outcome
from resources.store import Key, Version
from search.index import Result
from search.paging import page_context
from search.query import Parsed, Query

NO_SCORES: Mapping[Key, float | None] = {}


async def answer(ctx: Context, request: FhirRequest, asked: Asked) -> FhirResult:
    """200 with a searchset. Raises FhirError 400 for a page link of another search."""
    parsed = asked.first
    applied = urlencode(asked.applied)
    context = page_context(parsed) + asked.place.encode()
    late = await is_late(ctx, asked.queries, parsed.includes)
    begun, sets = time.perf_counter(), ValueSets(ctx)
    queries = [await searchable(ctx, query, sets) for query in asked.queries]
    found = await _filled(ctx, queries, parsed, context, asked.deadline)
    page, searched = found.page, time.perf_counter()
    cursor = ctx.cursors.seal((page.total, page.total_exact, *found.place), context) if found.place is not None else None
    links = page_links(asked.url, applied, cursor)
    matches, included = await present(ctx, page.keys), await present(ctx, found.included)
    if parsed.query.explain:
        took = f"the search took {(searched - begun) * 1e3:.1f} ms, reading its documents {(time.perf_counter() - searched) * 1e3:.1f} ms"
        text = f"{counted(len(matches), 'match', 'matches')} and {counted(len(included), 'included resource')}: {took}"
        page = replace(page, explained=(text, *page.explained))
    parsed = replace(parsed, hints=tuple(dict.fromkeys(hint for each in asked.parsed for hint in each.hints)))
    outcome = told(parsed, page, found.rest, late)
    scores = dict(zip(page.keys, page.scores, strict=False))
    entries = [
        *_entries(request.base, parsed, matches, "match", scores),
        *_entries(request.base, parsed, included, "include"),
        *outcome,
    ]
    return FhirResult(200, (searchset(entries, links=links, total=page.total),), told=(*matches, *included))


async def _filled(ctx: Context, queries: Sequence[Query], parsed: Parsed, context: bytes, deadline: float) -> Filled:
    """The page asked for with what it includes. The total is counted for the first page only; the others have it in their cursor."""
    rest, cursor, counted_before = None, None, None
    if parsed.cursor is not None and queries[0].count:
        total, exact, *place = ctx.cursors.open(parsed.cursor, context)
        assert (total is None or isinstance(total, int)) and isinstance(exact, bool)
        (rest, cursor), counted_before = opened(place), (total, exact)
        queries = [replace(query, total="none") for query in queries]

    async def find(count: int | None = None) -> Result:
        asked = queries if count is None else [replace(query, count=count, total="none", explain=False) for query in queries]
        if len(asked) > 1:
            return await page_across(ctx, asked, cursor, deadline)
        return await ctx.index.search(replace(asked[0], cursor=cursor))

    if rest is not None:
        found = await further(ctx, rest, cursor, parsed.includes)
    else:
        found = await filled(ctx, await find(), lambda _: parsed.includes, find)
    if counted_before is None:
        return found
    total, exact = counted_before
    return replace(found, page=replace(found.page, total=total, total_exact=exact))


def _entries(
    base: str, parsed: Parsed, versions: Sequence[Version], mode: Mode, scores: Mapping[Key, float | None] = NO_SCORES
) -> Iterator[bytes]:
    for version in versions:
        assert version.body is not None
        body = shorten(version.type, version.body, parsed.summary, parsed.elements)
        score = scores.get(Key(version.type, version.id)) if scores else None
        yield search_entry(base, version.type, version.id, body, mode, score)


def told(parsed: Parsed, page: Result, rest: Rest | None, late: bool) -> list[bytes]:
    """The entry that says what was not done, or only nearly, if anything."""
    issues = [Issue("warning", "not-supported", f"{name} was ignored: {reason}") for name, reason in parsed.ignored]
    if not page.total_exact:
        text = f"The total is an estimate: at least {page.total} match. With _total=accurate they are counted"
        issues.append(Issue("information", "informational", text))
    if late:
        issues.append(LATE)
    if rest is not None:
        text = f"{rest.type}/{rest.id} leads to more resources than one page may carry: the next pages have the rest"
        issues.append(Issue("information", "informational", f"{text}, and no match of their own"))
    issues += [Issue("information", "informational", text) for text in (*parsed.hints, *page.explained)]
    return [outcome_entry(operation_outcome(issues))] if issues else []
