"""The PostgreSQL store's tables, made and upgraded at start (measured in docs/adr/0011).

counter   one row: the newest position and instant. Whoever commits holds it locked, so positions become visible in order.
doc       every version of every resource, append-only: its canonical bytes, compressed; nothing is ever updated, so nothing bloats.
          `document` is for people who query it in SQL, with documents=jsonb only; nothing reads it here
resource  a view: what is current, for the same people
log       AuditEvents of a commit group, packed together
claim, receipt   conditional writes, idempotency keys        confirmed   how far outside indexes have come
record    durable state that is no resource
"""

from collections.abc import Sequence
from zlib import crc32

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from resources.store import StoreUnavailable

PROGRAM = "fhir-server"

OLDEST = 130_000
"""The oldest PostgreSQL whose append-only tables are vacuumed by themselves (13)."""

LAYOUT_1 = """
CREATE TABLE {schema}.layout (program text NOT NULL, version int NOT NULL);
INSERT INTO {schema}.layout VALUES ('fhir-server', 0);
CREATE TABLE {schema}.counter (position bigint NOT NULL, instant bigint NOT NULL);
INSERT INTO {schema}.counter VALUES (0, 0);
CREATE TABLE {schema}.doc (
    position bigint PRIMARY KEY, instant bigint NOT NULL, version int NOT NULL,
    type text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, method text COLLATE "C" NOT NULL, body bytea,
    document jsonb
);
ALTER TABLE {schema}.doc ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX doc_version ON {schema}.doc (id, type, version);
CREATE INDEX doc_type ON {schema}.doc (type, position);
CREATE TABLE {schema}.log (position bigint PRIMARY KEY, instant bigint NOT NULL, count int NOT NULL, body bytea NOT NULL);
ALTER TABLE {schema}.log ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE TABLE {schema}.claim (key bytea PRIMARY KEY, position bigint NOT NULL, instant bigint NOT NULL);
CREATE TABLE {schema}.receipt (key bytea PRIMARY KEY, digest bytea NOT NULL, answer bytea NOT NULL, expires bigint NOT NULL);
CREATE INDEX receipt_expires ON {schema}.receipt (expires);
CREATE TABLE {schema}.confirmed (index text COLLATE "C" PRIMARY KEY, position bigint NOT NULL);
CREATE VIEW {schema}.resource AS
    SELECT d.type, d.id, d.version, to_timestamp(d.instant / 1e6) AS updated, d.document FROM {schema}.doc d
    WHERE d.body IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM {schema}.doc n WHERE n.type = d.type AND n.id = d.id AND n.version = d.version + 1);
CREATE FUNCTION {schema}.as_jsonb(spelled text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN spelled::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END $$;
"""

FIRST_AT = """
CREATE FUNCTION {schema}.{table}_at(moment bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint := 0;
    high bigint := (SELECT coalesce(max(position), 0) + 1 FROM {schema}.{table});
    middle bigint;
    at record;
BEGIN
    WHILE low < high LOOP
        middle := (low + high) / 2;
        SELECT t.position, t.instant INTO at FROM {schema}.{table} t WHERE t.position >= middle ORDER BY t.position LIMIT 1;
        IF NOT FOUND OR at.instant >= moment THEN high := middle; ELSE low := at.position + 1; END IF;
    END LOOP;
    RETURN low;
END $$;
"""
"""The position from which on everything in the table is of `moment` or later: instants never fall along the positions, so a span of
time is a span of positions, found in some twenty steps, and needs no index of its own."""

LAYOUT_2 = """
CREATE TABLE {schema}.record (
    kind text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, revision bigint NOT NULL, expires bigint NOT NULL,
    tags text[] COLLATE "C" NOT NULL, value bytea NOT NULL, PRIMARY KEY (kind, key)
);
CREATE INDEX record_expires ON {schema}.record (expires) WHERE expires > 0;
CREATE INDEX record_tags ON {schema}.record USING gin (tags);
"""

LAYOUT_3 = "COMMENT ON TABLE {schema}.log IS 'AuditEvents, packed with a dictionary of their own since layout 3'"
"""Programs that know no more than layout 2 do not have that dictionary, and must not take what is packed with it for spoilt rows."""

MIGRATIONS: Sequence[str] = (
    LAYOUT_1 + FIRST_AT.replace("{table}", "doc") + FIRST_AT.replace("{table}", "log"),
    LAYOUT_2,
    LAYOUT_3,
)
"""What makes layout n+1 of layout n. Never changed once released; a new layout adds one."""


async def make_ready(connection: PoolConnectionProxy, schema: str) -> None:
    """Check the server, then create or upgrade the tables, in one transaction; servers that start together take turns.

    Raises StoreUnavailable where the database cannot serve, is another program's, or was written by a newer version.
    """
    await _check_server(connection)
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SELECT pg_advisory_xact_lock($1)", crc32(f"{PROGRAM}/{schema}".encode()))
        version = await _layout(connection, schema)
        if version == len(MIGRATIONS):
            return
        if not await connection.fetchval("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)", schema):
            await connection.execute(f'CREATE SCHEMA "{schema}"')
        for migration in MIGRATIONS[version:]:
            await connection.execute(migration.replace("{schema}", f'"{schema}"'))
        await connection.execute(f'UPDATE "{schema}".layout SET version = $1', len(MIGRATIONS))


async def _check_server(connection: PoolConnectionProxy) -> None:
    number = connection.get_server_version()
    if number.major * 10_000 < OLDEST:
        raise StoreUnavailable(f"PostgreSQL {OLDEST // 10_000} or newer is needed; this server is {number.major}.{number.minor}.")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StoreUnavailable(f"The PostgreSQL database has the encoding {encoding}; make one with ENCODING 'UTF8'.")
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise StoreUnavailable(
            "FHIR_STORE_URL names a PostgreSQL replica, which takes no writes; name the primary, or all servers with "
            "target_session_attrs=read-write."
        )


async def _layout(connection: PoolConnectionProxy, schema: str) -> int:
    """The layout that is there (0: none). Raises StoreUnavailable where it is not for us."""
    foreign = StoreUnavailable(
        f"The schema '{schema}' of the PostgreSQL database belongs to another program. Name another database in FHIR_STORE_URL, or "
        "another schema with ?schema=NAME."
    )
    names = await connection.fetch(
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname = $1 AND relkind IN ('r', 'p', 'v')",
        schema,
    )
    if not names:
        return 0
    if "layout" not in {row[0] for row in names}:
        raise foreign
    try:
        async with connection.transaction():
            found = await connection.fetchrow(f'SELECT program, version FROM "{schema}".layout')
    except asyncpg.UndefinedColumnError:
        raise foreign from None
    if found is None or found[0] != PROGRAM:
        raise foreign
    version = int(found[1])
    if version > len(MIGRATIONS):
        raise StoreUnavailable(
            f"This PostgreSQL database was written by a newer version (layout {version}, this program knows {len(MIGRATIONS)})."
        )
    return version
