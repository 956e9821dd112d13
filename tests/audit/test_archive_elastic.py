"""AuditEvents that are archived and removed leave an index outside the store too: a real Elasticsearch."""

import asyncio
import secrets
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from audit.conftest import SECRET, lived
from contracts.store_harness import EVENT
from indexing.feed_harness import sweep
from indexing.serving import SlowWay
from services.running import service

from fhir_server.app import open_context
from fhir_server.auditing import archive as archiving
from fhir_server.auditing import retention
from fhir_server.auditing.keys import signing_key
from fhir_server.auditing.retention import DAY, Retention
from fhir_server.config import Settings, load_settings
from fhir_server.context import Context
from resources.instants import now
from resources.store import StoreUnavailable
from smart_auth.sealing import Sealer


@pytest.fixture
def prefix() -> Iterator[str]:
    """A prefix of the test's own; its indices are gone at the end."""
    made = f"archive{secrets.token_hex(4)}"
    yield made
    asyncio.run(sweep(service("elasticsearch"), made))


def settings_of(folder: Path, url: str, prefix: str) -> Settings:
    """A server with a history of 24 events, which are removed when they are two days old."""
    asyncio.run(lived(folder, 12))
    chosen = {"data_dir": folder, "audit_archive": folder / "archive", "audit_retention_days": 2, "secret": SECRET.decode()}
    return load_settings(chosen | {"search_url": url, "search_prefix": prefix, "search_wait": 60})


class Gate(SlowWay):
    """A way to Elasticsearch on which no answer comes while it is `closed`."""

    closed = False

    async def _pump(self, reader: StreamReader, writer: StreamWriter, slow: bool) -> None:
        while piece := await reader.read(65_536):
            while slow and self.closed:  # noqa: ASYNC110 (another thread opens it)
                await asyncio.sleep(0.01)
            writer.write(piece)
            await writer.drain()


async def retaining(ctx: Context) -> Retention:
    """What a server does by itself, three days later."""
    key = await signing_key(ctx.store, Sealer(SECRET), None)
    return Retention(replace(ctx, clock=lambda: now() + 3 * DAY), key, {str(key.thumbprint()): key})


async def stored(ctx: Context) -> set[str]:
    until = await ctx.store.position()
    return {version.id async for part in ctx.store.scan(["AuditEvent"], until=until) for version in part}


async def indexed(ctx: Context) -> set[str]:
    """The ids of the AuditEvents that Elasticsearch has."""
    assert ctx.feed is not None
    await ctx.feed.ready(60)
    await ctx.feed.indices.refresh("AuditEvent")
    return {id async for part in ctx.feed.indices.contents("AuditEvent") for _, id in part}


def test_a_server_removes_them_from_elasticsearch(tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the archive and no others; what is written meanwhile and later is found."""
    monkeypatch.setattr(archiving, "MOST", 8)
    settings = settings_of(tmp_path, service("elasticsearch"), prefix)

    async def test() -> None:
        async with open_context(settings) as ctx:
            before = await stored(ctx)
            assert await indexed(ctx) == before and len(before) == 24
            await ctx.store.commit((), events=[EVENT])
            await (await retaining(ctx)).once()
            left = await stored(ctx)
            assert 0 < len(left) < 5 and not left <= before
            assert await indexed(ctx) == left
            await ctx.store.commit((), events=[EVENT])
            assert await indexed(ctx) == await stored(ctx) > left

    asyncio.run(test())


def test_they_leave_it_later_where_it_is_late(tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Elasticsearch does not answer in time they are removed from it in the next round, though there is nothing more to archive."""

    async def test(way: Gate) -> None:
        async with open_context(settings) as ctx:
            before = await indexed(ctx)
            made = await retaining(ctx)
            way.closed = True
            await ctx.store.commit((), events=[EVENT])
            monkeypatch.setattr(retention, "_INDEXED", 0.3)
            with pytest.raises(StoreUnavailable):
                await made.once()
            monkeypatch.undo()
            way.closed = False
            left = await stored(ctx)
            assert len(left) < 5
            assert await indexed(ctx) >= before
            await made.once()
            assert await indexed(ctx) == left

    with Gate(urlsplit(service("elasticsearch")).port or 0) as way:
        settings = settings_of(tmp_path, way.url, prefix)
        asyncio.run(test(way))
