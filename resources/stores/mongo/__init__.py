"""Documents in MongoDB (docs/adr/0010)."""

from resources.stores.mongo.store import MongoStore

__all__ = ["MongoStore"]
