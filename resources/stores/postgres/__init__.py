"""Documents in PostgreSQL (docs/adr/0011-postgresql.md)."""

from resources.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
