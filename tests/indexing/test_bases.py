"""Another base URL of the server: whoever feeds the index in Elasticsearch says that references were indexed for the one before."""

import asyncio

import pytest
from indexing.feed_harness import BASE, PARAMETERS, Process, place, put, until
from services.running import service

from search.extract import Extractor


async def feeds(process: Process) -> bool:
    return "fhir_index_feeder 1" in await process.feed.metrics()


def test_the_feeder_says_that_references_were_indexed_for_another_base(caplog: pytest.LogCaptureFixture) -> None:
    """From the first feeder with another base on each says so, until all has been indexed anew; one whose base is the same says
    nothing."""
    caplog.set_level("WARNING", "fhir_server.indexing.feed")

    async def test() -> None:
        async with place(service("elasticsearch")) as there:

            async def told(base: str, *, anew: bool = False) -> str:
                """What the only process says when it begins to feed; then it may note that all was indexed anew."""
                caplog.clear()
                process = await there.process(Extractor(PARAMETERS, base))
                await until(lambda: feeds(process))
                assert len(await process.found("Observation")) == 1
                if anew:
                    await process.feed.bases.remember(anew=True)
                await process.feed.stop()
                return caplog.text

            await put(there.store, "Observation", "1", status="final", subject={"reference": "http://new/fhir/Patient/1"})
            assert "indexed for" not in await told(BASE)
            assert "indexed for" not in await told(BASE)
            assert f"were indexed for {BASE}/:" in await told("http://new/fhir")
            assert "were indexed for http://new/fhir/:" in await told(BASE)
            assert f"were indexed for {BASE}/:" in await told("http://new/fhir", anew=True)
            assert "indexed for" not in await told("http://new/fhir")

    asyncio.run(test())
