# Everything a developer or a visitor runs. `setup`, `demo`, `test` and `bench`
# need no step before them: each sets up what is missing, once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

PROGRAMS := mpc-manager=manager.cli.main:manager mpc-participant=participant.cli.main:participant

# What must be covered to the last branch; `include` in pyproject.toml names it.
COVERAGE := --cov --cov-report=term --cov-fail-under=100

# Whose packages `sbom` lists, and where.
OF ?= $(BIN)/python
SBOM ?= sbom.json

.PHONY: help setup rabbitmq postgresql demo test compose-test mutants fuzz bench screenshots sbom clean

help:
	@echo 'make setup   virtual environment in .venv, and RabbitMQ'
	@echo 'make demo    a whole realm on this machine answers four questions'
	@echo 'make test    every check and test, with a real broker'
	@echo 'make compose-test   the container deployment, in a container engine (root only)'
	@echo 'make mutants  remove each check of the protocol in turn: which tests fall'
	@echo 'make fuzz    a million inputs for every reader of foreign bytes'
	@echo 'make bench   measure everything, each figure beside its floor'
	@echo 'make screenshots  pictures of the monitors, with Chromium'
	@echo 'make sbom    a bill of materials (CycloneDX) of what is installed: sbom.json'
	@echo 'make clean   remove everything that was made here'

setup: $(READY) rabbitmq

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo 'make: Python 3.11 or later is needed; name one: make setup PYTHON=python3.12' >&2; \
	    exit 3; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo 'make: this Python cannot make virtual environments, installing python3-venv' >&2; \
	    if [ "$$(id -u)" -eq 0 ]; then as=env; else as='sudo -n'; fi; \
	    command -v apt-get >/dev/null && $$as apt-get update -qq && \
	        $$as env DEBIAN_FRONTEND=noninteractive \
	            apt-get install -y -qq --no-install-recommends python3-venv || { \
	    echo 'make: please install it: apt-get install python3-venv (or your system'"'"'s like)' >&2; \
	    exit 3; }; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

rabbitmq:
	@broker_config/install_rabbitmq

# For tests alone, and only where it may be installed: they say what they skip.
postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { \
	    if [ "$$(id -u)" -eq 0 ]; then as=env; else as='sudo -n'; fi; \
	    settings=/etc/postgresql-common/createcluster.d; \
	    command -v apt-get >/dev/null && $$as mkdir -p $$settings && \
	        echo 'create_main_cluster = false' | $$as tee $$settings/mpc-management.conf >/dev/null && \
	        $$as apt-get update -qq && $$as env DEBIAN_FRONTEND=noninteractive \
	            apt-get install -y -qq --no-install-recommends postgresql || \
	    echo 'make: no PostgreSQL, and no right to install it: its tests are skipped' >&2; }

broker_config/definitions.json: shared/topology.py $(READY)
	$(BIN)/python -m shared.topology > $@.new
	mv $@.new $@

# The commands describe themselves; tests compare.
docs/cli.md docs/json.md: docs/%.md: $(wildcard manager/cli/*.py participant/cli/*.py shared/*.py) $(READY)
	$(BIN)/python -m shared.reference $* $(PROGRAMS) > $@.new
	mv $@.new $@

demo: setup
	@$(BIN)/mpc-manager demo

test: setup postgresql
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(COVERAGE)

compose-test: setup
	tests/compose/prepare_engine
	$(BIN)/python -m pytest tests/compose

mutants: setup
	@$(BIN)/python -m tests.mutants $(ARGS)

fuzz: setup
	$(BIN)/python -m pip install --quiet --editable '.[dev,fuzz]'
	@$(BIN)/python -m tests.fuzz $(ARGS)

bench: setup
	@$(BIN)/python -m bench $(ARGS)

screenshots: setup
	$(BIN)/python -m pip install --quiet --editable '.[dev,screenshots]'
	$(BIN)/python -m tests.screenshots

sbom: $(READY)
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	    --output-file $(SBOM) $(OF)

clean:
	rm -rf .venv .rabbitmq .rabbitmq.new .engine build *.egg-info .coverage .coverage.* htmlcov \
	    .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache sbom.json fuzz-findings
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
