"""Items written into the store through the portions of `$import`, or only looked at: the same checks either way."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from fhir_server.context import Context
from fhir_server.importing.fetching import Line
from fhir_server.importing.portions import Parsed, Writing, store_lines
from fhir_server.importing.portions import Wrong as Refused
from fhir_server.importing.portions import wrong as refused_by
from fhir_server.interactions.accept import accept
from fhir_server.messages import FhirRequest, Identity
from fhir_server.migrating.contract import Item
from fhir_server.migrating.digest import digest
from resources.outcomes import FhirError
from resources.store import Key

WHO = Identity("import", "import")
"""Whom AuditEvents name: the operator's command."""

_WEEK = 7 * 24 * 3_600_000_000


class Came(NamedTuple):
    """What came of items of one type: how many are new or changed, how many were there as they are, and what was refused."""

    written: int
    same: int
    wrong: tuple[Refused, ...]


class Receiver(Protocol):
    """Where items go."""

    async def take(self, part: int, type: str, items: Sequence[Item], digests: Sequence[bytes]) -> Came:
        """Write items of one type, no two of one id. Raises StoreUnavailable."""


class Storing:
    """The store. `run` names the migration: a portion that is written again after its process was killed changes nothing, and comes to
    the same."""

    def __init__(self, ctx: Context, run: str) -> None:
        request = FhirRequest("POST", "", base=ctx.settings.base)
        self._writing, self._run = Writing(ctx, WHO, request, "upsert", ctx.clock() + _WEEK), run

    async def take(self, part: int, type: str, items: Sequence[Item], digests: Sequence[bytes]) -> Came:
        """One commit."""
        name = f"migration\0{self._run}\0{part}\0{items[0].number}"
        lines = [Parsed(Line(item.number, item.body, 0), item.id) for item in items]
        came = await store_lines(self._writing, name, type, lines)
        return Came(came.written, came.same, came.wrong)


class Looking:
    """A dry run: everything is checked as if it were written, and compared with what is there."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = replace(ctx, settings=ctx.settings.model_copy(update={"reference_existence": "off"}))

    async def take(self, part: int, type: str, items: Sequence[Item], digests: Sequence[bytes]) -> Came:
        """Writes nothing."""
        refused = list[Refused]()
        good = list[tuple[Item, bytes]]()
        for item, hash in zip(items, digests, strict=True):
            await asyncio.sleep(0)
            try:
                await accept(self._ctx, type, item.body, item.id)
                good.append((item, hash))
            except FhirError as refusal:
                refused.append(refused_by(item.number, refusal))
        found = await self._ctx.store.read_many([Key(type, item.id) for item, _ in good]) if good else []
        same = sum(
            version is not None and version.body is not None and digest(version.body) == hash
            for (_, hash), version in zip(good, found, strict=True)
        )
        return Came(len(good) - same, same, tuple(refused))
