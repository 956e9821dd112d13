"""A population in a store, and what the oracle knows of it."""

from pathlib import Path

from population.oracle import Oracle

from fhir_server.cli.load import store_position
from fhir_server.config import Settings
from fhir_server.context import Context
from fhir_server.loading.crew import Load
from fhir_server.loading.sources import find
from resources.documents import decode
from resources.store import Key
from search.extract import Extractor
from search.match import Document

WITHOUT_WORDS = "AuditEvent"


def load(settings: Settings, files: list[Path]) -> int:
    """Have the files in the store, as `fhir-server load` does; returns how many resources were loaded now."""
    totals = Load(settings, settings.data_dir, 1, lambda _: None).run(
        find([str(file) for file in files]), anew=False, position=store_position(settings)
    )
    assert not totals.failed, f"{len(totals.failed)} were not loaded, such as {totals.failed[0]}"
    return totals.resources


async def oracle_of(ctx: Context) -> Oracle:
    """All live documents of the store, with their words."""
    extractor = Extractor(ctx.parameters, ctx.settings.bases, texts=True)
    documents: list[Document] = []
    types = [type for type in ctx.parameters.types if type != WITHOUT_WORDS]
    async for versions in ctx.store.scan(types, until=await ctx.store.position()):
        for version in versions:
            assert version.body is not None
            entry = extractor.extract(version.type, decode(version.body))
            documents.append(Document(Key(version.type, version.id), entry, version.instant))
    return Oracle(documents)
