"""Single resources of a load, written as the portions of `$import` are: without a Bundle put together and taken apart again."""

import re
import time

import msgspec

from fhir_server.context import Context
from fhir_server.importing.fetching import Line
from fhir_server.importing.portions import Came, Parsed, Writing, store_lines
from fhir_server.importing.wrong import texts
from fhir_server.loading.answers import Answer, Problem, refused
from fhir_server.messages import FhirRequest, Identity
from fhir_server.permission import APPEND_ONLY
from resources.ids import valid_id
from resources.outcomes import FhirError
from resources.store import StoreUnavailable
from search.index import Deferring

LEASE = 60.0
"""Seconds for which types stay without an index while nothing more of them comes."""

KEPT = 7 * 86_400_000_000
"""Microseconds for which a portion is known to be written: a load that was interrupted may go on for as long."""

_BY_CRITERIA = re.compile(rb'"reference"\s*:\s*"[A-Za-z]+\?')
"""A reference that a transaction looks up."""


class _Request(msgspec.Struct):
    method: str
    url: str


class _Entry(msgspec.Struct):
    resource: msgspec.Raw
    request: _Request


class _Bundle(msgspec.Struct):
    type: str = ""
    entry: tuple[_Entry, ...] = ()


_bundle = msgspec.json.Decoder(_Bundle).decode


class Portions:
    """Writes them into the store of a Context."""

    def __init__(self, ctx: Context, *, first: bool) -> None:
        self._ctx, self._first = ctx, first
        self._deferred: dict[str, float] = {}

    async def store(self, body: bytes, key: str) -> Answer | None:
        """Write the resources of a transaction that the load has put together of single ones; None where it has to be carried out as
        such: something in it is to be looked up, or is nothing that can be put."""
        lines = self._lines(body)
        if lines is None:
            return None
        ctx = self._ctx
        try:
            came = await self._write(lines, key)
            position = await ctx.store.position()
        except FhirError as refusal:
            return refused(refusal.status, refusal.issues)
        except StoreUnavailable as problem:
            return Answer(0, (Problem(None, str(problem)),), True, True)
        problems = tuple(Problem(each.line, texts(each), each.issues) for each in came.wrong)
        return Answer(len(lines) - len(problems), problems, position=position)

    def _lines(self, body: bytes) -> list[Parsed] | None:
        ctx = self._ctx
        if ctx.settings.reference_existence == "on" or _BY_CRITERIA.search(body):
            return None
        lines = list[Parsed]()
        for number, entry in enumerate(_bundle(body).entry):
            type, slash, id = entry.request.url.partition("/")
            if type not in ctx.routes.types or type in APPEND_ONLY or (slash and not valid_id(id)):
                return None
            lines.append(Parsed(Line(number, bytes(entry.resource), 0), id or ctx.new_id(), type, not slash))
        return lines

    async def _write(self, lines: list[Parsed], key: str) -> Came:
        ctx, index = self._ctx, self._ctx.index
        later = index.later if self._first and isinstance(index, Deferring) else None
        if later is not None and isinstance(index, Deferring):
            types, now = {line.type for line in lines}, time.monotonic()
            if any(self._deferred.get(type, 0) < now for type in types):
                await index.defer(sorted(types), ctx.clock() + int(LEASE * 1e6))
                self._deferred |= dict.fromkeys(types, now + LEASE / 2)
        request = FhirRequest("POST", "", base=ctx.settings.base)
        writing = Writing(ctx, Identity("load", "load"), request, "upsert", ctx.clock() + KEPT, later)
        return await store_lines(writing, f"load\0{key}", "", lines)
