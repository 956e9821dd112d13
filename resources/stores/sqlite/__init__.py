"""Documents in SQLite (docs/adr/0003)."""

from resources.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
