"""Empty MongoDB databases for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from pymongo import MongoClient
from services.running import service


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty database of a test's own on the running server; dropped at the end."""
    name = f"test_{uuid4().hex[:12]}"
    url = service("mongo")
    yield with_database(url, name)
    with MongoClient[dict[str, object]](url) as client:
        client.drop_database(name)


def with_database(url: str, name: str) -> str:
    """The URL with the database's name in it."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
