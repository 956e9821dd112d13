"""`fhir-server client …`: the apps and services that may ask for tokens."""
