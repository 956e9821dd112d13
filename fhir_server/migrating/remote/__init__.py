"""Another FHIR server as the source."""
