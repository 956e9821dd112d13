"""The store whose audit a command looks at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from fhir_server.cli.show import fail
from fhir_server.config import Settings
from resources.store import ResourceStore

DataDir = Annotated[Path | None, typer.Option(help="Folder for all data (FHIR_DATA_DIR).", show_default="./data")]


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[ResourceStore]:
    """The store that the settings name, if it is there. Raises StoreUnavailable."""
    from fhir_server.app import make_store

    if settings.in_memory:
        fail("memory:// forgets everything when a server ends: there is nothing to look at")
    if settings.store == "sqlite" and not settings.database.exists():
        fail(f"the database {settings.database} does not exist")
    store = make_store(settings)
    await store.open()
    try:
        yield store
    finally:
        await store.close()
