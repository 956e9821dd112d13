"""The authorization server over HTTP, and what it needs to know of FHIR (docs/adr/0017)."""
