"""`fhir-server client …`, `user …`, `keys …` and `token`: who may sign in and ask for tokens, and what signs these."""
