# Needs only GNU make and Python 3.11 or newer (with venv and pip). Everything else is fetched into .tools and .venv.
.DEFAULT_GOAL := help
SHELL      := /bin/sh
PYTHON     ?= python3
UV_VERSION ?= 0.13
TOOLS      := .tools
UV         := $(TOOLS)/bin/uv
BIN        := .venv/bin
PORT       ?= 8000
DATA_DIR   ?= data
JOBS       ?= auto
# Test modules to run, e.g. make test TESTS=tests/unit
TESTS      ?= tests

export UV_PYTHON_DOWNLOADS := never
unexport VIRTUAL_ENV

help: ## list the targets
	@grep -hE '^[a-z][a-z0-9_-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9_-]+):.*## /\1\t/' | expand -t 12

run: setup ## run the product: the app on http://127.0.0.1:8000 (PORT=, DATA_DIR=)
	@exec $(BIN)/wisqu demo --port $(PORT) --data-dir $(DATA_DIR)

test: setup ## run every test
	$(BIN)/python -m pytest -n $(JOBS) $(TESTS)

soak: setup ## the long tests: processes killed and stopped in mid-turn, lost connections, rushes, histories of leases
	CRASHES=20 KILLED_STREAMS=50 STOPPED_STREAMS=200 STREAMS=100 DISCONNECTS=10 QUESTIONS=300 EXAMPLES=100 \
	  $(BIN)/python -m pytest --timeout 1200 tests/live/test_crash.py tests/live/test_shutdown.py \
	  tests/live/test_answers_across_processes.py tests/live/test_last_messages.py tests/integration/test_interleavings.py

bench: setup ## CPU of a turn, memory of a stream and of an upload, transactions of the quota, reading a stream, planning a cache
	$(BIN)/python benchmarks/turns.py
	$(BIN)/python benchmarks/quota_leases.py
	$(BIN)/python benchmarks/read_chunk.py
	$(BIN)/python benchmarks/plan_cache.py
	$(BIN)/python benchmarks/streams.py
	$(BIN)/python benchmarks/upload.py
	$(BIN)/python benchmarks/image_history.py

bench-analytics: setup ## how long charts take over a million turns of 50,000 accounts (MESSAGES=, GROWTH=10)
	$(BIN)/python benchmarks/analytics.py

bench-cache: setup ## cost of prompts against the cheapest possible (CACHEBENCH=folder of the judge, CACHE_SEEDS=)
	@CACHEBENCH="$(CACHEBENCH)" CACHE_SEEDS="$(CACHE_SEEDS)" $(BIN)/python benchmarks/cache_table.py

check: setup ## format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## rewrite the sources in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: .venv/.stamp ## install into .venv from requirements.lock

lock: $(UV) ## resolve requirements.lock anew from pyproject.toml
	$(UV) pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group dev --group build \
	  --generate-hashes --no-emit-index-url --no-header --quiet --upgrade --output-file requirements.lock

clean: ## remove what setup and the tools made (the data folder stays)
	rm -rf .venv $(TOOLS) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("WisQu needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check 'uv~=$(UV_VERSION).0'

.venv/.stamp: pyproject.toml requirements.lock | $(UV)
	$(UV) venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: help run test soak bench bench-analytics bench-cache check format setup lock clean
