# `make run` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup
setup: .venv/.ready  ## make .venv from the locked requirements and compile the FHIR definitions
	@$(BIN)/python scripts/compile_definitions.py

.venv/.ready: requirements/dev.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
