"""Empty MongoDB databases for tests."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

from pymongo import MongoClient
from services.running import service


@contextmanager
def dropped_sockets() -> Iterator[None]:
    """Around what closes a client at any moment. PyMongo's monitor leaves a connection that it was just making to the garbage
    collector, which would complain of it in some later test; here it finds it at once and in silence."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty database of a test's own on the running server; dropped at the end."""
    name = f"test_{uuid4().hex[:12]}"
    url = service("mongo")
    with dropped_sockets():
        yield with_database(url, name)
    with MongoClient[dict[str, object]](url) as client:
        client.drop_database(name)


def with_database(url: str, name: str) -> str:
    """The URL with the database's name in it."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
