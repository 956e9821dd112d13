"""Searches drawn from the sample data, carried out by each engine on a store that has it: what they find, count, sort, page and include
is what the oracle says. `long_run.py` beside this file does the same over whole populations."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from contracts.index_harness import TINY
from indexing.feed_harness import sweep
from population.asking import Asking, Search
from population.comparing import Refused, Verdict, compare, judged
from population.loading import load, oracle_of
from population.oracle import Oracle
from services.running import service

from fhir_server.app import open_context
from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.indexing import feed
from resources.documents import draft
from resources.store import ANY, Change, Version
from resources.stores.sqlite import SqliteStore
from search.indexes.sqlite.index import SqliteIndex

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data"
SEED = os.environ.get("TEST_POPULATION_SEED", "1")
"""Draws the same searches in every run; another number draws others."""

TYPES = ("Appointment", "Encounter", "Observation", "Patient", "Practitioner")
"""Those searched where each type costs seconds, as an index of its own or because all is compared with all."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of a store in a file that holds the sample data."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("population"), auth="off", synchronous="NORMAL")
    assert load(settings, [SAMPLE]) > 3000
    return settings


async def agrees(ctx: Context, oracle: Oracle, searches: Sequence[Search]) -> list[Verdict]:
    """The verdicts on what can be asked; fails at the first answer that is wrong."""
    verdicts = []
    for number, search in enumerate(searches):
        try:
            verdict = await judged(ctx, oracle, search)
        except Refused:
            continue
        assert verdict.wrong is None, f"seed {SEED}, search {number}: {verdict.search}\n{verdict.wrong}"
        verdicts.append(verdict)
    return verdicts


def drawn(ctx: Context, oracle: Oracle, number: int, types: Sequence[str] = ()) -> list[Search]:
    """So many searches."""
    asking = Asking(oracle, ctx.parameters, SEED, types)
    return [asking.draw() for _ in range(number)]


async def versions(settings: Settings, types: Sequence[str]) -> list[Version]:
    """The documents of some types in the store."""
    async with open_context(settings) as ctx:
        return [each async for part in ctx.store.scan(types, until=await ctx.store.position()) for each in part]


@asynccontextmanager
async def holding(settings: Settings, documents: Sequence[Version]) -> AsyncIterator[Context]:
    """Engines that hold these documents and are ready to be searched."""
    async with open_context(settings) as ctx:
        changes = [Change(each.type, each.id, draft(each.body, each.id), ANY) for each in documents if each.body is not None]
        for start in range(0, len(changes), 500):
            await ctx.store.commit(changes[start : start + 500])
        assert await ctx.index.caught_up(TYPES)
        yield ctx


def test_sqlite_agrees_with_the_oracle(loaded: Settings) -> None:
    """The embedded engine answers as the oracle does, and most of what is drawn has matches."""

    async def run() -> None:
        async with open_context(loaded) as ctx:
            oracle = await oracle_of(ctx)
            verdicts = await agrees(ctx, oracle, drawn(ctx, oracle, 300))
            assert sum(verdict.matches > 0 for verdict in verdicts) > 150

    asyncio.run(run())


def test_every_way_of_searching_agrees_with_the_oracle(loaded: Settings) -> None:
    """The embedded engine with limits at which a few documents are many, so that it takes the ways of large stores."""

    async def run() -> None:
        async with open_context(loaded) as ctx:
            assert isinstance(ctx.store, SqliteStore)
            index = SqliteIndex(loaded.database, ctx.parameters, ctx.extractor, limits=TINY)
            index.follow(ctx.store)
            await index.open()
            try:
                oracle = await oracle_of(ctx)
                await agrees(replace(ctx, index=index), oracle, drawn(ctx, oracle, 150))
            finally:
                await index.close()

    asyncio.run(run())


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")  # aiohttp's word on bulk requests over 1 MiB
def test_elasticsearch_agrees_with_the_oracle(loaded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does Elasticsearch, fed from a store."""
    monkeypatch.setattr(feed, "HICCUP", 60.0)  # on a machine that is busy otherwise it may say nothing for some seconds
    url, prefix = service("elasticsearch"), f"population{secrets.token_hex(4)}"
    settings = Settings(store_url="memory://", search_url=url, search_prefix=prefix, search_wait=60, search_timeout=60, auth="off")

    async def run() -> None:
        try:
            async with holding(settings, await versions(loaded, TYPES)) as ctx:
                oracle = await oracle_of(ctx)
                await agrees(ctx, oracle, drawn(ctx, oracle, 50, TYPES))
        finally:
            await sweep(url, prefix)

    asyncio.run(run())


def test_the_oracle_says_what_each_document_says(loaded: Settings) -> None:
    """What the oracle puts together from sets is what the index in memory finds by looking at one document after the other."""
    settings = Settings(store_url="memory://", auth="off")

    async def run() -> None:
        people = await versions(loaded, ("Patient", "Practitioner"))
        others = [each for type in ("Appointment", "Encounter", "Observation") for each in (await versions(loaded, (type,)))[:120]]
        async with holding(settings, [*people, *others]) as ctx:
            oracle = await oracle_of(ctx)
            for search in drawn(ctx, oracle, 80, TYPES):
                try:
                    verdict = await compare(ctx, oracle, search)
                except Refused:
                    continue
                assert verdict.wrong is None, f"{search}\n{verdict.wrong}"

    asyncio.run(run())
