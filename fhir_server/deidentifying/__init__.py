"""De-identification of documents by HIPAA's Safe Harbor, 45 CFR 164.514(b)(2) (docs/adr/0026)."""
