"""`fhir-server import`."""
