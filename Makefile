# `make run` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
# Where this is set, each of the hundreds of processes that the tests start would compile the code anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test services check fmt bench docs smart-table lock

help:  ## show what there is
	@awk -F ':.*##' '/^[a-z-]+:.*##/ { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: .venv/.ready  ## make .venv from the locked requirements and compile the FHIR definitions
	@$(BIN)/python scripts/compile_definitions.py

.venv/.ready: requirements/dev.txt scripts/install_command.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Python 3.11 or newer is needed (PYTHON=/path/to/python3.11 make $(MAKECMDGOALS)); '$(PYTHON)' is older or missing." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing: apt-get install python3-venv (Debian, Ubuntu)." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python scripts/install_command.py
	@touch $@

run: setup  ## serve http://127.0.0.1:8000 with sample data on the first start
	@$(BIN)/fhir-server serve --auth off --sample-data

test: check services  ## everything: check, then the whole test suite
	$(BIN)/pytest -n auto --dist worksteal

services:  ## fetch or build the servers that the tests use (not while they run: it takes all there is of the machine)
	@for script in tests/services/*/*.sh; do \
	  if printenv "TEST_$$(basename "$$script" .sh | tr a-z A-Z)_URL" >/dev/null; then continue; fi; \
	  bash "$$script" install || echo "$$script: tests that need this server are skipped, in CI they fail" >&2; \
	done

check: setup  ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fmt: setup  ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## measure a real server on this machine, results on the screen
	$(BIN)/python benchmarks/run.py

docs: setup  ## write again what is generated: docs/configuration.md, the rules of de-identification in docs/bulk.md
	$(BIN)/python scripts/document_settings.py
	$(BIN)/python scripts/document_deidentifying.py

smart-table: setup  ## run what shows SMART's rows, and write the table in docs/smart.md
	$(BIN)/pytest -n auto --dist worksteal --junit-xml=.smart-results.xml tests/smart_auth tests/oauth tests/access tests/api tests/audit tests/attacks tests/browser tests/clients tests/exporting tests/robustness/test_tls.py
	$(BIN)/python scripts/document_smart.py .smart-results.xml

lock:  ## choose the versions of all requirements anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade pyproject.toml -o requirements/runtime.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade --group dev pyproject.toml -o requirements/dev.txt
