"""`fhir-server audit`: the record of who did what."""
