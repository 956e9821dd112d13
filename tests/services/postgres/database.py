"""Empty PostgreSQL databases for tests."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
from services.running import service


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty database of a test's own on the running server; dropped at the end."""
    name = f"test_{uuid4().hex[:12]}"
    url = service("postgres")
    execute(url, f"CREATE DATABASE {name}")
    yield with_database(url, name)
    execute(url, f"DROP DATABASE {name} WITH (FORCE)")


def execute(url: str, *statements: str) -> None:
    """Run statements as they are."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def with_database(url: str, name: str) -> str:
    """The URL with the database's name in it."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
