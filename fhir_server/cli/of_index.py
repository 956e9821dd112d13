"""What `reindex` and `verify-index` begin with: the store open, the feed up to date, and the types that are meant."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fhir_server.cli.show import fail
from fhir_server.config import Settings

if TYPE_CHECKING:  # brings Elasticsearch's client along, which other commands need not
    from fhir_server.indexing.feed import Feed

PATIENCE = 60.0
"""Seconds for which Elasticsearch is waited for, and for which the index may take to catch up with the store."""


@asynccontextmanager
async def fed(settings: Settings, named: Sequence[str]) -> "AsyncIterator[tuple[Feed, list[str]]]":
    """The feed of the index in Elasticsearch, once it has caught up, and the types named, or all that the store has. Ends the command
    with a line where one is no type; raises StoreUnavailable."""
    from fhir_server.app import open_context
    from fhir_server.observability import configure_logging

    configure_logging("warning")  # failures without their words, which may quote documents
    async with open_context(settings) as ctx:
        feed = ctx.feed
        assert feed is not None
        unknown = [name for name in named if name not in ctx.parameters.types]
        if unknown:
            fail(f"{', '.join(unknown)}: no resource type of FHIR R4")
        await feed.ready(PATIENCE)
        yield feed, list(named) or await feed.types()
