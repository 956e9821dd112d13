"""Connections to PostgreSQL: what the URL says, a bounded pool, and the server's errors as the contract's.

Connections that the server has dropped are made anew by themselves; what failed before anything could be written is tried again.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from resources.store import StoreUnavailable

log = logging.getLogger(__name__)

CONNECT = 5.0
"""Seconds that making a connection may take, and waiting for one of the pool."""

STATEMENT = 10.0
"""Seconds that a short statement may take."""

LONG = 300.0
"""Seconds that a part of a scan or a long count may take."""

TRIES = 3
"""Times that something is tried which failed without any effect (a lost connection, a deadlock, a serialization failure)."""

GONE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
"""What tells that the server or the way to it is gone, or going. QueryCanceledError is one of these too. InternalClientError is what the
driver says when it is told in the midst of a statement that the server goes down; the connection is of no use then."""

PASSING = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.InvalidCachedStatementError)
"""What goes well when it is tried again: others were in the way, or a newer version has just changed the tables."""

_AGAIN = "; nothing was written. Send the request again in a moment."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Address:
    """A PostgreSQL URL taken apart: what the driver gets, and what is ours. `shown` may be logged: it has neither user nor password.
    `exposed`: documents may travel unencrypted over a network."""

    dsn: str
    shown: str
    schema: str
    size: int
    prepared: bool
    jsonb: bool
    exposed: bool


_SCHEMA = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}", re.ASCII)
_SIZE = re.compile(r"[2-9]|[1-9][0-9]|100", re.ASCII)
_OURS = {"schema": "fhir", "pool_size": "10", "prepared": "on", "documents": "bytes"}


def address(url: str) -> Address:
    """Read the URL. Besides what the driver knows (`sslmode`, `sslrootcert`, `target_session_attrs`…) it may have `schema` (fhir),
    `pool_size` (10: connections of one server process, 2 to 100), `prepared` (on; off: no statement is kept prepared) and `documents`
    (bytes; jsonb: a copy to query in SQL beside them).

    Raises StoreUnavailable with a sentence that names the part that is wrong.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        raise StoreUnavailable(
            "FHIR_STORE_URL is no URL; it should look like postgresql://USER:PASSWORD@HOST:5432/DATABASE."
        ) from None
    ours = {name: options.pop(name, default) for name, default in _OURS.items()}
    for wrong, sentence in (
        (parts.scheme not in ("postgresql", "postgres"), "begins with postgresql://"),
        (
            not _SCHEMA.fullmatch(ours["schema"]),
            "has schema=NAME with small letters, digits and _, at most 63, not beginning with pg_",
        ),
        (not _SIZE.fullmatch(ours["pool_size"]), "has pool_size=N with a number of connections from 2 to 100"),
        (ours["prepared"] not in ("on", "off"), "has prepared=on or prepared=off"),
        (ours["documents"] not in ("bytes", "jsonb"), "has documents=bytes or documents=jsonb"),
    ):
        if wrong:
            raise StoreUnavailable(f"FHIR_STORE_URL is wrong: a PostgreSQL URL {sentence}.")
    shown = parts.netloc.rpartition("@")[2] + parts.path
    dsn = urlunsplit(parts._replace(query=urlencode(options)))
    return Address(
        dsn,
        shown,
        ours["schema"],
        int(ours["pool_size"]),
        ours["prepared"] == "on",
        ours["documents"] == "jsonb",
        _exposed(parts, options),
    )


def _exposed(parts: SplitResult, options: Mapping[str, str]) -> bool:
    hosts = (options.get("host") or parts.netloc.rpartition("@")[2]).split(",")
    near = all(host.startswith(("127.", "localhost", "[::1]", "::1", "/")) or not host for host in hosts)
    return not near and options.get("sslmode") not in ("require", "verify-ca", "verify-full")


class Connections:
    """A pool of connections to one server."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._pool: asyncpg.Pool | None = None

    async def open(self, prepare: Callable[[PoolConnectionProxy], Awaitable[None]]) -> None:
        """Connect, and call `prepare` with the first connection. Raises StoreUnavailable."""
        where = self._address
        try:
            self._pool = asyncpg.create_pool(
                where.dsn,
                min_size=0,
                max_size=where.size,
                max_inactive_connection_lifetime=300,
                statement_cache_size=200 if where.prepared else 0,
                max_cached_statement_lifetime=0,
                timeout=CONNECT,
                command_timeout=STATEMENT,
                reset=_leave,
                server_settings={"application_name": "fhir-server"},
            )
            await self._pool
            async with self.use() as connection:
                await prepare(connection)
        except (asyncpg.PostgresError, *GONE) as problem:
            await self.close()
            text = str(unavailable(problem, self._address.shown))
            raise StoreUnavailable(text.replace(_AGAIN, "; check FHIR_STORE_URL, and that the server runs.")) from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of all connections, politely for some seconds, then at once."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), CONNECT)
        except (asyncpg.PostgresError, *GONE) as problem:
            log.warning("a connection to PostgreSQL did not end by itself (%s)", type(problem).__name__)
            pool.terminate()

    @asynccontextmanager
    async def use(self) -> AsyncIterator[PoolConnectionProxy]:
        """A connection of one's own for a while. One on which a statement did not end is thrown away."""
        if self._pool is None:
            raise StoreUnavailable("The server is stopping; send the request again in a moment.")
        connection = await self._pool.acquire(timeout=CONNECT)
        try:
            yield connection
        except (TimeoutError, asyncio.CancelledError, asyncpg.InternalClientError):
            drop(connection)
            raise
        finally:
            await _give_back(self._pool, connection)

    async def fetch(self, sql: str, *values: Any, seconds: float | None = None) -> list[asyncpg.Record]:
        """The rows of a statement that changes nothing, or that may well be done twice. `seconds` that it may take; None: STATEMENT."""

        async def once() -> list[asyncpg.Record]:
            async with self.use() as connection:
                found: list[asyncpg.Record] = await connection.fetch(sql, *values, timeout=seconds)
                return found

        return await self.persist(once)

    async def persist(self, once: Callable[[], Awaitable[T]]) -> T:
        """What `once` returns, tried a few times where it failed without effect. Raises StoreUnavailable."""
        for number in range(1, TRIES + 1):
            try:
                return await once()
            except (asyncpg.PostgresError, *GONE) as problem:
                if number == TRIES or not _again(problem):
                    raise unavailable(problem, self._address.shown) from None
            await asyncio.sleep(0.02 * 5**number)
        raise AssertionError("the last try returns or raises")


def drop(connection: PoolConnectionProxy) -> None:
    """End a connection without a word to the server, which rolls back what was open on it."""
    with suppress(asyncpg.InterfaceError):  # it was gone already, and the pool knows
        connection.terminate()


async def _give_back(pool: asyncpg.Pool, connection: PoolConnectionProxy) -> None:
    """Return a connection to the pool. Where that fails the pool ends it by itself, and whatever was done on it stays as it is: a
    commit that was confirmed must not look like one that failed."""
    try:
        await pool.release(connection)
    except (asyncpg.PostgresError, *GONE) as problem:
        log.warning("a connection to PostgreSQL was lost after its use (%s)", type(problem).__name__)


async def _leave(_connection: PoolConnectionProxy) -> None:
    """Nothing is reset when a connection goes back to the pool: transactions are ended by those who began them, and all they set is
    local to them. It spares a round trip for each read."""


def _again(problem: BaseException) -> bool:
    """Whether to try again at once: the connection may be an old one to a server that is back, or two of us were in each other's way."""
    if isinstance(problem, TimeoutError | asyncpg.QueryCanceledError):
        return False
    return isinstance(problem, (*PASSING, *GONE))


_SENTENCES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (asyncpg.DiskFullError, "The disk of the PostgreSQL server is full; nothing was written. Free some space and try again."),
    (
        asyncpg.TooManyConnectionsError,
        "PostgreSQL has no connection left for this server; raise max_connections or lower pool_size in FHIR_STORE_URL.",
    ),
    (
        asyncpg.ReadOnlySQLTransactionError,
        "PostgreSQL takes no writes now (it is a replica, or set to read-only); nothing was written. FHIR_STORE_URL must "
        "reach the primary.",
    ),
    (
        asyncpg.InsufficientPrivilegeError,
        "The PostgreSQL user of FHIR_STORE_URL lacks a right; nothing was written. It must own its schema, or be allowed to create "
        "one in the database.",
    ),
    (asyncpg.InvalidAuthorizationSpecificationError, "PostgreSQL refused the user or the password of FHIR_STORE_URL."),
    (
        asyncpg.InvalidCatalogNameError,
        "The PostgreSQL database that FHIR_STORE_URL names does not exist; make it with CREATE DATABASE.",
    ),
    (
        (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError, asyncpg.SerializationError, asyncpg.DeadlockDetectedError),
        "PostgreSQL was busy with other writes for too long; nothing was written. Send the request again.",
    ),
    (
        (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError),
        "A pooler before PostgreSQL loses prepared statements; add prepared=off to FHIR_STORE_URL.",
    ),
    (asyncpg.ClientConfigurationError, "FHIR_STORE_URL is none that PostgreSQL's driver takes; the log has the reason."),
    (asyncpg.UndefinedObjectError, "FHIR_STORE_URL has a parameter that PostgreSQL does not know; the log names it."),
    (
        (FileNotFoundError, PermissionError),
        "A file that FHIR_STORE_URL names (a certificate, a key, a socket) is not there or may not be read; the log names it.",
    ),
    (
        (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError),
        "The tables of this server are gone from PostgreSQL; restore them from a backup, or start the server anew.",
    ),
)


def unavailable(problem: BaseException, shown: str, *, uncertain: bool = False) -> StoreUnavailable:
    """The contract's error for one of the driver's. The log gets its kind and message, never its details, which may name ids."""
    log.error("PostgreSQL at %s: %s %s: %s", shown, type(problem).__name__, getattr(problem, "sqlstate", ""), _message(problem))
    if uncertain:
        return StoreUnavailable(
            "The connection to PostgreSQL was lost while this was confirmed, so it is not certain whether it was kept. Read before you "
            "send it again; with an Idempotency-Key sending it again is safe.",
            uncertain=True,
        )
    for kind, sentence in _SENTENCES:
        if isinstance(problem, kind):
            return StoreUnavailable(sentence, full=isinstance(problem, asyncpg.DiskFullError))
    if isinstance(problem, ssl.SSLError) or "SSL" in _message(problem):
        return StoreUnavailable(
            f"PostgreSQL at {shown} offers no TLS connection that FHIR_STORE_URL accepts; check sslmode= and sslrootcert= there."
        )
    if isinstance(problem, TimeoutError):
        return StoreUnavailable(f"PostgreSQL at {shown} did not answer in time{_AGAIN}")
    if isinstance(problem, GONE):
        return StoreUnavailable(f"PostgreSQL at {shown} cannot be reached{_AGAIN}")
    return StoreUnavailable("PostgreSQL refused a statement; nothing was written. The server's log has the reason.")


def _message(problem: BaseException) -> str:
    if isinstance(problem, asyncpg.PostgresError):
        return str(problem.args[0]) if problem.args else ""
    return str(problem).partition("\n")[0]
