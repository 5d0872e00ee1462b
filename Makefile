# Two commands from a fresh machine: `make run` and `make test`. Both do all their set-up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEV := $(VENV)/.dev-installed
RUN := $(VENV)/.run-installed

.DEFAULT_GOAL := help
.PHONY: help run test check unit format coverage guards bench load overload faults fuzz soak audit chart e2e tools swagger uplot lock docs version clean wipe

help: ## List the commands
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: $(RUN) ## Start Cassandra and the service here; Ctrl-C ends both. Settings: docs/settings.md
	@exec $(BIN)/python dev/run.py

test: check coverage ## Everything CI runs: format, lint, types, imports, all tests, coverage

check: $(DEV) ## Format, lint, types and import contracts, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

UNIT = tests/unit tests/property tests/soak tests/faults/test_checker.py \
  tests/dev/test_charttools.py tests/dev/test_version.py \
  tests/loadtest/test_play.py tests/loadtest/test_verdict.py tests/operations/test_dashboard.py
unit: $(DEV) ## The tests that need no Cassandra and no browser: seconds
	$(BIN)/pytest -q $(UNIT) $(wildcard tests/guards)

# Each worker has a Cassandra of its own, which takes a core at times and 1 GiB of memory. When a worker
# dies, the run ends and names its test; with a new worker in its place, pytest-xdist would wait for ever.
WORKERS ?= 2
coverage: $(DEV) tools ## All tests against real Cassandras, with coverage; WORKERS=2 at once
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n $(WORKERS) --max-worker-restart 0 --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

guards: $(DEV) ## Run the tests that hold us to our libraries' private names
	$(BIN)/pytest tests/guards

format: $(DEV) ## Format the sources and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEV) ## Measure this service beside the original's design, on one Cassandra, in one run
	$(BIN)/python -m loadtest.bench

overload: $(DEV) ## Measure the service at five times what its store can do
	$(BIN)/python -m loadtest.overload

faults: $(DEV) ## Put faults on three nodes under load, audit, write docs/reliability.md; lose a data centre (root; 30 min)
	$(BIN)/python -m loadtest.faults --write
	$(BIN)/pytest -m long

fuzz: $(DEV) ## Send nearly right requests for MINUTES=5
	$(BIN)/python -m loadtest.fuzz --minutes $(or $(MINUTES),5)

soak: $(DEV) ## Hold a steady load for MINUTES=30; fails where memory, files or latency rise
	$(BIN)/python -m loadtest.soak --minutes $(or $(MINUTES),30) --write

audit: ## Look the locked dependencies up among known weaknesses; asks PyPI for each
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/audit.txt
	for file in requirements/*.txt dev/jdk-requirements.txt; do \
	  $(VENV)/audit/bin/pip-audit --strict --disable-pip --require-hashes -r $$file || exit 1; done

tools: ## Find the programs that tests need, or install them (root on Debian); else say what is missing
	@$(PYTHON) dev/toolchain.py

swagger: $(DEV) ## Take the scripts of the page /docs from npm again: the same, or `version=5.35.0`
	$(BIN)/python dev/bundles.py swagger-ui-dist $(if $(version),--version $(version))

uplot: $(DEV) ## Take the charts of the page for people from npm again: the same, or `version=1.6.32`
	$(BIN)/python dev/bundles.py uplot $(if $(version),--version $(version))

TARGET ?= http://127.0.0.1:8080
load: $(DEV) ## Load `make run`, or TARGET=https://…, for 30 s, then prove that nothing was lost
	out=loadtest-results/steady-$$(date -u +%Y%m%dT%H%M%SZ); \
	$(BIN)/python -m loadtest steady --headless -u 5 -t 30s --only-summary --host $(TARGET) --out $$out && \
	$(BIN)/python -m loadtest.audit $$out --host $(TARGET)

docs: $(DEV) ## Write the pages that are made from the code
	$(BIN)/player-sessions settings --markdown > docs/settings.md
	$(BIN)/player-sessions metrics > docs/metrics.md
	$(BIN)/python -m dev.pages
	$(BIN)/python dev/dashboard.py > charts/player-sessions/files/dashboard.json
	$(BIN)/python dev/chart.py --write

chart: $(DEV) ## Check the Helm chart: lint, schemas, unit tests, README
	$(BIN)/python dev/chart.py

e2e: $(DEV) ## Try image, chart and service on a real Kubernetes. Options: E2E='--help'
	$(BIN)/python -m tests.e2e $(E2E)

COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
lock: $(DEV) ## Pin all dependencies again, with hashes
	$(BIN)/pip install -q --disable-pip-version-check uv
	$(COMPILE) pyproject.toml -o requirements/service.txt
	$(COMPILE) pyproject.toml --extra loadtest -c requirements/service.txt -o requirements/loadtest.txt
	$(COMPILE) pyproject.toml --extra dev --extra loadtest -c requirements/loadtest.txt -o requirements/dev.txt
	for part in build sbom reload audit; do $(COMPILE) requirements/$$part.in -o requirements/$$part.txt; done
	$(COMPILE) dev/jdk-requirements.in -o dev/jdk-requirements.txt

version: ## Print the version, or set it everywhere: make version VERSION=1.2.0
	@$(PYTHON) dev/version.py $(VERSION)

wipe: $(RUN) ## Forget the data of `make run`
	$(BIN)/python dev/cluster.py wipe

clean: ## Remove everything that these commands made, data included
	rm -rf $(VENV) .cassandra .tools .e2e .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(RUN): $(BIN)/python requirements/service.txt requirements/build.txt pyproject.toml
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/service.txt -r requirements/build.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(RUN) requirements/dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
