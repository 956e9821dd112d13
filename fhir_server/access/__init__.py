"""What a caller may see and do with documents: decided once for each request, and held by the views that handlers work with
(docs/adr/0016)."""
