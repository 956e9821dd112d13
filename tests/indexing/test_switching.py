"""A server whose search index is changed from one engine to the other."""

import asyncio
from pathlib import Path

import pytest

from fhir_server.app import open_context
from fhir_server.config import Settings
from resources.outcomes import FhirError


def test_page_links_of_the_embedded_index_are_refused_with_elasticsearch(tmp_path: Path) -> None:
    """They are places in the other index: 400 instead of a wrong page, with the same secret and search; and the other way round."""
    embedded = Settings(data_dir=tmp_path, auth="off")
    outside = Settings(data_dir=tmp_path, auth="off", search_url="http://127.0.0.1:9")  # nobody need be there

    async def links(settings: Settings, opening: str | None = None) -> str:
        async with open_context(settings) as ctx:
            if opening is not None:
                ctx.cursors.open(opening, b"a search")
            return ctx.cursors.seal((1, "a"), b"a search")

    of_one, of_other = asyncio.run(links(embedded)), asyncio.run(links(outside))
    assert asyncio.run(links(embedded, of_one)) == of_one
    for settings, link in ((outside, of_one), (embedded, of_other)):
        with pytest.raises(FhirError, match="another search index"):
            asyncio.run(links(settings, link))
