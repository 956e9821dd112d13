"""/readyz: whether the store and the search index can be asked (docs/running.md)."""

import asyncio
from pathlib import Path

import apsw
import httpx

from fhir_server.app import create_app
from fhir_server.config import Settings


def test_a_failing_index_is_told_without_its_own_words(tmp_path: Path) -> None:
    """503 from /readyz and from a search once a table of the index is lost; neither SQL nor a path is in the text."""
    settings = Settings(data_dir=tmp_path, auth="off")

    async def run() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        app = create_app(settings)
        async with app.beside.router.lifespan_context(app.beside):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                before = await client.get("/readyz")
                lose_the_index(settings.database)
                return before, await client.get("/readyz"), await client.get("/fhir/Patient?name=Smith")

    before, ready, search = asyncio.run(run())
    assert (before.status_code, before.text) == (200, "ok\n")
    assert (ready.status_code, ready.text) == (503, "The search index cannot be read now. The server's log has the reason.\n")
    assert search.status_code == 503
    assert search.json()["issue"][0]["details"]["text"] == ready.text.strip()


def lose_the_index(database: Path) -> None:
    """Drop every table that a search may ask, as a damaged file would."""
    connection = apsw.Connection(str(database))
    connection.set_busy_timeout(60_000)
    connection.execute("PRAGMA foreign_keys = OFF")
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ('item', 'idx', 'packed')"
    ).fetchall()
    for (name,) in names:
        connection.execute(f'DROP TABLE "{name}"')
    connection.close()
