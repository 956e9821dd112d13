"""The search index on Elasticsearch, fed from the store's outbox (docs/adr/0012)."""
