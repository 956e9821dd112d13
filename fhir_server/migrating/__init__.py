"""Data of other systems brought into the store: of FHIR servers, and of tables (docs/migration.md)."""
