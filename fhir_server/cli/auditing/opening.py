"""The store whose audit a command looks at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fhir_server.cli.show import fail
from fhir_server.config import Settings
from resources.store import ResourceStore


@asynccontextmanager
async def opened(settings: Settings, *, indexed: bool = False) -> AsyncIterator[ResourceStore]:
    """The store that the settings name, if it is there; `indexed`: with the index that lives in it. Raises StoreUnavailable."""
    from fhir_server.app import make_store, make_target

    if settings.in_memory:
        fail("memory:// forgets everything when a server ends: there is nothing to look at")
    if settings.store == "sqlite" and not settings.database.exists():
        fail(f"the database {settings.database} does not exist")
    store = make_target(settings) if indexed else make_store(settings)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def moment(text: str, option: str) -> int:
    """Microseconds since the epoch of a day (UTC) or instant, as an option names it."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option}: {text} is no date; write 2026-01-31 or 2026-01-31T12:00:00Z")
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000_000)
