"""history of a resource, a type, or everything (https://hl7.org/fhir/R4/http.html#history), newest version first.

Pages go on from a position in the commit order, so they are stable whatever is written meanwhile; the place is in a signed cursor.

`Bundle.total` (all matching versions, on whatever page) stands in the history of one resource and in what `_summary=count` and
`_count=0` answer. The pages of a type or the system do without: to count a million versions for each page costs more than the page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from fhir_server.context import Context
from fhir_server.interactions.answers import shape, shorten
from fhir_server.messages import FhirRequest, FhirResult, Identity
from fhir_server.rest.prefer import preferences
from fhir_server.rest.query_string import CURSOR, instant_range, page_links, page_size
from resources.bundles import bundle, history_entry
from resources.outcomes import bad_request, not_found
from resources.store import HistoryPage, Version
from search.parse import pairs_of

_PARAMETERS = ("_count", "_since", "_at", "_summary", "_elements", "_format", "_pretty")


@dataclass(frozen=True, slots=True)
class Asked:
    """The parameters of a history, read. Instants are in microseconds since the epoch."""

    count: int
    since: int | None
    at: tuple[int, int] | None
    summary: str | None
    elements: tuple[str, ...]
    applied: dict[str, str]
    cursor: str | None

    @property
    def only_count(self) -> bool:
        """Whether the total alone is wanted."""
        return self.count == 0 or self.summary == "count"


async def instance(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """All versions of one resource, its deletions too. Raises FhirError 404 if it never existed."""
    asked = _read(ctx, request)
    page = await _page(ctx, request, asked, request.type, request.id)
    if not page.versions and await ctx.store.read(request.type, request.id) is None:
        raise not_found(f"{request.type}/{request.id} does not exist and never did")
    return _answer(ctx, request, asked, page, await _count(ctx, asked, request.type, request.id))


async def type(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """All versions of all resources of one type."""
    return await _many(ctx, request, request.type)


async def system(ctx: Context, who: Identity, request: FhirRequest) -> FhirResult:
    """All versions of everything but the AuditEvents that the server wrote itself (they are in AuditEvent/_history)."""
    return await _many(ctx, request, None)


async def _many(ctx: Context, request: FhirRequest, type: str | None) -> FhirResult:
    asked = _read(ctx, request)
    page = await _page(ctx, request, asked, type, None)
    return _answer(ctx, request, asked, page, await _count(ctx, asked, type, None) if asked.only_count else None)


async def _count(ctx: Context, asked: Asked, type: str | None, id: str | None) -> int:
    return await ctx.store.count_history(type, id, since=asked.since, at=asked.at)


def _read(ctx: Context, request: FhirRequest) -> Asked:
    given = pairs_of(request.query)
    cursor = next((value for name, value in given if name == CURSOR), None)
    applied = {name: value for name, value in given if name in _PARAMETERS}
    unknown = [name for name, _ in given if name not in _PARAMETERS and name != CURSOR]
    if unknown and not preferences(request.headers).lenient:
        raise bad_request(f"A history has no parameter {unknown[0][:64]}; it has {', '.join(_PARAMETERS)}", code="not-supported")
    summary, elements = shape(given)
    since, at = _instants(applied)
    return Asked(page_size(ctx, applied.get("_count")), since, at, summary, elements, applied, cursor)


def _instants(applied: Mapping[str, str]) -> tuple[int | None, tuple[int, int] | None]:
    since = instant_range("_since", applied["_since"])[0] if "_since" in applied else None
    at = instant_range("_at", applied["_at"]) if "_at" in applied else None
    return since, at


async def _page(ctx: Context, request: FhirRequest, asked: Asked, type: str | None, id: str | None) -> HistoryPage:
    before = None
    if asked.cursor is not None:
        opened = ctx.cursors.open(asked.cursor, _context(request, asked))[0]
        assert isinstance(opened, int)
        before = opened
    if asked.only_count:
        return HistoryPage([], None)
    return await ctx.store.history(type, id, since=asked.since, at=asked.at, before=before, limit=asked.count)


def _context(request: FhirRequest, asked: Asked) -> bytes:
    """What a cursor belongs to: the same path and the same parameters."""
    return f"{request.path}?{urlencode(sorted(asked.applied.items()))}".encode()


def _answer(ctx: Context, request: FhirRequest, asked: Asked, page: HistoryPage, total: int | None) -> FhirResult:
    cursor = ctx.cursors.seal((page.next,), _context(request, asked)) if page.next is not None else None
    links = page_links(f"{request.base}/{request.path}", urlencode(asked.applied), cursor)
    entries = [history_entry(request.base, version, _shown(version, asked)) for version in page.versions]
    return FhirResult(200, (bundle("history", entries, links=links, total=total),), touched=_self(request), told=page.versions)


def _shown(version: Version, asked: Asked) -> bytes | None:
    return None if version.body is None else shorten(version.type, version.body, asked.summary, asked.elements)


def _self(request: FhirRequest) -> tuple[str, ...]:
    return (f"{request.type}/{request.id}",) if request.id else ()
