"""search: the resources of a type that match (https://hl7.org/fhir/R4/http.html#search, https://hl7.org/fhir/R4/search.html).

A Bundle tells what was done: `self` has exactly the parameters that were applied, an OperationOutcome entry names those that were
not and says when included resources were cut off, the total is an estimate, or the search index lags behind. Next links carry a signed
cursor and need no state in the server.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import urlencode

from fhir_server.context import Context
from fhir_server.interactions.answers import LATE, present, shorten
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.rest.negotiation import output
from fhir_server.rest.prefer import preferences
from fhir_server.rest.query_string import page_links
from resources.bundles import Mode, outcome_entry, search_entry, searchset
from resources.outcomes import Issue, bad_request, error, not_found, operation_outcome
from resources.store import Version
from search.index import Included, Result
from search.paging import page_context
from search.parse import parse
from search.query import Compartment, Parsed, types_of
from search.reading.includes import ends

_NOTHING = Included([])


async def search_type(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """GET [type]?… and POST [type]/_search: 200 with a searchset. Raises FhirError 400 with every wrong parameter."""
    return await _search(ctx, request, request.type, f"{request.base}/{request.type}", None)


async def search_compartment(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """GET Patient/[id]/[type]?…: what matches within one patient's compartment (https://hl7.org/fhir/R4/compartmentdefinition.html)."""
    if request.operation not in ctx.routes.types:
        raise not_found(f"{request.operation[:64]} is not a resource type, so {request.type}/{request.id} has no such part")
    url = f"{request.base}/{request.type}/{request.id}/{request.operation}"
    return await _search(ctx, request, request.operation, url, Compartment(request.id))


async def search_system(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """GET [base]?…: a search over several types, which this server does not do. Raises FhirError 400."""
    text = "A search over several resource types is not offered; search each type on its own, as in [base]/Patient?name=…"
    raise error(400, "not-supported", text)


async def _search(ctx: Context, request: FhirRequest, type: str, url: str, within: Compartment | None) -> FhirResult:
    parsed = parse(
        type,
        _asked(request),
        parameters=ctx.parameters,
        base_url=ctx.settings.bases,
        asked_at=request.base,
        lenient=preferences(request.headers).lenient,
        default_count=ctx.settings.default_count,
        max_count=ctx.settings.max_count,
    )
    if within is not None:
        parsed = replace(parsed, query=parsed.query.with_filter(within))
    applied = urlencode(parsed.applied)
    context = page_context(parsed) + (within.patient.encode() if within else b"")
    late = not await ctx.index.caught_up(_types(type, parsed))
    page = await _page(ctx, parsed, context)
    cursor = ctx.cursors.seal((page.total, page.total_exact, *page.cursor), context) if page.cursor is not None else None
    links = page_links(url, applied, cursor)
    matches, included, truncated = await _documents(ctx, parsed, page)
    outcome = _outcome(parsed, page, truncated, late, ctx.settings.include_limit)
    entries = [*_entries(request.base, parsed, matches, "match"), *_entries(request.base, parsed, included, "include"), *outcome]
    touched = tuple(f"{v.type}/{v.id}" for v in (*matches, *included))
    return FhirResult(200, (searchset(entries, links=links, total=page.total),), touched=touched)


def _types(type: str, parsed: Parsed) -> tuple[str, ...]:
    """All types that the answer depends on."""
    return (type, *sorted((ends(parsed.includes) | types_of(parsed.query.clauses)) - {type}))


def _asked(request: FhirRequest) -> str:
    """The whole query, undecoded: that of the URL and that of a form body."""
    query = request.query
    if request.body:
        try:
            form = request.body.decode("ascii").strip()
        except UnicodeDecodeError:
            raise bad_request("The form body must be percent encoded (application/x-www-form-urlencoded)") from None
        output(form, "")  # a `_format` in the form is refused as one in the URL is
        query = f"{query}&{form}" if query else form
    return query


async def _page(ctx: Context, parsed: Parsed, context: bytes) -> Result:
    """The page asked for. The total is counted for the first page only; the others have it in their cursor."""
    query = parsed.query
    if parsed.cursor is None or query.count == 0:
        return await ctx.index.search(query)
    total, exact, *place = ctx.cursors.open(parsed.cursor, context)
    assert (total is None or isinstance(total, int)) and isinstance(exact, bool)
    result = await ctx.index.search(replace(query, cursor=tuple(place), total="none"))
    return replace(result, total=total, total_exact=exact)


async def _documents(ctx: Context, parsed: Parsed, page: Result) -> tuple[list[Version], list[Version], bool]:
    """The documents of the page, those included, and whether some were left out. What was deleted since the search is dropped."""
    matches = await present(ctx, page.keys)
    extra = _NOTHING
    if parsed.includes and page.keys:
        extra = await ctx.index.include(page.keys, parsed.includes, limit=ctx.settings.include_limit)
    return matches, await present(ctx, extra.keys), extra.truncated


def _entries(base: str, parsed: Parsed, versions: Sequence[Version], mode: Mode) -> Iterator[bytes]:
    for version in versions:
        assert version.body is not None
        body = shorten(version.type, version.body, parsed.summary, parsed.elements)
        yield search_entry(base, version.type, version.id, body, mode)


def _outcome(parsed: Parsed, page: Result, truncated: bool, late: bool, limit: int) -> list[bytes]:
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
    return [outcome_entry(operation_outcome(issues))] if issues else []
