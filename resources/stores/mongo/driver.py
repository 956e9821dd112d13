"""The two drivers, and the few calls in which they differ.

PyMongo's AsyncMongoClient and motor's AsyncIOMotorClient have the same methods; some of them give an awaitable in one and the
thing itself in the other. `settled` takes both.
"""

import inspect
import warnings
from typing import Any, Literal
from urllib.parse import unquote

from pymongo import AsyncMongoClient
from pymongo.errors import ConfigurationError, InvalidURI
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from resources.store import StoreUnavailable

Driver = Literal["pymongo", "motor"]

SELECT_MS, CONNECT_MS, SOCKET_MS = 3_000, 3_000, 20_000
"""Milliseconds: until a server that can take writes is found, until it is connected, and that it may leave a request unanswered."""

ANSWER = 5.0
"""Seconds that a server may take for what needs a few documents, looking for it and trying again included."""

COMMITTED = ReadConcern("majority")
"""Reads see only what no election can take back."""

DURABLE = WriteConcern("majority", j=True, wtimeout=10_000)
"""A write is answered once most servers have it in their journals."""

DATABASE = "fhir"
"""The database where the URL names none."""


async def settled(value: Any) -> Any:
    """The result of a call that one driver makes a coroutine of and the other does not."""
    return await value if inspect.isawaitable(value) else value


def connect(url: str, driver: Driver) -> Any:
    """A client of that driver; what the URL says goes before the timeouts given here. Connects at its first use.

    Raises StoreUnavailable with a sentence for a person, which never holds the URL: there may be a password in it.
    """
    options: dict[str, Any] = {"appname": "fhir-server", "retryWrites": True, "retryReads": True}
    times = {"serverSelectionTimeoutMS": SELECT_MS, "connectTimeoutMS": CONNECT_MS, "socketTimeoutMS": SOCKET_MS}
    named = url.lower()
    options |= {name: value for name, value in times.items() if f"{name.lower()}=" not in named}
    maker = _motor() if driver == "motor" else AsyncMongoClient
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # the drivers only warn of an option that they do not understand
            return maker(url, **options)
    except (InvalidURI, ConfigurationError, ValueError, UserWarning) as problem:
        raise StoreUnavailable(
            f"FHIR_STORE_URL is no MongoDB address that can be used: {without_secrets(str(problem), url)}"
        ) from None


def _motor() -> Any:
    try:
        from motor.motor_asyncio import AsyncIOMotorClient  # an extra: only who asks for it needs it
    except ImportError:
        raise StoreUnavailable("FHIR_MONGO_DRIVER=motor needs the package motor: pip install motor.") from None
    return AsyncIOMotorClient


def database_name(url: str) -> str:
    """The database that the URL names, or the default."""
    path = url.split("://", 1)[-1].partition("/")[2]
    return unquote(path.partition("?")[0]) or DATABASE


def place(url: str) -> str:
    """Host and database of the URL, as a message may name them: without user and password."""
    hosts = url.split("://", 1)[-1].partition("/")[0].rpartition("@")[2]
    return f"{hosts}/{database_name(url)}"


def without_secrets(text: str, url: str) -> str:
    """The text without what the URL says before the @."""
    secrets, at, _ = url.split("://", 1)[-1].partition("/")[0].rpartition("@")
    for secret in (*secrets.split(":"), secrets) if at else ():
        text = text.replace(secret, "…") if secret else text
    return text
