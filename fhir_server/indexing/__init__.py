"""Feeding a search index that is a server of its own, from the store's outbox (docs/adr/0008, docs/adr/0012)."""
