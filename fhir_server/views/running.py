"""A view run over what a caller may see: where its definition is, which documents it goes through, its rows as they come."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter

from fhir_server.access.views import seen
from fhir_server.context import Context
from fhir_server.interactions.answers import live, present
from fhir_server.messages import FhirRequest, Identity
from fhir_server.permission import require
from fhir_server.views.asked import MOST_ROWS, Asked
from fhir_server.views.compiler import View, compile_view
from fhir_server.views.finding import keys_of, versions_of
from fhir_server.views.making import HEAVY, Made, rows_of
from fhir_server.views.narrowing import Wanted, checked, cohort_of, wanted_of
from fhir_server.views.recording import Record
from fhir_server.views.rows import Row
from fhir_server.views.writers.formats import Writer
from resources import documents
from resources.ids import valid_id
from resources.outcomes import FhirError, bad_request, not_found, shown
from resources.store import ResourceStore, Version
from search.parse import parse

MOST_PATIENTS = 10_000
"""Patients that `patient` and `group` may name together."""

_ROWS = 2_000
"""Rows that are handed to a writer at a time."""

_AT_ONCE = 0.05
"""Seconds after which others have their turn."""

_KEPT = 64
"""Stored views whose compiled form is kept, for the next run."""

_LARGEST_KEPT = 50_000
"""Steps of compiling beyond which it is not: it would take some megabytes."""

_views: dict[bytes, View] = {}

_MEANING = re.compile(r"[\\,$|]")


async def find_view(ctx: Context, request: FhirRequest, asked: Asked) -> tuple[View, str]:
    """The view, and the reference to the version of it that is stored, "" if it was sent along. Raises FhirError 404 where it is not, 422
    where it cannot be run."""
    if asked.view is not None:
        return compile_view(asked.view), ""
    version = await stored_view(ctx, request, asked.reference)
    assert version.body is not None
    return _compiled(version.body), f"ViewDefinition/{version.id}/_history/{version.version}"


def _compiled(body: bytes) -> View:
    view = _views.pop(body, None) or compile_view(documents.decode(body))
    if view.steps <= _LARGEST_KEPT:
        _views[body] = view  # the one used last stands last
        if len(_views) > _KEPT:
            del _views[next(iter(_views))]
    return view


async def stored_view(ctx: Context, request: FhirRequest, reference: str) -> Version:
    """The ViewDefinition at a relative URL, one of this server, or with a canonical URL (`url|version`; the latest that was written).
    Raises FhirError 403, 404, 410."""
    type, _, id = reference.removeprefix(f"{request.base}/").partition("/")
    if type == "ViewDefinition":
        if not valid_id(id):
            raise not_found(f"There is no ViewDefinition at {shown(reference)}; write ViewDefinition/[id], or its url")
        require(ctx.decision, "r", type)
        return live(request.having(type=type, id=id), await as_caller(ctx, "r").store.read(type, id))
    require(ctx.decision, "s", "ViewDefinition")
    url, _, version = reference.partition("|")
    pairs = [("url", _plain(url)), *([("version", _plain(version))] if version else []), ("_count", "1"), ("_total", "none")]
    within = as_caller(ctx, "s")
    query = parse("ViewDefinition", pairs, parameters=ctx.parameters, base_url=ctx.settings.bases).query
    # a search without a value would find every view
    found = await present(within, (await within.index.search(query)).keys) if url.strip() else []
    if not found:
        raise not_found(f"There is no ViewDefinition with the url {shown(reference)}")
    return found[0]


def _plain(text: str) -> str:
    """A text as the value of a search, in which nothing means anything else (https://hl7.org/fhir/R4/search.html#escaping)."""
    return _MEANING.sub(r"\\\g<0>", text)


def as_caller(ctx: Context, letters: str) -> Context:
    """The Context of a caller for what needs these letters of a scope."""
    return ctx if ctx.decision is None else seen(ctx, ctx.decision, letters)


@dataclass(frozen=True, slots=True)
class Run:
    """A view, over the documents of a store (as whoever asks may see it) up to position `until` (0: the newest), or over `resources`,
    bytes of documents, such as those that were sent along. `wanted` says which versions count (None: all), `limit` how many rows there
    may be. `record` is told of the documents that rows are made of, and kept before these are handed on. `found` gives the documents of few
    patients, in place of going through the store."""

    view: View
    store: ResourceStore | None
    until: int = 0
    limit: int = MOST_ROWS
    resources: Iterable[bytes] | None = None
    wanted: Wanted | None = None
    record: Record | None = None
    found: AsyncGenerator[list[Version], None] | None = None

    async def rows(self) -> AsyncGenerator[list[Row], None]:
        """The rows, in lists of some thousands or some megabytes at most, no more than the limit; now and then an empty one, while none
        are found. Raises FhirError 422 for a document that the view does not go with."""
        left, held = self.limit, 0
        made: list[Row] = []
        began = perf_counter()
        async with aclosing(self._bodies()) as bodies:
            async for several in bodies:
                for id, body in several:
                    if perf_counter() - began > _AT_ONCE:
                        await asyncio.sleep(0)
                        yield []
                        began = perf_counter()
                    found = await self._rows_of(id, body)
                    made += found.rows
                    held += found.weight
                    if found.rows and id and self.record is not None:
                        self.record.of(self.view.resource, id, body)
                    if len(made) >= min(_ROWS, left) or held >= HEAVY:
                        await self._keep()
                        for part in _parts(made[:left]):
                            yield part
                        left, held, made = left - len(made), 0, []
                        if left <= 0:
                            return
        await self._keep()
        if made:
            yield made

    async def _rows_of(self, id: str, body: bytes) -> Made:
        """The rows of a document. An error tells of it as rows do, and is recorded as they are."""
        try:
            return await rows_of(self.view, body)
        except FhirError:
            if id and self.record is not None:
                self.record.of(self.view.resource, id, body)
                await self.record.keep()
            raise

    async def _keep(self) -> None:
        if self.record is not None:
            await self.record.keep()

    async def _bodies(self) -> AsyncGenerator[Iterable[tuple[str, bytes]], None]:
        """Documents with their ids; without where they are not from the store."""
        if self.resources is not None or self.store is None:
            yield (("", body) for body in self.resources or ())
            return
        until, wanted = self.until or await self.store.position(), self.wanted
        scanned = self.found or self.store.scan([self.view.resource], until=until)
        async with aclosing(scanned) as found:
            async for versions in found:
                yield [(v.id, v.body) for v in versions if v.body is not None and (wanted is None or wanted(v))]
                await asyncio.sleep(0)  # others have their turn


def _parts(rows: list[Row]) -> list[list[Row]]:
    return [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]


async def run_of(ctx: Context, who: Identity, request: FhirRequest, view: View, asked: Asked, record: Record) -> Run:
    """A run within what the caller may see. Raises FhirError 403 where that is nothing of the view's type, 400 for patients and 404 for
    Groups that are not there."""
    require(ctx.decision, "s", view.resource)
    within = as_caller(ctx, "s")
    await checked(within, asked.patients, status=400)
    cohort = await cohort_of(as_caller(ctx, "rs"), who, asked.patients, asked.groups, request.base, ctx.clock())
    if cohort is not None and len(cohort) > MOST_PATIENTS:
        text = f"group and patient name more than {MOST_PATIENTS} patients; $viewdefinition-export takes any number"
        raise bad_request(text, "group", "too-costly")
    wanted = _later(asked.since, wanted_of(within, view.resource, cohort, named=bool(asked.patients)))
    if asked.resources is not None:
        return Run(view, None, limit=asked.limit, resources=asked.resources, wanted=wanted, record=record)
    until = await within.store.position()
    keys = await keys_of(within, view.resource, cohort, until)
    found = versions_of(within, keys, until) if keys is not None else None
    return Run(view, within.store, until, limit=asked.limit, wanted=wanted, record=record, found=found)


def _later(since: int, wanted: Wanted | None) -> Wanted | None:
    """What was written after an instant ("include only resources modified after this instant"), and is wanted otherwise."""
    if not since:
        return wanted
    return lambda version: version.instant > since and (wanted is None or wanted(version))


async def written(run: Run, writer: Writer) -> AsyncGenerator[bytes, None]:
    """The rows of a run in a format; now and then an empty piece, while no rows are found."""
    yield writer.begin()
    async with aclosing(run.rows()) as found:
        async for rows in found:
            yield writer.write(rows)
    yield writer.end()
